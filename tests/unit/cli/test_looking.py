"""The verbs that look: status, steps, query, why, effects, config, distro, events, version."""

from __future__ import annotations

import json
import os

import pytest

from tests.conftest import Script
from tests.unit.cli.conftest import Waagent
from tests.unit.runner.conftest import Machine
from waagent.cli import status
from waagent.cli.__main__ import verbs
from waagent.system import System

UNITS = ("systemctl", "show", "--property=ActiveState,Job")


def test_every_verb_has_a_summary_a_docstring_with_its_exit_statuses_and_help(waagent: Waagent) -> None:
    for verb in verbs():
        said = waagent(verb, "--help")
        assert said.status == 0
        assert f"waagent {verb}" in said.out
        if verb not in ("version", "daemon"):
            assert "xit status" in said.out, verb


def test_a_wrong_argument_gets_one_line(waagent: Waagent) -> None:
    said = waagent("steps", "--colour")
    assert said.status == 2
    assert said.err.count("\n") == 1


def test_status_tells_what_failed_and_exits_with_it(booted: Machine, waagent: Waagent) -> None:
    said = waagent("status")
    assert said.status == status.EXIT["degraded"]
    assert "status: degraded" in said.out
    assert "no disk" in said.out
    assert "identify" not in said.out
    assert "identify" in waagent("status", "--long").out
    assert waagent("status", "--ok-on", "degraded").status == 0
    whole = waagent("status", "--format", "json").json()
    assert (whole["schema"], whole["state"]) == (1, "degraded")


def test_status_before_and_during_a_boot(machine: Machine, waagent: Waagent) -> None:
    assert waagent("status").out == "status: not started\n"
    machine.module("vendor/local/10-x.py")
    machine.run("local")
    assert waagent("status").status == 3
    assert waagent("status", "--wait", "--timeout", "0.2").status == status.TIMED_OUT


@pytest.mark.parametrize(
    ("active", "job", "manager", "gives_up"),
    [
        ("inactive", "0", "running", True),
        ("failed", "0", "degraded", True),
        ("inactive", "77", "running", False),
        ("activating", "0", "running", False),
        ("inactive", "0", "starting", False),
    ],
)
def test_waiting_ends_when_systemd_will_not_start_a_stage(
    booted: Machine, script: Script, active: str, job: str, manager: str, gives_up: bool
) -> None:
    (booted.root / "run/systemd/system").mkdir(parents=True)
    script.on("systemctl", "is-system-running", stdout=manager + "\n", status=1)
    for name in ("config", "final"):
        script.on(*UNITS, f"waagent-{name}.service", stdout=f"ActiveState={active}\nJob={job}\n")
    system = System(booted.root, execute=script.execute)
    boot = status.current(system)
    for name in ("config", "final"):
        boot["stages"].pop(name)
    boot["state"] = "running"
    assert status.given_up(system, boot) is gives_up
    assert boot["state"] == ("error" if gives_up else "running")
    if gives_up:
        assert f"waagent-final.service is {active}, and nothing is going to start it" in status.render(boot, False)


def test_steps_lists_order_overrides_masks_and_refusals(machine: Machine, waagent: Waagent) -> None:
    machine.module("vendor/local/20-a.py")
    machine.module("vendor/local/30-b.py")
    machine.add("admin/local/25-a.sh", "#!/bin/sh\n")
    machine.add("admin/local/30-b", "")
    machine.add("admin/local/40-c.sh", "#!/bin/sh\n", 0o777)
    machine.add("admin/on-ready/10-d.sh", "#!/bin/sh\n")
    said = waagent("steps")
    assert said.status == 1
    for words in (
        "25  a  per-boot  /etc/waagent/hooks.d/local/25-a.sh",
        "a replaces /usr/lib/waagent/modules/local/20-a.py",
        "b is masked by /etc/waagent/hooks.d/local/30-b (hides /usr/lib/waagent/modules/local/30-b.py)",
        "40-c.sh: refused, not run: writable by others",
        "on-ready\n",
    ):
        assert words in said.out
    listing = waagent("steps", "local", "--format", "json").json()
    assert listing["schema"] == 1
    assert [step["name"] for step in listing["stages"][0]["steps"]] == ["a"]
    said = waagent("steps", "lokal")
    assert (said.status, said.out) == (2, "")
    assert "no stage 'lokal'" in said.err


