"""What can go wrong, as the platform is told it, what it means and what to do: for waagent explain and the docs.

Entry    code: a reason as in status.json and in the report of provisioning, or a number as in the status of an
         extension; meaning; advice; told: where it is seen
find(words) -> [Entry]    for a reason, a number, a name of an error, or a whole report "reason=…|…"

The reasons are those of waagent/errors.py and of the engine, the numbers those of waagent/extensions/codes.py; a
test holds that none is missing here and none is made up.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from waagent import errors
from waagent.extensions import codes


class Entry(NamedTuple):
    code: str
    meaning: str
    advice: str
    told: str = ""
    name: str = ""


PROVISIONING = "the report of provisioning; waagent status"
EXTENSION = "the status of the extension"
GOAL_STATE = "the status of the goal state"

_REASONS: dict[str, tuple[str, str]] = {
    "agent error": ("something failed that has no reason of its own", "the message says what was attempted"),
    "configuration invalid": (
        "a configuration file or a profile of a distribution cannot be used",
        "waagent config check names file, line and what would be right",
    ),
    "boot stage invalid": (
        "a stage, step or hook cannot be used: its file, its declaration or its owner is wrong",
        "waagent validate; waagent steps lists what was refused and why",
    ),
    "command failed": (
        "a program ended badly, was not found, or ran over its limit",
        "run the command of the message by hand; 124 is: it took too long, 126: not executable, 127: not found",
    ),
    "system refused": (
        "the machine refused a change: a full disk, a read-only file system, a missing device",
        "df, mount and dmesg; then waagent stage STAGE --only STEP",
    ),
    "not foreseeable in plan mode": ("the step does what --dry-run cannot foresee", "run it without --dry-run"),
    "instance data invalid": (
        "what the platform said about this machine is missing or malformed",
        "waagent query shows what is known; look at the provisioning disc in /var/lib/waagent/ovf-env.xml",
    ),
    "provisioning media not found": (
        "there is no provisioning disc, and no saved copy of what was on it",
        "is the module udf or isofs there, and a drive in lsblk? A disc that comes late is waited for",
    ),
    "provisioning document invalid": (
        "ovf-env.xml on the provisioning disc cannot be used",
        "the message names the element; the deployment has to be made anew with a right value",
    ),
    "platform error": ("the conversation with the platform failed", "the message has request and answer"),
    "platform unreachable": (
        "the platform gave no answer, or asked to come later, until patience was used up",
        "is there a route to 168.63.129.16, and does a firewall let root talk to its ports 80 and 32526?",
    ),
    "platform rejected the request": (
        "the platform said no, and would say it again",
        "the message has status and text of the answer; a stale goal state heals by itself with the next one",
    ),
    "goal state invalid": (
        "a document of the platform cannot be used",
        "nothing on this machine can mend it; history/ in /var/lib/waagent has the document for support",
    ),
    "machine operation failed": ("this machine could not do what was asked", "the message names the operation"),
    "user account failed": (
        "an account could not be made or changed",
        "is the name reserved or taken, is /etc writable? useradd's own words are in the message",
    ),
    "ssh set-up failed": ("keys or settings of the SSH server could not be put in place", "sshd -t; ls -ld ~/.ssh"),
    "host name failed": ("the host name could not be set or published", "hostnamectl; waagent why /etc/hostname"),
    "disk set-up failed": (
        "a disk could not be prepared; data that is on it was left alone",
        "lsblk -f; a file system that you make on it yourself (mkfs) is mounted at the next boot",
    ),
    "network set-up failed": ("an interface, route or lease is not as it has to be", "ip address; ip route"),
    "firewall failed": (
        "the rules that guard the platform's address could not be set",
        "waagent firewall shows them; is nft or iptables installed, and another firewall in the way?",
    ),
    "provisioning failed": (
        "provisioning cannot go on, or somebody said so who could not say more",
        "waagent status names the step and what it said",
    ),
    "extension failed": ("an operation of an extension failed", "waagent extensions; the code says which"),
    "step failed": ("a program among the steps ended with a status that means failure", "its output is in the log"),
    "step invalid": (
        "a step did what a step must not do, or its file cannot be used",
        "waagent validate FILE says what is wrong with it",
    ),
    "step timed out": (
        "a step ran over its limit, or the stage over its time for all steps",
        "waagent analyze blame; give the step a longer limit if its work needs it",
    ),
    "stage cut off": (
        "a stage that should have run before did not come to its end",
        "journalctl -u waagent-STAGE of that stage; it was killed, or the machine went down",
    ),
    "bug in the step": (
        "a Python step raised an exception that nobody expected",
        "the log has the traceback: report it to whoever wrote the step",
    ),
}

_ITS_OWN_WORDS = (
    "what it printed is in the message and in /var/log/azure/HANDLER/CommandExecution.log; waagent extensions "
    "retry HANDLER tries it again"
)
_FORBIDDEN = "; if it was not run, the message names the file or option; see waagent extensions check-policy"

_NUMBERS: dict[int, tuple[str, str, str]] = {
    codes.SUCCESS: ("all is well, or still under way", "none", EXTENSION),
    codes.UNKNOWN: (
        "a failure without a number of its own: no such version, no package, a dependency that failed, a heartbeat "
        "that is missing, a status file that cannot be read",
        "the message says which",
        EXTENSION,
    ),
    codes.UNINSTALL_FAILED: (
        "uninstall ended with an error; the extension is gone all the same",
        "nothing; its own log says what it left behind",
        "the agent's log",
    ),
    codes.DOWNLOAD_FAILED: (
        "the package could not be downloaded or unpacked, from any of its addresses",
        "is the storage of the platform reachable, directly or through HttpProxy.Host? Is there room in Lib.Dir?",
        EXTENSION,
    ),
    codes.MANIFEST_MISSING: (
        "HandlerManifest.json is not in the handler's directory when a command needs it",
        "remove the extension and add it again",
        EXTENSION,
    ),
    codes.MANIFEST_INVALID: (
        "HandlerManifest.json cannot be used",
        "the publisher has to mend the package; the message names what is wrong",
        EXTENSION,
    ),
    codes.INSTALL_FAILED: ("install ended with an error, or could not be started", "", EXTENSION),
    codes.UPDATE_FAILED: (
        "update ended with an error, or disable or uninstall of the old version did, and the handler does not go "
        "on after that",
        "",
        EXTENSION,
    ),
    codes.ENABLE_FAILED: (
        "enable ended with an error; or it was not run, because a policy, a signature or an option forbids it",
        _ITS_OWN_WORDS + _FORBIDDEN,
        EXTENSION,
    ),
    codes.DISABLE_FAILED: (
        "disable ended with an error; or it, or the removal, was not done: a policy or an option forbids it",
        _ITS_OWN_WORDS + _FORBIDDEN,
        EXTENSION,
    ),
    codes.TIMED_OUT: (
        "a command ran over its limit and was ended with all its processes",
        "enable and uninstall have 5 minutes, the others 15; does it wait for the network or for a lock?",
        EXTENSION,
    ),
    codes.STATUS_INVALID: (
        "the status file that the handler wrote is no JSON or not as it has to be",
        "the publisher has to mend the handler",
        EXTENSION,
    ),
    codes.UNSUPPORTED_FEATURES: (
        "the goal state asks for something that this agent cannot do; nothing of it was carried out",
        "a newer agent",
        GOAL_STATE,
    ),
}


_NAMES = {
    thing.reason: name
    for name, thing in vars(errors).items()
    if isinstance(thing, type) and issubclass(thing, errors.WaagentError)
}
REASONS = tuple(
    Entry(reason, meaning, advice, PROVISIONING, _NAMES.get(reason, ""))
    for reason, (meaning, advice) in _REASONS.items()
)
NUMBERS = tuple(
    Entry(str(number), meaning, advice or _ITS_OWN_WORDS, told)
    for number, (meaning, advice, told) in sorted(_NUMBERS.items())
)
ENTRIES = (*REASONS, *NUMBERS)


def find(words: str) -> list[Entry]:
    """The entries that somebody means; none when nobody can mean anything here."""
    reported = re.search(r"(?:^|\|)'?reason=([^|']+)", words)
    wanted = _plain(reported.group(1) if reported else words)
    return [entry for entry in ENTRIES if wanted and wanted in (_plain(entry.code), _plain(entry.name))]


def near(words: str) -> list[str]:
    """Codes that look like it."""
    from difflib import get_close_matches

    return get_close_matches(words.strip().lower(), [entry.code for entry in ENTRIES], n=3)


def _plain(text: str) -> str:
    """Without regard to case, and to what stands between the words; a minus before a number counts."""
    bare = text.strip().lower()
    return bare if re.fullmatch(r"-?\d+", bare) else re.sub(r"[^a-z0-9]+", "", bare)
