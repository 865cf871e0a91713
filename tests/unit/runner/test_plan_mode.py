"""Every shipped step in plan mode, on a root that cannot be written and without any network.

A step that wrote or ran anything outside of the System door would fail with "Read-only file system", or leave a trace.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.runner.conftest import TOP
from waagent.runner import steps
from waagent.runner.places import STAGES
from waagent.system import System

KEY = "AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
VM = "11111111-2222-3333-4444-555555555555"
FACTS = {
    "vm": {"id": VM, "source": "smbios", "azure": True, "generation": 2, "container": None},
    "provisioning": {"by": "waagent", "reason": "test", "previous": None},
    "ovf": {
        "host_name": "planned",
        "user_name": "ada",
        "has_password": True,
        "has_custom_data": True,
        "disable_ssh_password": True,
        "public_keys": [{"path": "/home/ada/.ssh/authorized_keys", "fingerprint": "", "value": f"ssh-ed25519 {KEY} ada"}],
        "key_pairs": [],
        "provision_guest_agent": "true",
        "provision_guest_proxy_agent": False,
        "preprovisioned_vm": False,
        "preprovisioned_vm_type": None,
        "version": "1.0",
    },
    "media": {"device": None, "from": "copy"},
    "user": {"name": "ada"},
    "fabric": {"endpoint": "168.63.129.16", "container_id": "c", "role_instance_id": "r", "incarnation": "1"},
    "imds": {"location": "westeurope", "vmSize": "Standard_B1s", "name": "planned"},
}
SECRETS = {"ovf": {"password": "correct horse", "custom_data": "ZWNobyBoaQo="}}
# Nothing may take long here: what waits for the network is ended, which is an outcome like any other.
LIMIT = 2
CONF = """\
ResourceDisk.Format=y
ResourceDisk.EnableSwap=y
Provisioning.Agent=waagent
Provisioning.DeleteRootPassword=y
Provisioning.ExecuteCustomData=y
OS.RootDeviceScsiTimeout=300
"""
COPIED = ("etc/passwd", "etc/group", "etc/shadow", "etc/gshadow", "etc/hosts", "etc/hostname", "etc/ssh/sshd_config")
READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'


def root_of_a_machine(root: Path) -> Path:
    vendor = root / "usr/lib/waagent"
    for folder in ("stages", "modules"):
        shutil.copytree(TOP / folder, vendor / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(TOP / "data/distros", vendor / "data/distros")
    for folder in ("run", "tmp", "var/log", "dev", "home", "mnt", "etc/sudoers.d", "proc/sys/kernel/random", "sys", "etc/ssh"):
        (root / folder).mkdir(parents=True)
    for name in COPIED:
        if os.path.exists(f"/{name}"):
            shutil.copy(f"/{name}", root / name)
    (root / "etc/os-release").write_text('ID=debian\nVERSION_ID="12"\n')
    (root / "etc/waagent.conf").write_text(CONF)
    (root / "proc/sys/kernel/random/boot_id").write_text("plan\n")
    (root / "proc/1").mkdir()
    (root / "proc/1/environ").write_bytes(f"container=systemd-nspawn\0container_uuid={VM}\0".encode())
    (root / "usr/bin").mkdir(parents=True)
    for program in ("ssh-keygen", "useradd", "chpasswd", "sshd", "mkswap", "swapon", "mkfs.ext4", "mount", "openssl"):
        (root / "usr/bin" / program).write_text("#!/no-such-interpreter\n")
        (root / "usr/bin" / program).chmod(0o755)
    (root / "proc/sys/kernel/hostname").write_text("before\n")
    instance = root / f"var/lib/waagent/instances/{VM}"
    instance.mkdir(parents=True)
    (instance / "public.json").write_text(json.dumps({"schema": 1, "vm_id": VM, "facts": FACTS, "secrets": []}))
    (instance / "secret.json").write_text(json.dumps({"schema": 1, "facts": SECRETS}))
    (root / "var/lib/waagent/instance").symlink_to(f"instances/{VM}")
    admin = root / "etc/waagent/stages"
    admin.mkdir(parents=True)
    for stage in STAGES:
        names = [step.name for step in steps.discover(System(root), stage).steps]
        text = (TOP / f"stages/{stage}.yaml").read_text()
        text = text[: text.index("steps:")] if "\nsteps:" in text else text
        (admin / f"{stage}.yaml").write_text(text + "steps:\n" + "".join(f"  {n}: {{limit: {LIMIT}s}}\n" for n in names))
    return root


def tree_of(root: Path) -> dict[str, tuple[int, int, int]]:
    found = {}
    for path in root.rglob("*"):
        status = path.lstat()
        found[str(path.relative_to(root))] = (status.st_mode, status.st_mtime_ns, status.st_size)
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a mount namespace of its own")
@pytest.mark.parametrize("stage", STAGES)
def test_no_shipped_step_writes_in_plan_mode(tmp_path: Path, stage: str) -> None:
    root = root_of_a_machine(tmp_path / "root")
    before = tree_of(root)
    events = [None]
    if stage == "periodic":
        events += sorted({event for step in steps.discover(System(root), stage).steps for event in step.module.on})
    for event in events:
        agent = [sys.executable, "-m", "waagent.cli", "stage", stage, "--dry-run", "--force", "--format", "json"]
        agent += ["--root", str(root)] + (["--event", event] if event else [])
        ran = subprocess.run(
            ["unshare", "--mount", "--net", "sh", "-c", READ_ONLY, "sh", str(root), *agent],
            cwd=TOP, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert ran.returncode in (0, 1), ran.stderr
        records = json.loads(ran.stdout)["steps"]
        for record in records:
            assert "Read-only" not in record["message"], record
            assert record.get("reason") != "bug in the step", (record, ran.stderr)
            assert not record["message"].startswith("cannot foresee"), record
        if stage != "periodic":
            expected = [step.name for step in steps.discover(System(root), stage).steps]
            assert [record["name"] for record in records if "event" not in record] == expected
        assert "correct horse" not in ran.stdout + ran.stderr
    assert tree_of(root) == before
