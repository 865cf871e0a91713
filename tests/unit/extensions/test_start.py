"""What happens to handlers at the start of an agent and before an image is made; quotas; the handler's manifest."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import Script
from tests.unit.extensions.conftest import Bed, single
from waagent.extensions import generalise, quotas, start
from waagent.extensions.commands import slice_of
from waagent.extensions.handler import Quotas, parse_manifest
from waagent.extensions.layout import LIB, Layout
from waagent.system import System

NAME = "Contoso.Test.Probe"
SLICE = f"azure-vmextensions-{NAME}.slice"


def test_environment_files_are_written_again_and_events_folders_made(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0")
    bed.process(single(NAME))
    os.rmdir(bed.layout.events(NAME))
    environment = Path(bed.layout.environment(NAME, "1.0.0"))
    environment.write_text("old")
    assert start.refresh(bed.system, bed.layout) == []
    assert json.loads(environment.read_text())[0]["name"] == NAME
    assert os.stat(bed.layout.events(NAME)).st_mode & 0o777 == 0o700


def test_an_administrator_s_mode_of_the_log_folder_stays(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0")
    bed.process(single(NAME))
    os.chmod(bed.layout.log(NAME), 0o750)
    start.refresh(bed.system, bed.layout)
    assert os.stat(bed.layout.log(NAME)).st_mode & 0o777 == 0o750


def test_states_of_old_agents_move_to_their_place(bed: Bed) -> None:
    old = Path(bed.layout.lib, "handler_state", f"{NAME}-1.0.0")
    old.mkdir(parents=True)
    (old / "state").write_text("Enabled")
    (old / "status").write_text('{"status": "Ready"}')
    bed.base(NAME, "1.0.0").mkdir()
    start.refresh(bed.system, bed.layout)
    assert bed.state(NAME, "1.0.0") == "Enabled"
    assert not old.parent.exists()


def test_an_image_keeps_handlers_and_forgets_this_machine(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0", {"enable": "echo 3 > mrseq; status success fine"})
    bed.process(single(NAME, sequence=3))
    bed.ran()
    generalise.forget(bed.system, bed.layout)
    base = bed.base(NAME, "1.0.0")
    left = sorted(str(path.relative_to(base)) for path in base.rglob("*") if path.is_file())
    assert left == [
        "HandlerEnvironment.json",
        "HandlerManifest.json",
        "bin/enable.sh",
        "bin/run.sh",
        "config/HandlerState",
    ]
    assert os.listdir(bed.layout.own) == ["ours.json"]
    bed.process(single(NAME, sequence=0))
    assert bed.verbs() == ["enable"]


def test_quotas_are_set_on_the_slice_and_loaded_services(system: System, script: Script) -> None:
    wanted = Quotas(25, {"a.service": 10, "b.service": 5, "c.service": None})
    quotas.apply(system, NAME, wanted)
    assert script.ran == []  # no systemd, no limits
    system.path("/run/systemd/system").mkdir(parents=True)
    show = ("systemctl", "show", "--property=LoadState", "--value")
    script.on(*show, "a.service", stdout="loaded\n")
    script.on(*show, "b.service", stdout="not-found\n")
    runtime = ("systemctl", "set-property", "--runtime")
    script.on(*runtime, SLICE, "CPUAccounting=yes", "CPUQuota=25%")
    script.on(
        *runtime, "a.service", "CPUAccounting=yes", "CPUQuota=10%", status=1
    )  # a failure is no reason to fail
    quotas.apply(system, NAME, wanted)
    script.on(*runtime, SLICE, "CPUQuota=")
    script.on(*runtime, "a.service", "CPUQuota=")
    quotas.reset(system, NAME, wanted)
    assert sum(argv[:3] == runtime for argv in script.ran) == 4


def test_quotas_of_instances_are_set_on_the_slices_their_commands_run_in(system: System, script: Script) -> None:
    system.path("/run/systemd/system").mkdir(parents=True)
    runtime = ("systemctl", "set-property", "--runtime")
    script.on(*runtime, slice_of(NAME, "A"), "CPUAccounting=yes", "CPUQuota=25%")
    quotas.apply(system, NAME, Quotas(25), "A")
    for instance in ("A", "B"):
        script.on(*runtime, slice_of(NAME, instance), "CPUQuota=")
    quotas.reset(system, NAME, Quotas(25), ("A", "B"))
    assert len(script.ran) == 3
    assert slice_of(NAME, "A") == f"azure-vmextensions-{NAME}.A.slice"


@pytest.mark.parametrize(
    ("new", "taken_back"),
    [
        ({}, {SLICE, "a.service", "b.service"}),
        ({"cpuQuotaPercentage": 50, "services": [{"name": "b", "cpuQuotaPercentage": 7}]}, {"a.service"}),
        ({"services": [{"name": "a"}, {"name": "b", "cpuQuotaPercentage": 5}]}, {SLICE, "a.service"}),
    ],
)
def test_quotas_that_a_new_version_has_no_more_are_taken_back(
    system: System, script: Script, new: dict[str, object], taken_back: set[str]
) -> None:
    """They are systemd's until the next boot, and the slice has the same name for every version."""
    from waagent.extensions.journal import Journal
    from waagent.extensions.plan import Operation, Pair
    from waagent.extensions.steps import Rules, Steps

    layout = Layout()
    services = [{"name": unit, "cpuQuotaPercentage": 5} for unit in ("a", "b")]
    for version, limits in (("1.0.0", {"cpuQuotaPercentage": 25, "services": services}), ("1.1.0", new)):
        body = {f"{verb}Command": "run" for verb in ("install", "uninstall", "update", "enable", "disable")}
        text = json.dumps([{"handlerManifest": body, "resourceLimits": limits}])
        system.path(layout.base(NAME, version)).mkdir(parents=True)
        system.write(layout.manifest(NAME, version), text.encode(), mode=0o600)
    system.path("/run/systemd/system").mkdir(parents=True)
    for unit in (SLICE, "a.service", "b.service"):
        script.on("systemctl", "show", "--property=LoadState", "--value", unit, stdout="loaded\n")
        script.on("systemctl", "set-property", "--runtime", unit, "CPUQuota=")
    steps = Steps(system, layout, None, Rules(), Journal(system, layout), lambda event, **data: None)  # type: ignore[arg-type]
    handler = single(NAME, "1.1.0")
    operation = Operation("remove", NAME, "1.0.0", update="1.0.0", target="1.1.0")
    steps._remove(Pair(handler, handler.settings[0], 0), operation)
    assert {argv[3] for argv in script.ran if argv[1] == "set-property"} == taken_back
    assert not system.exists(layout.base(NAME, "1.0.0"))


