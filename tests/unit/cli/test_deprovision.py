"""The verb deprovision on a mounted image: its list, its question, its steps, its second look."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Waagent
from tests.unit.runner.conftest import TOP, Machine
from waagent.cli import deprovision


@pytest.fixture
def used(machine: Machine) -> Machine:
    """The image of a machine that was in use; systemctl and the like are not in it."""
    shutil.copytree(TOP / "modules/deprovision", machine.root / "usr/lib/waagent/modules/deprovision")
    for path, content in {
        "etc/ssh/ssh_host_rsa_key": "key",
        "etc/machine-id": "0123456789abcdef\n",
        "etc/hostname": "vm-first\n",
        "etc/passwd": "root:x:0:0::/root:/bin/sh\n",
        "etc/shadow": "root:$6$salt$hash:1::::::\n",
        "root/.bash_history": "secret --token x\n",
        "var/lib/dhcp/dhclient.leases": "lease",
        "var/lib/waagent/instances/one/public.json": json.dumps(
            {"facts": {"ovf": {"host_name": "vm-first", "user_name": "ada"}, "vm": {"id": "one"}}}
        ),
        "var/log/auth.log": "ada\n",
        "var/log/app.log": "hello vm-first\n",
    }.items():
        file = machine.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    (machine.root / "var/lib/waagent/instance").symlink_to("instances/one")
    return machine


def tree(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file() and not path.is_symlink()}


def answer(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


@pytest.mark.row("field-demands", 132)
def test_dry_run_lists_and_changes_nothing(used: Machine, waagent: Waagent) -> None:
    before = tree(used.root)
    said = waagent("deprovision", "--dry-run")
    assert said.status == 0
    assert tree(used.root) == before
    for path in ("/etc/ssh/ssh_host_rsa_key", "/var/lib/dhcp/dhclient.leases", "/var/lib/waagent/instances"):
        assert f"    remove {path}" in said.out
    assert said.err == ""


def test_dry_run_as_json_has_the_effects_of_each_step(used: Machine, waagent: Waagent) -> None:
    steps = {step["name"]: step for step in waagent("deprovision", "--dry-run", "--format", "json").json()["steps"]}
    assert "remove /etc/ssh/ssh_host_rsa_key" in steps["ssh-host-keys"]["effects"]
    assert steps["stop-agent"]["outcome"] == "skipped"


@pytest.mark.row("provisioning", 63)
@pytest.mark.parametrize("text", ["n\n", "\n", "nay\n", " \n"])
def test_63_anything_but_yes_ends_quietly(
    used: Machine, waagent: Waagent, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    before = tree(used.root / "etc")
    answer(monkeypatch, text)
    said = waagent("deprovision")
    assert said.status == 0
    assert said.out.endswith("(y/n)? ")
    assert tree(used.root / "etc") == before
    assert (used.root / "var/lib/waagent/instances/one/public.json").exists()


@pytest.mark.row("field-demands", 137)
@pytest.mark.row("provisioning", 63)
def test_63_no_answer_is_a_failure_that_changes_nothing(
    used: Machine, waagent: Waagent, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, "")
    said = waagent("deprovision")
    assert said.status == 1
    assert "--force" in said.err
    assert (used.root / "etc/ssh/ssh_host_rsa_key").exists()


@pytest.mark.row("provisioning", 63)
def test_63_interrupted_at_the_question(used: Machine, waagent: Waagent, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(told: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(deprovision, "confirmed", interrupt)
    said = waagent("deprovision")
    assert said.status == 0
    assert "interrupted: nothing was changed" in said.out
    assert (used.root / "etc/ssh/ssh_host_rsa_key").exists()


@pytest.mark.parametrize("text", ["y\n", "Y\n", "yes\n"])
def test_yes_proceeds(used: Machine, waagent: Waagent, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    answer(monkeypatch, text)
    assert waagent("deprovision").status == 0
    assert not (used.root / "etc/ssh/ssh_host_rsa_key").exists()


@pytest.mark.row("field-demands", 137)
@pytest.mark.row("provisioning", 64)
def test_64_warnings_come_in_order_and_force_does_not_ask(used: Machine, waagent: Waagent) -> None:
    said = waagent("deprovision", "--force")
    assert said.status == 0
    lines = [line for line in said.out.splitlines() if line.startswith("WARNING! ")]
    words = ["host keys", "leases", "password of root", "resolver", "cloud-init", "machine id", "logs", "state"]
    assert [next(word for word in words if word in line) for line in lines] == words
    assert "y/n" not in said.out
    root = used.root
    assert list((root / "var/lib/waagent").iterdir()) == []
    assert (root / "etc/hostname").read_text() == "localhost.localdomain\n"
    assert not (root / "run/waagent").exists(), "what is memory elsewhere must not be in an image"
    assert not (root / "var/log/waagent.log").exists()


@pytest.mark.row("provisioning", 65)
def test_65_unknown_account_is_two_warnings_and_the_rest_is_done(used: Machine, waagent: Waagent) -> None:
    shutil.rmtree(used.root / "var/lib/waagent")
    (used.root / "var/lib/waagent").mkdir()
    said = waagent("deprovision", "--user", "--force")
    assert said.status == 0
    assert "WARNING! The last provisioned account was not found" in said.out
    assert "WARNING! No account will be deleted." in said.out
    assert not (used.root / "etc/ssh/ssh_host_rsa_key").exists()


@pytest.mark.row("provisioning", 65)
@pytest.mark.parametrize("content", ["<Environment", "<Environment/>"])
def test_65_document_that_cannot_be_read(used: Machine, waagent: Waagent, content: str) -> None:
    shutil.rmtree(used.root / "var/lib/waagent")
    (used.root / "var/lib/waagent").mkdir()
    (used.root / "var/lib/waagent/ovf-env.xml").write_text(content)
    said = waagent("deprovision", "--user", "--force")
    assert said.status == 0
    assert "ovf-env.xml cannot be used" in said.out


def test_account_of_an_older_agent_s_image_is_in_its_document(used: Machine) -> None:
    from tests.unit.instance.documents import document
    from waagent.provisioning.deprovision import last_user

    (used.root / "var/lib/waagent/ovf-env.xml").write_bytes(document(password="x-of-12345"))
    name, why = last_user(used.system(), "/var/lib/waagent", {})
    assert name and not why


@pytest.mark.row("provisioning", 67)
def test_67_ubuntu_says_that_the_resolver_file_stays(used: Machine, waagent: Waagent) -> None:
    (used.root / "etc/os-release").write_text('ID=ubuntu\nVERSION_ID="22.04"\n')
    (used.root / "etc/resolv.conf").write_text("nameserver 192.0.2.1\n")
    said = waagent("deprovision", "--force")
    assert "WARNING! /etc/resolv.conf is kept" in said.out
    assert (used.root / "etc/resolv.conf").exists()


def test_masked_step_neither_warns_nor_runs(used: Machine, waagent: Waagent) -> None:
    folder = used.root / "etc/waagent/hooks.d/deprovision"
    folder.mkdir(parents=True)
    (folder / "20-ssh-host-keys.py").symlink_to("/dev/null")
    said = waagent("deprovision", "--force")
    assert "All SSH host keys" not in said.out
    assert "the step ssh-host-keys is left out" in said.out
    assert (used.root / "etc/ssh/ssh_host_rsa_key").exists()


def test_step_of_an_admin_is_announced_by_its_summary_and_runs_each_time(used: Machine, waagent: Waagent) -> None:
    body = "ctx.system.write('/etc/wiped', ctx.event_data['user'])\nreturn changed('wiped')"
    used.module("admin/deprovision/72-app.py", body, summary="Delete the keys of the app", frequency="once")
    for _ in range(2):
        said = waagent("deprovision", "--force")
        assert "WARNING! /etc/waagent/hooks.d/deprovision/72-app.py: Delete the keys of the app" in said.out
        assert (used.root / "etc/wiped").exists()
        (used.root / "etc/wiped").unlink()
    assert list((used.root / "var/lib/waagent").iterdir()) == [], "no semaphore comes back"


def test_program_of_an_admin_is_told_what_was_asked(used: Machine, waagent: Waagent) -> None:
    used.add("admin/deprovision/72-app.sh", '#!/bin/sh\ngrep -o \'"delete_user": [a-z]*\' >"${0%/hooks.d*}/told"\n')
    assert waagent("deprovision", "--force").status == 0
    assert (used.root / "etc/waagent/told").read_text() == '"delete_user": false\n'


def test_step_that_fails_is_named_and_the_others_run(used: Machine, waagent: Waagent) -> None:
    used.module("admin/deprovision/22-app.py", "raise RuntimeError('no such app')")
    said = waagent("deprovision", "--force")
    assert said.status == 1
    assert "app failed" in said.err and "run it again" in said.err
    assert list((used.root / "var/lib/waagent").iterdir()) == []


def test_hooks_of_the_event_run_before_anything_goes(used: Machine, waagent: Waagent) -> None:
    used.add("admin/on-deprovision/10-look.sh", '#!/bin/sh\nls "${0%/etc/*}/etc/ssh" >"${0%/hooks.d*}/seen"\n')
    assert waagent("deprovision", "--force").status == 0
    assert (used.root / "etc/waagent/seen").read_text() == "ssh_host_rsa_key\n"


def test_json_tells_what_was_done(used: Machine, waagent: Waagent) -> None:
    said = waagent("deprovision", "--force", "--format", "json")
    steps = {step["name"]: step for step in said.json()["steps"]}
    assert "remove /etc/ssh/ssh_host_rsa_key" in steps["ssh-host-keys"]["effects"]
    assert "WARNING!" in said.err


def test_verify_before_and_after(used: Machine, waagent: Waagent) -> None:
    said = waagent("deprovision", "--verify")
    assert said.status == 1
    assert "name: /var/log/app.log says vm-first" in said.out
    assert "password hash: /etc/shadow has one of root" in said.out
    waagent("deprovision", "--force")
    (used.root / "var/log/app.log").unlink()
    said = waagent("deprovision", "--verify", "--name", "vm-first")
    assert (said.status, said.out) == (0, "no trace of an instance was found\n")


def test_verify_and_dry_run_do_not_go_together(used: Machine, waagent: Waagent) -> None:
    assert waagent("deprovision", "--verify", "--dry-run").status == 2


def test_steps_and_new_hook_know_the_stage(used: Machine, waagent: Waagent) -> None:
    assert waagent("steps", "deprovision").status == 0
    assert waagent("new-hook", "deprovision", "72-app").status == 0
    assert (used.root / "etc/waagent/hooks.d/deprovision/72-app.sh").exists()


def test_stage_verb_does_not_run_it(used: Machine, waagent: Waagent) -> None:
    """Nothing may clean a machine that did not ask first."""
    assert waagent("stage", "deprovision").status == 2
    assert (used.root / "etc/ssh/ssh_host_rsa_key").exists()
