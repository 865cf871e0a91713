"""The table: every option that waagent.conf may contain. All else about options is derived from it.

The sample file, `waagent config show | check | explain`, the manual, the validation and the typed object
(values.py) come from OPTIONS; option.py says what each field means. Add an option here and nowhere else.

About defaults. `default` is what holds when no file mentions the option; `shipped` is what the sample file sets.
waagent 2, the agent before this line, has up to three opinions: its manual, its code and the file it ships. Rule:
the manual's default where it has one and the code contradicts it; otherwise the code's default, with the shipped
file setting its value in the open, so that somebody who brings an old, shorter file keeps the behaviour he had.
`note` explains each case.

Source: provisioning 2.4 to 2.6 (all rows), guest-operations 2.8, 3.8, 4.10, 13.2, its manual.
"""

from __future__ import annotations

from waagent.config.option import Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SECTIONS = (
    ("Extensions", "Extensions: software that the owner of the VM asks the platform to install"),
    ("Updates", "Updates of the agent itself"),
    ("Provisioning", "Provisioning: host name, user, keys and custom data of a new VM"),
    ("Resource disk", "Resource disk: the temporary disk of the VM"),
    ("System", "Operating system"),
    ("Network", "Network, proxy and the way to the platform"),
    ("Logs", "Logs"),
    ("Places", "Where things are"),
    ("Policy", "Policy: what the platform may do here"),
    ("Limits", "Resource limits (cgroups)"),
    ("Debug", "For debugging and tests; leave alone on production machines"),
)


def _switch(name: str, default: bool, meaning: str, **rest: Any) -> Option:
    return Option(name, "switch", default, meaning, **rest)


def _integer(name: str, default: int | None, meaning: str, **rest: Any) -> Option:
    return Option(name, "integer", default, meaning, **{"low": 0, **rest})


def _period(name: str, default: int, meaning: str, **rest: Any) -> Option:
    return Option(name, "integer", default, meaning, **{"low": 1, "unit": "seconds", **rest})


def _text(name: str, default: str | None, meaning: str, **rest: Any) -> Option:
    return Option(name, "text", default, meaning, **rest)


def _path(name: str, default: str | None, meaning: str, **rest: Any) -> Option:
    return Option(name, "text", default, meaning, path=True, **rest)


def _choice(name: str, default: str, choices: tuple[str, ...], meaning: str, **rest: Any) -> Option:
    return Option(name, "choice", default, meaning, choices=choices, **rest)


def _removed(name: str, kind: str, meaning: str, **rest: Any) -> Option:
    return Option(name, kind, None, meaning, status="removed", listed=False, **rest)


def _alias(name: str, instead: str, kind: str, meaning: str, note: str) -> Option:
    return Option(name, kind, None, meaning, status="alias", instead=instead, listed=False, note=note)


def _in(section: str, *options: Option) -> tuple[Option, ...]:
    for option in options:
        option.section = section
    return options


_EXTENSIONS = _in(
    "Extensions",
    _switch(
        "Extensions.Enabled", True, "Process extensions; password reset, key update and backup depend on "
        "them",
        shipped="y", steps=("extensions", "watcher"),
        note="when off, the goal state is still processed and the VM's status still reported, every 5 "
        "minutes",
    ),
    _period(
        "Extensions.GoalStatePeriod", 6, "How often to ask for a new goal state and to report status",
        shipped="6", steps=("watcher",),
        note="more than a few minutes make the VM look unresponsive to the platform",
    ),
    _period(
        "Extensions.InitialGoalStatePeriod", 6, "The same, until the first goal state is complete",
        follows="Extensions.GoalStatePeriod", steps=("watcher",),
    ),
    _switch(
        "Extensions.WaitForCloudInit", False, "Wait for cloud-init to finish before the first extension",
        steps=("extensions",), note="has to be set in the image to matter at the first deployment",
    ),
    _period(
        "Extensions.WaitForCloudInitTimeout", 3600, "How long to wait for cloud-init; then extensions run "
        "anyway",
        steps=("extensions",),
        note="waagent 2 reads the number as a switch and always waits 3600; here it counts",
    ),
    _integer(
        "Extensions.Parallel", 1, "How many extensions that do not depend on each other may run side by side",
        low=1, high=64, since="3.0.0", steps=("extensions",),
        note="1 is waagent 2's order: one at a time",
    ),
    _integer(
        "Extensions.PackageManagerWait", 60, "How long a command of an extension waits while dpkg, apt, rpm or "
        "zypper is at work",
        low=0, high=3600, unit="seconds", since="3.0.0", steps=("extensions",),
        note="0: not at all; when the time is over the command runs all the same",
    ),
    _switch(
        "Extensions.PythonShims", False, "Give extensions in Python stand-ins for modules that newer versions of "
        "Python have dropped",
        since="3.0.0", steps=("extensions",),
        note="crypt, distutils, imp and pipes, what handlers use of them; what Python has itself comes first",
    ),
    _path(
        "Extensions.SignatureRoot", None, "PEM file with the root certificate of signed packages", since="3.0.0",
        steps=("extensions",),
        note="else /etc/waagent/extension-root.pem, or the one that is shipped (Microsoft's root of 2011)",
    ),
    _switch(
        "EnableOverProvisioning", True, "Hold extensions while the platform marks the VM as on hold",
        steps=("extensions",),
    ),
)  # fmt: skip

