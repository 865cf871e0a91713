"""Keys that came by certificate, custom data, the flag that switches the agent off."""

from __future__ import annotations

import base64
import gzip
import os
import subprocess

import pytest

from tests.modules.conftest import VM_ID, load_module, settle
from tests.unit.machine.conftest import real
from waagent.errors import ProvisioningError, SshError

PRINT = "0123456789ABCDEF0123456789ABCDEF01234567"
DATA = "/var/lib/waagent/CustomData"
SCRIPT = b"#!/bin/sh\necho hello\n"


def step(name: str):
    return load_module(f"{name}.py")


@pytest.fixture
def ada(ctx, put):
    uid, gid = os.getuid(), os.getgid()
    put("/etc/passwd", f"ada:x:{uid}:{gid}::/home/ada:/bin/sh\n")
    put("/home/ada/.profile")
    ctx.facts["ovf"] = {"user_name": "ada", "public_keys": [], "key_pairs": [], "has_custom_data": True}
    return ctx


@pytest.fixture
def certificate(tmp_path, put):
    """A certificate with an EC key, as the goal state brings it."""
    real("openssl")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", "k", "-out", "c", "-subj", "/CN=x", "-days", "2"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    put(f"/var/lib/waagent/{PRINT}.crt", (tmp_path / "c").read_bytes())
    put(f"/var/lib/waagent/{PRINT}.prv", (tmp_path / "k").read_bytes(), 0o600)


@pytest.mark.row("provisioning", 53)
@pytest.mark.wire("2.6/PublicKey-Fingerprint", "2.6/KeyPair-Fingerprint")
def test_row_53_keys_of_certificates_are_put_in_place_once(ada, certificate):
    ada.facts["ovf"]["public_keys"] = [
        {"path": "$HOME/ada/.ssh/authorized_keys", "fingerprint": PRINT, "value": ""}
    ]
    ada.facts["ovf"]["key_pairs"] = [{"path": "$HOME/ada/.ssh/id_ec", "fingerprint": PRINT}]
    assert step("config/40-certificate-keys").run(ada).kind == "changed"
    folder = ada.system.path("/home/ada/.ssh")
    line = (folder / "authorized_keys").read_text()
    assert line.startswith("ecdsa-sha2-nistp256 ")
    assert (folder / "id_ec.pub").read_text() == line
    assert (folder / "id_ec").read_bytes() == ada.system.read(f"/var/lib/waagent/{PRINT}.prv")
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes == {"authorized_keys": 0o600, "id_ec": 0o600, "id_ec.pub": 0o644}
    assert "PRIVATE" not in str(ada.system.effects)
    settle(ada)
    assert step("config/40-certificate-keys").run(ada).kind == "unchanged"


@pytest.mark.row("provisioning", 49)
@pytest.mark.wire("2.6/PublicKey-Fingerprint")
@pytest.mark.parametrize(("entry", "what"), [("public_keys", "certificate"), ("key_pairs", "private key")])
def test_row_49_a_thumbprint_without_certificate_is_named(ada, entry, what):
    ada.facts["ovf"][entry] = [{"path": "$HOME/ada/.ssh/k", "fingerprint": PRINT, "value": ""}]
    with pytest.raises(SshError, match=f"the platform sent no {what} of that thumbprint .*{PRINT}"):
        step("config/40-certificate-keys").run(ada)


def test_a_document_without_certificates_is_skipped(ada):
    assert step("config/40-certificate-keys").run(ada).kind == "skipped"


@pytest.mark.row("provisioning", 55)
@pytest.mark.wire("8.2/CustomData")
@pytest.mark.parametrize("conf", ["Provisioning.DecodeCustomData=y", "Provisioning.ExecuteCustomData=y"])
@pytest.mark.parametrize("data", [SCRIPT, gzip.compress(b"x" * 100, mtime=0), bytes(range(256)) * 256])
def test_row_55_custom_data_is_decoded_to_the_bytes_it_stands_for(ada, declared, conf, data):
    declared(conf)
    text = base64.encodebytes(data).decode()  # with line breaks, as some tools make it
    ada.secret_facts["ovf"] = {"custom_data": text}
    assert step("config/60-custom-data").run(ada).kind == "changed"
    assert ada.system.read(DATA) == data
    assert ada.system.path(DATA).stat().st_mode & 0o777 == 0o600
    settle(ada)
    assert step("config/60-custom-data").run(ada).kind == "unchanged"


