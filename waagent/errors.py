"""Every exception of the agent, in one tree.

WaagentError               reason (fixed, lowercase, counted by the platform) · message (for people) · facts
├── ConfigError            a configuration or profile that cannot be used: file, line, key
├── StageError             a stage, step or hook that cannot be used: file
├── CommandFailed          a program that ended badly: argv, status, stdout, stderr, seconds
├── SystemRefused          the machine refused: path
│   └── PlanRefused        an effect was asked for that plan mode cannot foresee
├── InstanceError          instance data that is missing or malformed
│   ├── MediaMissing       no provisioning media, and no copy of it
│   └── OvfInvalid         ovf-env.xml: element
├── FabricError            the conversation with the platform: url (redacted)
│   ├── FabricUnreachable  no answer, or one that says "later": trying again may help
│   ├── FabricRejected     status; trying again will not help
│   └── GoalStateInvalid   document, element
├── MachineError           a mechanism could not do its work on this machine
│   └── UserError · SshError · HostNameError · DiskError · NetworkError · FirewallError
├── ProvisioningError      ends up in the report to the platform
└── ExtensionError         handler, code; ends up in the handler's status

The shape of a message: what was attempted, on which object: what happened, with
numbers; what follows from it or what the reader can do. Lowercase, no full stop.
"""

from __future__ import annotations


class WaagentError(Exception):
    """Base of all. `reason` is a contract (the platform counts it); `message` and `facts` may change."""

    reason = "agent error"

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts

    def __str__(self) -> str:
        return self.message


class ConfigError(WaagentError):
    """A configuration file or distro profile cannot be used. Facts: file, line, key."""

    reason = "configuration invalid"


class StageError(WaagentError):
    """A stage, step or hook cannot be used. Facts: file."""

    reason = "boot stage invalid"


class CommandFailed(WaagentError):
    """A program ended badly, could not be started or ran over its limit.

    argv as run, status (128+n for signal n, 127 not found, 126 not executable, 124 over its limit),
    stdout and stderr as text, seconds it took. Standard input is never kept: secrets travel there.
    """

    reason = "command failed"

    def __init__(self, argv: tuple[str, ...], status: int, stdout: str, stderr: str, seconds: float) -> None:
        last = (stderr.strip() or stdout.strip()).splitlines()
        told = f': "{last[-1][:300]}"' if last else ""
        how = {124: "ran over its time limit", 127: "was not found", 126: "could not be started"}.get(
            status, f"exited with status {status}"
        )
        super().__init__(f"{' '.join(argv)[:300]} {how} after {seconds:.1f} s{told}", status=status)
        self.argv, self.status, self.stdout, self.stderr, self.seconds = argv, status, stdout, stderr, seconds


class SystemRefused(WaagentError):
    """The machine refused an effect (read-only file system, full disk, missing device). Facts: path."""

    reason = "system refused"


class PlanRefused(SystemRefused):
    """An effect was asked for that plan mode cannot foresee."""

    reason = "not foreseeable in plan mode"


class InstanceError(WaagentError):
    """Instance data is missing or malformed."""

    reason = "instance data invalid"


class MediaMissing(InstanceError):
    """There is no provisioning media and no saved copy of it."""

    reason = "provisioning media not found"


class OvfInvalid(InstanceError):
    """The provisioning document cannot be used. Facts: element."""

    reason = "provisioning document invalid"


class FabricError(WaagentError):
    """The conversation with the platform failed. Facts: url (redacted)."""

    reason = "platform error"


class FabricUnreachable(FabricError):
    """No answer, or one that says "later": trying again may help. Facts: url, status (when there was one)."""

    reason = "platform unreachable"


class FabricRejected(FabricError):
    """The platform said no: trying the same again will not help. Facts: url, status."""

    reason = "platform rejected the request"


class GoalStateInvalid(FabricError):
    """A document of the fabric cannot be used. Facts: document, element."""

    reason = "goal state invalid"


class MachineError(WaagentError):
    """A mechanism could not do its work on this machine."""

    reason = "machine operation failed"


class UserError(MachineError):
    """An account could not be made or changed."""

    reason = "user account failed"


class SshError(MachineError):
    """SSH keys or settings could not be put in place."""

    reason = "ssh set-up failed"


class HostNameError(MachineError):
    """The host name could not be set or published."""

    reason = "host name failed"


class DiskError(MachineError):
    """A disk could not be prepared; data of its owner is never touched."""

    reason = "disk set-up failed"


class NetworkError(MachineError):
    """An interface, route or lease is not as it has to be."""

    reason = "network set-up failed"


class FirewallError(MachineError):
    """The rules that guard the wire server could not be set."""

    reason = "firewall failed"


class ProvisioningError(WaagentError):
    """Provisioning cannot go on; the text reaches the platform."""

    reason = "provisioning failed"


class ExtensionError(WaagentError):
    """An extension operation failed. Facts: handler, code (extensions 11.1)."""

    reason = "extension failed"

    def __init__(self, message: str, *, handler: str = "", code: int = -1, **facts: object) -> None:
        super().__init__(message, handler=handler, code=code, **facts)
        self.handler, self.code = handler, code