def test_query_finds_facts_and_keeps_secrets(booted: Machine, waagent: Waagent) -> None:
    assert waagent("query", "ovf.host_name").out == "vm1\n"
    assert waagent("query", "ovf.host_name", "--format", "json").out == '"vm1"\n'
    assert waagent("query", "ovf.flag").out == "true\n"
    assert waagent("query", "ovf.keys.1").out == "b\n"
    assert waagent("query", "ovf.keys").json() == ["a", "b"]
    assert waagent("query", "--list-keys").out.splitlines()[-1] == "ovf.password (secret)"
    assert waagent("query", "--list-keys", "--format", "json").json()["secret"] == ["ovf.password"]
    everything = waagent("query", "--all")
    assert everything.json()["schema"] == 1
    assert "sesame" not in everything.out
    said = waagent("query", "ovf.hostname")
    assert (said.status, said.out) == (1, "")
    assert "ovf.hostname is not known" in said.err
    if os.geteuid() == 0:
        assert waagent("query", "ovf.password").out == "sesame street\n"


def test_query_without_instance_data(waagent: Waagent) -> None:
    said = waagent("query", "vm.id")
    assert said.status == 1
    assert "no instance data yet" in said.err


def test_why_and_effects_tell_the_same(booted: Machine, waagent: Waagent) -> None:
    said = waagent("why", "/etc/hostname")
    assert said.status == 0
    assert "local/identify" in said.out
    assert "write /etc/hostname" in said.out
    assert waagent("why", "/etc").out == said.out
    both = waagent("why", "/etc/hostname", "--format", "json").json(), waagent("effects", "--format", "json").json()
    assert both[0] == both[1]
    assert both[0]["schema"] == 1
    assert waagent("effects", "--stage", "network").out == ""
    assert waagent("effects", "--stage", "network", "--format", "json").json()["effects"] == []
    assert len(waagent("effects", "--last", "1").out.splitlines()) == 1
    assert waagent("why", "/etc/shadow").status == 1


def test_config_show_check_explain(machine: Machine, waagent: Waagent) -> None:
    assert waagent("config", "check").status == 0
    (machine.root / "etc/waagent.conf.d").mkdir()
    (machine.root / "etc/waagent.conf.d/50-x.conf").write_text("ResourceDisk.SwapSizeMB=2G\nHttpProxy.Host=u:pw@h\n")
    said = waagent("config", "check")
    assert said.status == 1
    assert said.out.startswith("/etc/waagent.conf.d/50-x.conf:1: ResourceDisk.SwapSizeMB=2G: expected a whole number")
    whole = waagent("config", "check", "--format", "json").json()
    assert (whole["schema"], whole["problems"][0]["line"]) == (1, 1)
    options = waagent("config", "show", "--format", "json").json()["options"]
    assert options["HttpProxy.Host"] == {
        "value": "u:***@h", "source": "/etc/waagent.conf.d/50-x.conf:2", "default": None,
    }  # fmt: skip
    assert waagent("config", "show", "ResourceDisk.SwapSizeMB").out == "0\n"
    assert "read by:" not in waagent("config", "explain", "ResourceDisk.Format").out, "no step is there to read it"
    assert waagent("config", "explain", "ResourceDisk.Formt").status == 1
    assert "did you mean ResourceDisk.Format?" in waagent("config", "explain", "ResourceDisk.Formt").err
    assert waagent("config", "show", "No.Such").status == 1
    assert waagent("config", "explain").status == 2


def test_distro_shows_keys_and_their_origin(machine: Machine, waagent: Waagent) -> None:
    assert waagent("distro").out.startswith("profile debian (names debian), system debian 12")
    said = waagent("distro", "show", "services.ssh")
    assert said.out.split() == ["services.ssh", '"ssh"', "debian.yaml"]
    whole = waagent("distro", "show", "services", "--format", "json").json()
    assert (whole["schema"], whole["values"]["ssh"]) == (1, "ssh")
    said = waagent("distro", "show", "services.shh")
    assert (said.status, "did you mean services.ssh?" in said.err) == (1, True)
    folder = machine.root / "etc/waagent/distro.d"
    folder.mkdir(parents=True)
    (folder / "50-mine.yaml").write_text("services: {ssh: my-sshd, nonsense: x}\n")
    said = waagent("distro", "show", "services.ssh")
    assert (said.status, "nonsense" in said.err) == (1, True)


