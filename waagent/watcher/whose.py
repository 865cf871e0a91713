"""Whether there is a platform to ask. Lean.

On a machine that is no Azure VM and has no provisioning document (provisioning.by=nobody, which stage local decides
anew at each boot), whoever answers at the platform's address is not the platform, and could order what root runs.
"""

from __future__ import annotations

import json
import os


class Whose:
    def __init__(self, lib: str) -> None:
        self._file, self._read_at, self._nobodys = f"{lib}/instance/public.json", 0.0, False

    def is_nobodys(self) -> bool:
        """Read anew when the file has been replaced. Without one that makes sense the platform is asked."""
        try:
            changed_at = os.stat(self._file).st_mtime
            if changed_at != self._read_at:
                with open(self._file, "rb") as stream:
                    facts = json.loads(stream.read())["facts"]
                self._nobodys = facts["provisioning"]["by"] == "nobody"
                self._read_at = changed_at
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            self._nobodys, self._read_at = False, 0.0
        return self._nobodys