_UPDATES = _in(
    "Updates",
    _switch(
        "AutoUpdate.UpdateToLatestVersion", True, "Download and run new versions of the agent",
        follows="AutoUpdate.Enabled", since="2.10.0.8", steps=("update",),
        note="n: no downloads, the newest version on disk runs. Beats AutoUpdate.Enabled, which supplies "
        "the default",
    ),
    _switch(
        "AutoUpdate.Enabled", True, "Older form: n runs the version that the package installed",
        status="legacy", instead="AutoUpdate.UpdateToLatestVersion", steps=("update",),
        note="ignored, with one line in the log, where AutoUpdate.UpdateToLatestVersion is present too",
    ),
    _text(
        "AutoUpdate.GAFamily", "Prod", "Update ring of the platform; do not change",
        pattern=r"[A-Za-z0-9][A-Za-z0-9._-]*", steps=("update",),
    ),
    _period(
        "Autoupdate.Frequency", 3600, "How often to look for a new version of the agent", steps=("update",),
        note="the small u is how waagent 2 spells it",
    ),
)  # fmt: skip

_PROVISIONING = _in(
    "Provisioning",
    _choice(
        "Provisioning.Agent", "auto", ("auto", "waagent", "cloud-init", "disabled"),
        "Who provisions: auto leaves it to cloud-init where that is enabled", shipped="auto",
        steps=("provisioning-media", "hostname", "user", "report"),
        note="waagent 2 takes any other word as disabled; here it is reported and auto is used",
    ),
    _switch(
        "Provisioning.DeleteRootPassword", False, "Lock the password of root", shipped="y",
        steps=("passwords", "deprovision"),
        note="manual and code say n, the shipped file sets y",
    ),
    _switch(
        "Provisioning.RegenerateSshHostKeyPair", True, "Make new SSH host keys; deprovisioning deletes them",
        shipped="y", steps=("ssh-host-keys", "deprovision"),
        note="the manual says y, waagent 2's code n; y, because clones of one image must not share "
        "host keys",
    ),
    _choice(
        "Provisioning.SshHostKeyPairType", "rsa", ("rsa", "dsa", "ecdsa", "ed25519", "auto"),
        "Type of the new SSH host key; auto makes one of each type", shipped="rsa", steps=("ssh-host-keys",),
    ),
    _switch(
        "Provisioning.MonitorHostName", True, "Publish a changed host name to the platform's DNS",
        shipped="y",
        steps=("hostname",),
        note="the manual says n in one place and y in another, the code n, the shipped file y; publishing renews a "
        "lease here and restarts no network, so there is nothing against y",
    ),
    _period(
        "Provisioning.MonitorHostNamePeriod", 30, "How often to look for a changed host name", shipped="30",
        steps=("hostname",),
    ),
    _switch(
        "Provisioning.DecodeCustomData", False, "Decode the custom data from Base64 before saving it",
        shipped="n",
        steps=("custom-data",), note="implied by Provisioning.ExecuteCustomData",
    ),
    _switch(
        "Provisioning.ExecuteCustomData", False, "Run the custom data once, after provisioning", shipped="n",
        steps=("custom-data",),
    ),
    _choice(
        "Provisioning.PasswordCryptId", "6", ("1", "2a", "5", "6", "y"),
        "Hash of passwords: 1 MD5, 2a Blowfish, 5 SHA-256, 6 SHA-512, y yescrypt",
        steps=("passwords", "remote-users"),
    ),
    _integer(
        "Provisioning.PasswordCryptSaltLength", 10, "Characters of salt in a password hash", low=1, high=16,
        unit="characters", steps=("passwords", "remote-users"),
        note="the manual calls it a string; crypt reads no more than 16 characters of salt",
    ),
    _switch(
        "Provisioning.AllowResetSysUser", False, "Permit a password for a system account (uid below UID_MIN)",
        shipped="n", steps=("passwords", "remote-users"),
    ),
    _removed(
        "Provisioning.Enabled", "switch", "Removed in 2.2.45: switched provisioning on and off",
        instead="Provisioning.Agent",
    ),
    _removed(
        "Provisioning.UseCloudInit", "switch", "Removed in 2.2.45: left provisioning to cloud-init",
        instead="Provisioning.Agent",
    ),
)  # fmt: skip

