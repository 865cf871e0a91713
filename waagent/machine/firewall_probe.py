"""Whether the firewall rules do what they say: try it, as root and as somebody who may not.

    look(system, address, port)    GUARDED: root gets through and nobody does not; OPEN: both do;
                                   UNKNOWN: not even root got an answer, so nothing was learned

Rules that are listed need not work: a kernel can lack the module that a rule needs and tell nobody. Two connections
are opened and closed again, no byte is sent. Rules that work take half a second, because they drop what they stop.

Source: field demand 43.
"""

from __future__ import annotations

import sys

from waagent.system import System

GUARDED, OPEN, UNKNOWN = "guarded", "open", "unknown"
NOBODY = 65534
PATIENCE = 0.5
_STATUS = {0: GUARDED, 1: OPEN}

# A refusal is an answer: the packet got out.
_PROBE = """
import os, socket, sys
address, port, nobody, patience = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
def answers():
    try:
        socket.create_connection((address, port), patience).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return True
if not answers():
    sys.exit(2)
os.setgroups([])
os.setgid(nobody)
os.setuid(nobody)
sys.exit(1 if answers() else 0)
"""


def look(system: System, address: str, port: int = 80) -> str:
    words = (sys.executable, "-I", "-S", "-c", _PROBE, address, str(port), str(NOBODY), str(PATIENCE))
    return _STATUS.get(system.run(*words, reads=True, ok=None, limit=10).status, UNKNOWN)