def test_events_lists_and_runs_hooks(machine: Machine, waagent: Waagent) -> None:
    path = machine.add("admin/on-ready/10-x.sh", f"#!/bin/sh\necho $WAAGENT_EVENT >{machine.root}/tmp/ran\n")
    machine.add("admin/on-mine/10-y.sh", "#!/bin/sh\n", 0o777)
    said = waagent("events")
    assert said.status == 1
    assert "ready: the machine was reported ready to the platform (data: vm_id)" in said.out
    assert "  /etc/waagent/hooks.d/on-ready/10-x.sh" in said.out
    assert "mine: not an event of this package" in said.out
    assert waagent("events", "ready").status == 0
    assert waagent("events", "ready", "--dry-run").out.splitlines()[0] == "x: would change: would run"
    assert not (machine.root / "tmp/ran").exists()
    assert waagent("events", "ready", "--run").status == 0
    assert (machine.root / "tmp/ran").read_text() == "ready\n"
    path.write_text("#!/bin/sh\nexit 1\n")
    assert waagent("events", "ready", "--run").status == 1
    assert waagent("events", "--run").status == 2


def test_an_event_that_nobody_has_is_an_error(machine: Machine, waagent: Waagent) -> None:
    said = waagent("events", "nope")
    assert said.status == 1 and not said.out and "there is no event 'nope'; there are ready, failed," in said.err
    assert "did you mean ready?" in waagent("events", "redy").err
    machine.add("admin/on-backup/10-x", "#!/bin/sh\nexit 0\n")
    assert waagent("events", "backup").status == 0


def test_stage_dry_run_and_only(machine: Machine, waagent: Waagent) -> None:
    machine.module("vendor/local/20-a.py", "ctx.system.write('/etc/motd', 'x')\nreturn changed('wrote')")
    machine.module("vendor/local/30-b.py", "return 1/0")
    before = set(machine.root.rglob("*"))
    said = waagent("stage", "local", "--dry-run")
    assert said.status == 1
    assert said.out.startswith("a: would change: wrote\n    write /etc/motd created with 1 bytes, mode 0644\nb: would fail:")
    assert set(machine.root.rglob("*")) == before
    assert waagent("stage", "local", "--dry-run", "--format", "json").json()["schema"] == 1
    assert waagent("stage", "local", "--only", "a").status == 0
    assert (machine.root / "etc/motd").exists()
    assert waagent("stage", "local").status == 1
    assert waagent("stage", "local", "--only", "nope").status == 1
    assert waagent("stage", "lokal").status == 2
    assert waagent("stage", "local", "--event", "x").status == 2
    record = json.loads((machine.root / "run/waagent/status.json").read_text())
    assert record["stages"]["local"]["startup"] >= 0


def test_a_user_may_look_at_what_is_public(booted: Machine, waagent: Waagent) -> None:
    if os.geteuid() != 0:
        pytest.skip("has to be root to become somebody else")
    for folder in (booted.root, *booted.root.parents):
        if folder.stat().st_mode & 0o005 != 0o005 and "pytest" in str(folder):
            folder.chmod(folder.stat().st_mode | 0o055)
    child = os.fork()
    if child == 0:
        status_ = 99
        try:
            os.setgid(65534)
            os.setuid(65534)
            public = [("status", 2), ("query", 0), ("steps", 0), ("config", 0), ("distro", 0), ("analyze", 0), ("why", 1)]
            words = {"query": ("vm.id",), "config": ("show",), "analyze": ("show",), "why": ("/etc/hostname",)}
            status_ = 0
            for verb, wanted in public:
                said = waagent(verb, *words.get(verb, ()))
                status_ = status_ if said.status == wanted else 1
            secret = waagent("query", "ovf.password")
            status_ = status_ if secret.status == 1 and "root may ask" in secret.err else 2
            status_ = status_ if "try it as root" in waagent("why", "/etc/hostname").err else 3
        finally:
            os._exit(status_)
    assert os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 0