_RESOURCE_DISK = _in(
    "Resource disk",
    _switch(
        "ResourceDisk.Format", True, "Format the resource disk if needed and mount it", shipped="y",
        steps=("resource-disk",),
        note="manual and shipped file say y, waagent 2's code n; a disk with data of its owner is "
        "never formatted",
    ),
    _text(
        "ResourceDisk.Filesystem", "ext4", "File system of the resource disk; mkfs.<this> has to exist",
        shipped="ext4", pattern=r"[A-Za-z0-9][A-Za-z0-9._-]*", steps=("resource-disk",),
        note="manual and shipped file say ext4, waagent 2's code ext3",
    ),
    _path(
        "ResourceDisk.MountPoint", "/mnt/resource", "Directory where the resource disk is mounted",
        shipped="/mnt/resource", steps=("resource-disk",),
    ),
    _text(
        "ResourceDisk.MountOptions", None, "Options for mount -o, separated by commas", shipped="None",
        steps=("resource-disk",),
    ),
    _text(
        "ResourceDisk.Device", None, "The resource disk by name, where it must not be searched for: a device, a "
        "link below /dev/disk, LUN=n of a data disk, LABEL=name, UUID=id", since="3.0.0", steps=("resource-disk",),
        example="/dev/disk/azure/resource",
    ),
    _switch(
        "ResourceDisk.Stripe", False, "Make one disk of several local NVMe disks (RAID 0; needs mdadm)",
        since="3.0.0", steps=("resource-disk",), note="n: the first of them is used",
    ),
    _switch(
        "ResourceDisk.EnableSwap", False, "Make a swap file on the resource disk", shipped="n",
        steps=("swap",),
    ),
    _integer(
        "ResourceDisk.SwapSizeMB", 0, "Size of the swap file", shipped="0", unit="MiB", example="2048",
        steps=("swap",),
    ),
    _choice(
        "ResourceDisk.SwapFallback", "none", ("none", "os"),
        "Where the swap file goes when there is no resource disk: nowhere, or on the OS disk", since="3.0.0",
        steps=("swap",), note="os: never more than half of what is free there",
    ),
    _switch(
        "ResourceDisk.EnableSwapEncryption", False, "Encrypt the swap space with a key that nobody knows",
        steps=("swap",), note="needs cryptsetup on Linux and geli on FreeBSD; without it there is no swap space. "
        "OpenBSD always encrypts",
    ),
)  # fmt: skip

_SYSTEM = _in(
    "System",
    _integer(
        "OS.RootDeviceScsiTimeout", None, "Time limit of SCSI requests on all sd* disks; unset leaves it "
        "to the system",
        shipped="300", unit="seconds", steps=("environment",),
        note="the manual's default of 300 is what the shipped file sets; unset switches the feature off, so the "
        "default has to be unset",
    ),
    _period(
        "OS.RootDeviceScsiTimeoutPeriod", 30, "How often to set the SCSI time limit again", shipped="30",
        steps=("environment",),
    ),
    _integer(
        "OS.SshClientAliveInterval", 180, "ClientAliveInterval for sshd", unit="seconds", steps=("sshd",),
    ),
    _path(
        "OS.SshDir", "/etc/ssh", "Directory of sshd's configuration and host keys", shipped="/etc/ssh",
        steps=("sshd", "ssh-host-keys", "deprovision"),
    ),
    _switch(
        "OS.EnableFIPS", False, "Run openssl with OPENSSL_FIPS=1", shipped="n",
        steps=("goal-state", "extensions"),
    ),
    _text(
        "OS.OpensslPath", "/usr/bin/openssl", "The openssl program", shipped="None",
        example="/usr/bin/openssl",
        steps=("goal-state", "extensions"), note="None in the file stands for the default",
    ),
    _switch("OS.EnableRDMA", False, "Configure RDMA (InfiniBand) devices", steps=("rdma",)),
    _switch(
        "OS.UpdateRdmaDriver", False, "Permit an update of the RDMA driver or kernel (Ubuntu)",
        steps=("rdma",),
    ),
    _switch(
        "OS.CheckRdmaDriver", True, "Check the RDMA driver and install the one that fits the firmware",
        steps=("rdma",),
        note="any of the three RDMA options set to y switches RDMA on; this default alone does not",
    ),
    _switch(
        "DetectScvmmEnv", False, "Look for System Center VMM on the DVD and start its agent",
        steps=("scvmm",),
    ),
    _removed(
        "OS.SshdConfigPath", "text", "Never read: the file is always sshd_config in OS.SshDir",
        instead="OS.SshDir",
    ),
    _removed("LBProbeResponder", "switch", "Removed with 2.1: answered the load balancer's probes"),
)  # fmt: skip

