"""What a new hook begins as: shell(stage, event, file) and python(stage, event, file) give its text.

Both run as they are, change nothing, and show every thing that a hook can say, ready to be uncommented.
"""

from __future__ import annotations

_HEADER_STAGE = """\
# Runs in the stage "{stage}", at the place that its number says (see: waagent steps {stage}).
#
# The line that begins with "waagent:" is read by the agent. Keys: summary, frequency (per-instance, per-boot,
# always, once), limit, before, after, on-failure (continue, stop), when, distros, secrets; and every and on in
# the periodic stage.
# waagent: {{summary: Say hello, frequency: {frequency}, limit: 1m{more}}}
"""
_HEADER_EVENT = """\
# Runs each time the event "{event}" happens (see: waagent events {event}).
#
# The line that begins with "waagent:" is read by the agent. Keys: summary, limit, when, distros, secrets, before,
# after.
# waagent: {{summary: Say hello, limit: 1m}}
"""

_SHELL = """\
#!/bin/sh
# {file}: say in one line what this hook is for.
#
{header}#
# Exit status: 0 done, 77 does not apply here, 75 failed for now (tried again within the limit), 78 its
# configuration is wrong, anything else failed. A failure does not stop the boot; `waagent status` shows it.
# Run twice, it should change nothing the second time.
set -eu

# What the agent gives: $WAAGENT_STAGE, $WAAGENT_STEP, $WAAGENT_EVENT, $WAAGENT_VM_NAME, $WAAGENT_INSTANCE_ID,
# $WAAGENT_FIRST_BOOT (yes or no), $WAAGENT_TMP (a directory, removed afterwards), and everything as JSON in
# $WAAGENT_INPUT; `waagent query KEY` reads single facts.
host=$(waagent query ovf.host_name 2>/dev/null || uname -n)

# Output goes to the log line by line; a line that begins with <3> is an error, with <4> a warning.
echo "hello from $WAAGENT_STEP on $host"

# Not for this machine? Say so:
# [ -e /dev/sdc ] || exit 77

# The results file, key=value: message is the sentence in the log and in `waagent status`; all else becomes a fact
# (waagent query hooks.$WAAGENT_STEP.KEY).
echo "message=nothing to do yet" >"$WAAGENT_OUTPUT"
"""

_PYTHON = '''\
"""Say in one line what this step is for.

Reads     ovf.host_name
Changes   nothing yet
Skips     when the host name is not known
Fails     never yet

{note}
Run twice, it should change nothing the second time.
"""

from __future__ import annotations

from waagent.module import Context, Module, Outcome, skipped, unchanged

# Read by the agent without running this file, so write literals only.
MODULE = Module(
    summary="Say hello",
    {declared}
    limit=60,
)


def run(ctx: Context) -> Outcome:
    host = ctx.fact("ovf.host_name")  # what `waagent query` shows
    if host is None:
        return skipped("the host name is not known")

    # Act through ctx.system: it keeps to --root and --dry-run, and remembers for `waagent why`. For example:
    #     if ctx.system.write("/etc/motd", f"Welcome to {{host}}\\n"):
    #         return changed("wrote /etc/motd")
    #     ctx.system.run("systemctl", "restart", "something.service")
    # Facts for later steps: ctx.publish("site.colour", "blue"). A line for the log: ctx.note("…").
    # To fail: raise WaagentError("cannot do this to that: what happened"); waagent.module has it, too.
    return unchanged(f"hello from {{ctx.step}} on {{host}}")
'''


def shell(stage: str, event: str, file: str) -> str:
    return _SHELL.format(file=file, header=_header(stage, event))


def python(stage: str, event: str, file: str) -> str:
    if event:
        note = f'Runs each time the event "{event}" happens; ctx.event_data holds its data.'
        declared = 'frequency="always",'
    elif stage == "periodic":
        note = 'Runs every hour; every= is seconds or the name of an option, on=("goal-state",) waits for events.'
        declared = 'frequency="always",\n    every=3600,'
    else:
        note = f'Runs once in each boot, in the stage "{stage}", at the place that the number of {file} says.'
        declared = 'frequency="per-boot",  # or per-instance, always, once'
    return _PYTHON.format(note=note, declared=declared)


def _header(stage: str, event: str) -> str:
    if event:
        return _HEADER_EVENT.format(event=event)
    periodic = stage == "periodic"
    return _HEADER_STAGE.format(
        stage=stage, frequency="always" if periodic else "per-boot", more=", every: 1h" if periodic else ""
    )