@pytest.mark.wire("8.2/CustomData")
def test_custom_data_is_saved_as_it_came_where_nobody_wants_it_decoded(ada):
    ada.secret_facts["ovf"] = {"custom_data": "IyEvYmluL3NoCg=="}
    step("config/60-custom-data").run(ada)
    assert ada.system.read(DATA) == b"IyEvYmluL3NoCg=="


@pytest.mark.row("provisioning", 55)
def test_row_55_invalid_base64_is_reported(ada, declared):
    declared("Provisioning.DecodeCustomData=y")
    ada.secret_facts["ovf"] = {"custom_data": "this is no base64!"}
    with pytest.raises(ProvisioningError, match="its 18 characters are no Base64"):
        step("config/60-custom-data").run(ada)
    assert not ada.system.exists(DATA)


@pytest.fixture
def saved(ada, declared, put):
    declared("Provisioning.ExecuteCustomData=y")
    put(DATA, SCRIPT, 0o600)
    return ada


def test_custom_data_is_run_once_and_its_output_kept(saved, script):
    script.on(DATA, stdout="hello\n", stderr="a warning\n")
    assert step("final/95-run-custom-data").run(saved).kind == "changed"
    assert saved.published["custom_data"]["status"] == 0
    assert saved.system.read(f"{DATA}.log") == b"hello\na warning\n"
    assert saved.system.path(f"{DATA}.log").stat().st_mode & 0o777 == 0o600
    assert saved.system.path(DATA).stat().st_mode & 0o777 == 0o700
    assert step("final/95-run-custom-data").run(saved).kind == "unchanged"
    assert len(script.ran) == 1


@pytest.mark.row("provisioning", 56)
@pytest.mark.parametrize(("status", "how"), [(3, "ended with status 3"), (124, "ran over its limit")])
def test_row_56_a_script_that_fails_or_hangs_is_told_and_not_run_again(saved, script, status, how):
    script.on(DATA, status=status, stderr="oh no\n")
    with pytest.raises(ProvisioningError, match=f"the custom data {how} .*: oh no .*not run again"):
        step("final/95-run-custom-data").run(saved)
    assert step("final/95-run-custom-data").MODULE.essential is False
    assert step("final/95-run-custom-data").run(saved).kind == "unchanged"
    assert len(script.ran) == 1


def test_a_script_that_rebooted_the_machine_is_not_started_again(saved, script, put):
    put(f"{DATA}.started", f"{VM_ID} 2026-11-23T00:00:00Z\n")
    assert step("final/95-run-custom-data").run(saved).kind == "unchanged"
    assert script.ran == []


def test_another_vm_made_of_this_disk_runs_it(saved, script, put):
    put(f"{DATA}.started", "11111111-2222-3333-4444-555555555555 2026-11-23T00:00:00Z\n")
    script.on(DATA)
    assert step("final/95-run-custom-data").run(saved).kind == "changed"


def test_a_script_without_an_interpreter_line_goes_to_the_shell(saved, script, put):
    put(DATA, b"echo hello\n")
    script.on("/bin/sh", DATA)
    step("final/95-run-custom-data").run(saved)


def test_custom_data_is_not_run_where_nobody_asked(saved, declared, script):
    declared("")
    assert step("final/95-run-custom-data").run(saved).kind == "skipped"
    assert script.ran == []


@pytest.mark.row("field-demands", 73)
@pytest.mark.row("provisioning", 27, 28)
@pytest.mark.wire("8.2/disable_agent", "2.9/ProvisionGuestAgent")
@pytest.mark.parametrize(("text", "off"), [("False", True), ("false", True), ("true", False), ("bad data", False)])
def test_rows_27_28_the_flag_switches_the_agent_off(ctx, text, off):
    ctx.facts["ovf"] = {"provision_guest_agent": text}
    assert step("final/80-guest-agent-flag").run(ctx).kind == ("changed" if off else "unchanged")
    assert ctx.system.exists("/var/lib/waagent/disable_agent") is off
    assert step("final/80-guest-agent-flag").run(ctx).kind == "unchanged"