_NETWORK = _in(
    "Network",
    _switch(
        "OS.EnableFirewall", False, "Let only root reach the wire server", shipped="y", steps=("firewall",),
        note="waagent 2's code says n and its files y; whoever brings a file without it keeps what he had. "
        "n adds nothing and removes nothing",
    ),
    _period(
        "OS.EnableFirewallPeriod", 300, "How often to check the firewall rules", shipped="300",
        steps=("firewall",), note="each time costs the start of a program; waagent 2 ships 30",
    ),
    _period(
        "OS.RemovePersistentNetRulesPeriod", 30, "How often to remove udev rules that pin interface names",
        shipped="30", steps=("environment",),
    ),
    _period(
        "OS.MonitorDhcpClientRestartPeriod", 30, "How often to look for a restarted DHCP client and "
        "restore routes",
        shipped="30", steps=("environment",),
    ),
    _switch(
        "Network.Manage", True, "n: leave all network settings alone (host name publishing, routes, "
        "interface names)",
        since="3.0.0", steps=("publish-hostname", "hostname", "environment"),
    ),
    _switch(
        "Network.Metadata", True, "Ask the metadata service (IMDS) about the VM", since="3.0.0",
        steps=("metadata",),
    ),
    _choice(
        "Protocol.EndpointDiscovery", "dhcp", ("dhcp", "static"),
        "How to find the wire server: by DHCP, or always 168.63.129.16", steps=("endpoint",),
        note="waagent 2 takes any other word as static; here it is reported and dhcp is used",
    ),
    _text(
        "HttpProxy.Host", None, "Proxy for the way to the internet; beats http_proxy and https_proxy", secret=True,
        steps=("extensions", "update"),
        note="may be a URL with user and password; not passed on to extensions; the wire server is never asked "
        "through a proxy",
    ),
    _integer(
        "HttpProxy.Port", None, "Port of the proxy", low=1, high=65535, example="3128",
        steps=("extensions", "update"), note="the manual calls it a string",
    ),
    _switch(
        "OS.AllowHTTP", False, "Fall back to HTTP where Python has no TLS; may expose data",
        steps=("extensions",),
    ),
    _switch(
        "Monitor.HostHealth", True, "Tell the platform every minute whether its host services answer",
        listed=False, since="3.0.0", steps=("watcher",),
    ),
    _switch(
        "Monitor.NetworkConfigurationChanges", False, "Log changes of network interfaces", listed=False,
        steps=("environment",),
    ),
    _removed("Network.Interface", "text", "Removed with 2.1: preferred network interface"),
)  # fmt: skip

_LOGS = _in(
    "Logs",
    _switch("Logs.Verbose", False, "Log more", shipped="n", steps=("all",)),
    _switch(
        "Logs.Console", True, "Write the log to /dev/console too, until the VM is provisioned",
        steps=("all",),
    ),
    _switch(
        "Logs.Collect", True, "Collect logs from time to time and upload them for support", shipped="y",
        steps=("logs",), note="needs cgroups",
    ),
    _period("Logs.CollectPeriod", 3600, "How often to collect logs", shipped="3600", steps=("logs",)),
    _switch(
        "Telemetry.Enabled", True, "Tell the platform's people how stages and extensions fared", shipped="y",
        since="3.0.0", steps=("telemetry", "extension-events", "extensions"),
        note="waagent 2 always does; n: nothing is written down or sent. `waagent telemetry` shows what would be",
    ),
    _removed("Logs.File", "text", "Removed with 2.1: the log is /var/log/waagent.log"),
)  # fmt: skip

