"""Numbers that the platform is told when something of an extension failed. LEAN. `waagent explain CODE` tells more.

Those from 1000 to 1012 stand in the status of a handler or an extension, those from 2001 in that of the goal state.
An enable or disable that is refused here (a policy, an option) has the number of the command that was not run.

Source: extensions 11.1.
"""

from __future__ import annotations

UNKNOWN, SUCCESS = -1, 0
DOWNLOAD_FAILED = 1001
MANIFEST_MISSING, MANIFEST_INVALID = 1002, 1003
INSTALL_FAILED, UPDATE_FAILED, ENABLE_FAILED, DISABLE_FAILED = 1007, 1008, 1009, 1010
UNINSTALL_FAILED = 1000
TIMED_OUT = 1011
STATUS_INVALID = 1012
UNSUPPORTED_FEATURES = 2001

OF_COMMAND = {
    "install": INSTALL_FAILED,
    "update": UPDATE_FAILED,
    "enable": ENABLE_FAILED,
    "disable": DISABLE_FAILED,
    "uninstall": UNINSTALL_FAILED,
}
