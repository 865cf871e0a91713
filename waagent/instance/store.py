"""The facts of one instance, on disk.

    /var/lib/waagent/instance            link to instances/<vm id>
        public.json    0644   {"schema": 1, "vm_id": …, "facts": {…}, "secrets": ["ovf.password", …]}
        secret.json    0600   {"schema": 1, "facts": {…}}           same keys; root only
        sem/           0700   semaphores of per-instance steps
        first-boot     0644   the id of the boot in which this instance was first seen

Facts are a tree of JSON values under dotted keys ("ovf.user_name"). The public file names the secret keys and
never holds their values. A VM id that differs from the link's (in either byte order of its first three groups)
is a new instance: a fresh directory without semaphores, so that everything per-instance happens again; the
secrets of the former instance are removed.

While the id is not known the instance is called "unidentified".
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from waagent.errors import InstanceError
from waagent.system import System

SCHEMA = 1
UNIDENTIFIED = "unidentified"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
_MISSING = object()


class Store:
    """Open with Store(system, lib); changes are on disk when a method returns."""

    def __init__(self, system: System, lib: str = "/var/lib/waagent") -> None:
        self.system = system.quietly()
        self.lib = lib
        self.vm_id = self._linked()
        self.facts = self._load("public.json")
        self.secrets = self._load("secret.json")

    @property
    def directory(self) -> str:
        return f"{self.lib}/instances/{self.vm_id}"

    def open(self, vm_id: str) -> bool:
        """Make this VM's instance the current one; true if it is another than before. Raises InstanceError."""
        wanted = vm_id.strip().lower()
        if not wanted or "/" in wanted or wanted.startswith("."):
            raise InstanceError(f"cannot open the instance {vm_id!r}: that is no VM id")
        if same_id(wanted, self.vm_id) and self._exists():
            return False
        former, self.vm_id = self.vm_id, wanted
        if self._exists() and not self.system.planning:
            self.facts, self.secrets = self._load("public.json"), self._load("secret.json")
        else:
            self.facts, self.secrets = {}, {}
        self._make()
        if former not in (wanted, UNIDENTIFIED):
            self.system.remove(f"{self.lib}/instances/{former}/secret.json")
        return True

    @property
    def first_boot(self) -> bool:
        """Whether this boot is the first of this instance."""
        try:
            first = self.system.read_text(f"{self.directory}/first-boot").strip()
            return first == self.system.read_text(BOOT_ID).strip()
        except OSError:
            return not self._exists()

    def publish(self, facts: Mapping[str, Any], secrets: Mapping[str, Any]) -> None:
        """Set dotted keys in both trees (None removes) and write what changed, secrets first."""
        if self._apply(self.secrets, secrets):
            self._save("secret.json", {"schema": SCHEMA, "facts": self.secrets}, 0o600)
        if self._apply(self.facts, facts) or secrets:
            public = {
                "schema": SCHEMA,
                "vm_id": self.vm_id,
                "facts": self.facts,
                "secrets": sorted(_leaves(self.secrets)),
            }
            self._save("public.json", public, 0o644)

    def _apply(self, tree: dict[str, Any], changes: Mapping[str, Any]) -> bool:
        changed = False
        for key, value in changes.items():
            changed = _set(tree, key, value) or changed
        return changed

    def _linked(self) -> str:
        try:
            target = os.readlink(self.system.path(self.lib) / "instance")
        except OSError:
            return UNIDENTIFIED
        return os.path.basename(target) or UNIDENTIFIED

    def _exists(self) -> bool:
        return self.system.exists(f"{self.directory}/public.json")

    def _make(self) -> None:
        self.system.make_directory(self.lib, 0o711)
        self.system.make_directory(f"{self.lib}/instances", 0o755)
        self.system.make_directory(self.directory, 0o755)
        self.system.make_directory(f"{self.directory}/sem", 0o700)
        public = {"schema": SCHEMA, "vm_id": self.vm_id, "facts": self.facts, "secrets": []}
        self._save("public.json", public, 0o644)
        if self.system.exists(BOOT_ID) and not self.system.exists(f"{self.directory}/first-boot"):
            self.system.write(f"{self.directory}/first-boot", self.system.read_text(BOOT_ID), mode=0o644)
        self.system.link(f"{self.lib}/instance", f"instances/{self.vm_id}")

    def _load(self, name: str) -> dict[str, Any]:
        """The tree of a file. A file that is damaged counts as empty: its facts are found anew at this boot."""
        try:
            content = json.loads(self.system.read(f"{self.directory}/{name}"))
        except (OSError, ValueError):
            return {}
        facts = content.get("facts") if isinstance(content, dict) else None
        return facts if isinstance(facts, dict) else {}

    def _save(self, name: str, content: Mapping[str, Any], mode: int) -> None:
        if not self.system.is_directory(self.directory) and not self.system.planning:
            self._make()
        text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        self.system.write(f"{self.directory}/{name}", text, mode=mode)


def same_id(one: str, other: str) -> bool:
    """Whether two VM ids are of one machine: letter case and the byte order of three groups do not count.

    Source: provisioning 4.8 (generation 1 and 2 report the first three groups in different byte order).
    """
    one, other = one.strip().lower(), other.strip().lower()
    return one == other or swapped(one) == other


def swapped(vm_id: str) -> str:
    """The id with the bytes of its first three groups reversed; anything that is no UUID comes back as it is."""
    groups = vm_id.split("-")
    if [len(group) for group in groups] != [8, 4, 4, 4, 12]:
        return vm_id
    turned = ["".join(reversed([group[i : i + 2] for i in range(0, len(group), 2)])) for group in groups[:3]]
    return "-".join([*turned, *groups[3:]])


def find(tree: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key. Raises KeyError."""
    value: Any = tree
    for part in key.split("."):
        if isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, Mapping) and part in value:
            value = value[part]
        else:
            raise KeyError(key)
    return value


def _set(tree: dict[str, Any], key: str, value: Any) -> bool:
    *branch, leaf = key.split(".")
    for part in branch:
        below = tree.get(part)
        if not isinstance(below, dict):
            if value is None:
                return False
            below = tree[part] = {}
        tree = below
    if value is None:
        return tree.pop(leaf, _MISSING) is not _MISSING
    if tree.get(leaf, _MISSING) == value:
        return False
    tree[leaf] = value
    return True


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