_PLACES = _in(
    "Places",
    _path("Lib.Dir", "/var/lib/waagent", "State of the agent", steps=("all",)),
    _path(
        "DVD.MountPoint", "/mnt/cdrom/secure", "Mount point of the DVD",
        steps=("provisioning-media", "scvmm"),
    ),
    _path("Pid.File", "/var/run/waagent.pid", "Process id of the resident agent", steps=("watcher",)),
    _path(
        "Extension.LogDir", "/var/log/azure", "Logs of extensions",
        steps=("extensions", "logs", "deprovision"),
    ),
    _path(
        "OS.HomeDir", "/home", "What $HOME stands for in paths of the provisioning document",
        steps=("ssh-keys",),
    ),
    _path("OS.PasswordPath", "/etc/shadow", "Shadow file", steps=("passwords",)),
    _path("OS.SudoersDir", "/etc/sudoers.d", "Directory of sudo rules", steps=("user", "remote-users")),
    _alias(
        "Home.Dir", "OS.HomeDir", "text", "Another spelling of OS.HomeDir",
        note="shipped files show it in a comment, but waagent 2 reads only OS.HomeDir",
    ),
    _removed("Role.StateConsumer", "text", "Removed with 2.1: program to call on a state change"),
    _removed(
        "Role.ConfigurationConsumer", "text", "Removed with 2.1: program to call on a configuration change",
    ),
    _removed("Role.TopologyConsumer", "text", "Removed with 2.1: program to call on a topology change"),
)  # fmt: skip

_POLICY = _in(
    "Policy",
    _path(
        "Policy.PolicyFilePath", "/etc/waagent_policy.json", "Which extensions may be installed",
        steps=("extensions",),
    ),
    _switch(
        "Policy.Enabled", False, "Apply the policy file", follows="Debug.EnableExtensionPolicy", since="3.0.0",
        steps=("extensions",),
    ),
    _switch(
        "Policy.DenyUserChanges", False, "Refuse accounts, passwords and keys that the platform asks for after "
        "provisioning", since="3.0.0", steps=("user", "passwords", "remote-users", "extensions"),
    ),
)  # fmt: skip

_LIMITS = _in(
    "Limits",
    _switch(
        "CGroups.Enabled", True, "Use cgroups at all", listed=False, steps=("cgroups",),
        note="waagent 2 defines it and asks it nowhere; here n switches cgroups off",
    ),
    _switch(
        "CGroups.EnforceLimits", True, "Limit CPU and memory of the agent and of extensions", listed=False,
        steps=("cgroups", "extensions"),
        note="in the manual, no longer read by waagent 2; here it counts",
    ),
    _text(
        "CGroups.Excluded", "customscript,runcommand", "Extensions without limits, separated by commas",
        listed=False,
        steps=("cgroups", "extensions"),
        note="in the manual, no longer read by waagent 2; here it counts",
    ),
)  # fmt: skip

