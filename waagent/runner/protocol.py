"""The program protocol as data: what a hook that is a program is given, and what its exit status means.

program.py does what these tables say; the reference in docs/ is made from them, and a test holds the two together.
"""

from __future__ import annotations

VARIABLES = (
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("LANG", "C.UTF-8"),
    ("HOME", "/root"),
    ("WAAGENT_API", "the version of this protocol and of the Python interface: 1"),
    ("WAAGENT_STAGE", "the stage, or on-<event>"),
    ("WAAGENT_STEP", "the step's name, without number and ending"),
    ("WAAGENT_EVENT", "the event that caused the run, or empty"),
    ("WAAGENT_FREQUENCY", "per-instance, per-boot, always or once"),
    ("WAAGENT_FIRST_BOOT", "yes in the first boot of this instance, else no"),
    ("WAAGENT_ATTEMPT", "1; one more after each exit status 75"),
    ("WAAGENT_INSTANCE_ID", "the VM id, or empty"),
    ("WAAGENT_VM_NAME", "the host name that the owner chose, or empty"),
    ("WAAGENT_LOCATION", "the region, or empty"),
    ("WAAGENT_INPUT", "path of the input document; the same is on standard input"),
    ("WAAGENT_OUTPUT", "path of the results file, to be written by the program"),
    ("WAAGENT_TMP", "a private directory, removed afterwards"),
    ("WAAGENT_DEADLINE", "seconds that are left to it"),
)
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")

DOCUMENT = (
    ("schema", "the version of the document: 1"),
    ("stage", "as $WAAGENT_STAGE"),
    ("step", "as $WAAGENT_STEP"),
    ("event", "null, or a mapping with name and the event's data"),
    ("instance", "every public fact, as a tree"),
    ("secrets", "the secret facts that the header names, by dotted key"),
    ("config", "the options of waagent.conf that have a value"),
    ("attempt", "as $WAAGENT_ATTEMPT, a number"),
    ("first_boot", "true or false"),
)

TEMPORARY, SKIPPED, MISCONFIGURED = 75, 77, 78
STATUSES = (
    ("0", "done"),
    (
        str(TEMPORARY),
        "failed for now: tried again after 1, 2, 4, 8, 15, 30, 30, … s while the step's limit lasts, then at the "
        "next boot; in the periodic stage at its next time",
    ),
    (str(SKIPPED), "skipped: it does not apply here"),
    (str(MISCONFIGURED), "failed: its configuration is wrong"),
    ("126, 127", "failed: it could not be started; the log says why"),
    ("128+n", "failed: signal n ended it"),
    ("anything else", "failed"),
)