def test_a_manifest_in_full() -> None:
    text = json.dumps(
        [
            {
                "name": "DiskWatch",
                "version": "3.4.0",
                "handlerManifest": {
                    "installCommand": "bin/dw install",
                    "reportHeartbeat": "True",
                    "updateMode": "updateWITHinstall",
                    "continueOnUpdateFailure": 1,
                    "supportsMultipleExtensions": True,
                    "somethingNew": {"x": 1},
                },
                "resourceLimits": {
                    "cpuQuotaPercentage": 25,
                    "memoryQuotaInMB": 300,
                    "services": [{"name": "dw", "cpuQuotaPercentage": 10}, {"path": "x"}, 3, {"name": "../x"}],
                },
            },
            "more",
        ]
    )
    found = parse_manifest("\ufeff" + text, NAME)
    assert found.commands == {"install": "bin/dw install"}
    assert (found.report_heartbeat, found.install_after_update, found.multi_config) == (True, True, True)
    assert found.continue_on_update_failure is False
    assert found.odd_booleans == ("reportHeartbeat", "continueOnUpdateFailure")
    assert found.quotas == Quotas(25.0, {"dw.service": 10.0})


@pytest.mark.parametrize(
    "limits", [None, [], {"services": {}}, {"cpuQuotaPercentage": "25"}, {"cpuQuotaPercentage": -1}]
)
def test_limits_that_make_no_sense_are_none(limits: object) -> None:
    text = json.dumps([{"handlerManifest": {}, "resourceLimits": limits}])
    assert parse_manifest(text, NAME).quotas == Quotas()


# -- where Lib.Dir is another --------------------------------------------------------------------------------


@pytest.mark.row("field-demands", 148)
def test_row_148_the_habitual_directory_leads_to_lib_dir(system: System) -> None:
    layout = Layout("/opt/waagent", "/var/log/azure")
    system.make_directory("/opt/waagent")
    system.make_directory("/var/lib")
    habitual = system.path(LIB)
    shutil.rmtree(habitual, ignore_errors=True)
    habitual.mkdir()
    (habitual / "effects.jsonl").write_text("one\n")
    (habitual / "firewall.rules").write_text("rules\n")
    system.path("/opt/waagent/effects.jsonl").write_text("before\n")
    for _ in range(2):
        assert start.link_habitual(system, layout) == []
        assert os.readlink(habitual) == "/opt/waagent"
    assert system.read_text("/opt/waagent/effects.jsonl").startswith("before\none\n")
    assert system.read_text("/opt/waagent/firewall.rules") == "rules\n"
    assert start.link_habitual(system, Layout("/srv/waagent", "/var/log/azure")) == [
        "/var/lib/waagent leads to /opt/waagent, not to /srv/waagent; handlers that name it look there"
    ]
    habitual.unlink()
    (habitual / "history").mkdir(parents=True)
    (told,) = start.link_habitual(system, layout)
    assert told.startswith("/var/lib/waagent holds history, so it stays")
    assert (habitual / "history").is_dir()
    assert start.link_habitual(system, Layout(LIB, "/var/log/azure")) == []