_DEBUG = _in(
    "Debug",
    _period("Debug.CgroupCheckPeriod", 300, "How often to check cgroups and memory", steps=("cgroups",)),
    _switch("Debug.CgroupLogMetrics", False, "Log what processes use", steps=("cgroups", "logs")),
    _switch(
        "Debug.CgroupDisableOnProcessCheckFailure", True, "Stop using cgroups when a stray process is found",
        steps=("cgroups",),
    ),
    _switch(
        "Debug.CgroupDisableOnQuotaCheckFailure", True, "Stop using cgroups when the agent is throttled",
        steps=("cgroups",),
    ),
    _integer(
        "Debug.AgentCpuQuota", 50, "CPU the agent may use",
        low=1, unit="percent of one CPU", steps=("cgroups",),
    ),
    _period(
        "Debug.AgentCpuThrottledTimeThreshold", 120, "Throttled time that counts as too much",
        steps=("cgroups",),
    ),
    _integer(
        "Debug.AgentMemoryQuota", 31457280, "Memory the agent may use",
        low=1, unit="bytes", steps=("cgroups",),
    ),
    _switch(
        "Debug.EnableAgentMemoryUsageCheck", False, "Exit when the agent uses more than its memory quota",
        steps=("watcher",),
    ),
    _switch(
        "Debug.EnableFastTrack", True, "Take goal states from the host plugin too",
        steps=("goal-state",),
    ),
    _period(
        "Debug.EtpCollectionPeriod", 300, "How often to collect events of extensions",
        steps=("extension-events",),
    ),
    _period(
        "Debug.SelfUpdateHotfixFrequency", 14400, "How often to look for a hotfix of the agent", listed=False,
        steps=("update",),
    ),
    _period(
        "Debug.SelfUpdateRegularFrequency", 86400, "How often to look for a regular release of the agent",
        listed=False, steps=("update",),
    ),
    _alias(
        "Debug.AutoUpdateHotfixFrequency", "Debug.SelfUpdateHotfixFrequency", "integer",
        "Another spelling of Debug.SelfUpdateHotfixFrequency",
        note="listed by waagent 2, read by nothing there",
    ),
    _alias(
        "Debug.AutoUpdateNormalFrequency", "Debug.SelfUpdateRegularFrequency", "integer",
        "Another spelling of Debug.SelfUpdateRegularFrequency",
        note="listed by waagent 2, read by nothing there",
    ),
    _switch(
        "Debug.EnableGAVersioning", True, "Update to the version that the platform requests",
        steps=("update",),
    ),
    _switch(
        "Debug.EnableRsmDowngrade", False, "Permit a downgrade that the platform requests", listed=False,
        steps=("update",),
    ),
    _period(
        "Debug.FirewallRulesLogPeriod", 86400, "How often to log the firewall rules",
        steps=("firewall",),
    ),
    _switch(
        "Debug.EnableExtensionPolicy", False, "Older form of Policy.Enabled, whose default it supplies",
        status="legacy", instead="Policy.Enabled", steps=("extensions",),
    ),
    _switch(
        "Debug.EnableSignatureValidation", False, "Validate signatures of packages",
        steps=("extensions",),
    ),
    _switch(
        "Debug.EnableCgroupV2ResourceLimiting", True, "Limit the log collector on cgroup v2", steps=("logs",),
        note="y is what takes effect in waagent 2, although its listing shows n",
    ),
    _period(
        "Debug.LogCollectorInitialDelay", 300, "Pause before the first collection of logs",
        steps=("logs",),
    ),
)  # fmt: skip

OPTIONS: tuple[Option, ...] = (
    *_EXTENSIONS, *_UPDATES, *_PROVISIONING, *_RESOURCE_DISK, *_SYSTEM, *_NETWORK, *_LOGS, *_PLACES, *_POLICY,
    *_LIMITS, *_DEBUG,
)  # fmt: skip


# Options that this version accepts and does not act on. A test holds the list against the code, so that
# a page or a file never promises what nobody does.
WITHOUT_EFFECT = frozenset(
    {
        "AutoUpdate.Enabled", "AutoUpdate.GAFamily", "AutoUpdate.UpdateToLatestVersion", "Autoupdate.Frequency",
        "Debug.AgentCpuQuota",
        "Debug.AgentCpuThrottledTimeThreshold", "Debug.AgentMemoryQuota", "Debug.CgroupCheckPeriod",
        "Debug.CgroupDisableOnProcessCheckFailure", "Debug.CgroupDisableOnQuotaCheckFailure",
        "Debug.CgroupLogMetrics", "Debug.EnableAgentMemoryUsageCheck", "Debug.EnableGAVersioning",
        "Debug.EnableRsmDowngrade",
        "Debug.SelfUpdateHotfixFrequency", "Debug.SelfUpdateRegularFrequency", "OS.AllowHTTP",
    }
)  # fmt: skip


def by_name() -> dict[str, Option]:
    """The table as a dict, aliases and removed options included."""
    return {option.name: option for option in OPTIONS}


def find(name: str) -> Option:
    """The option of that name; KeyError with a suggestion where there is none."""
    for option in OPTIONS:
        if option.name == name:
            return option
    near = suggest(name)
    raise KeyError(f"no option {name}" + (f"; did you mean {near}?" if near else ""))


def suggest(name: str) -> str:
    """The name somebody probably meant, or "". A difference of letter case alone wins."""
    for option in OPTIONS:
        if option.name.lower() == name.lower():
            return option.name
    from difflib import get_close_matches

    near = get_close_matches(name.lower(), [option.name.lower() for option in OPTIONS], n=1, cutoff=0.75)
    return next((option.name for option in OPTIONS if near and option.name.lower() == near[0]), "")
