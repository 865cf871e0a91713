"""OS.OpensslPath is the program that is used, and no other: seen in the real steps, by a program that writes down its calls."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.modules import test_remote_users as users
from tests.modules.conftest import load_module, settle
from tests.modules.fabric import joined, sim, talk, vm  # noqa: F401 - fixtures
from tests.modules.test_remote_users import ctx_of, machine, publish  # noqa: F401 - fixtures
from tests.protocol.test_extensions_over_the_wire import HANDLERS, HELLO, Worker
from waagent import config as configuration
from waagent.machine import passwords
from waagent.module import Context
from waagent.simulator import Simulator
from waagent.system import System
from waagent.system.command import execute

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program")


class Wrapper:
    """The real program under another name; `calls` are the words it was called with, `others` what was run beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "calls"
        folder.mkdir()
        self.path = folder / "our-openssl"
        self.path.write_text(f'#!/bin/sh\necho "$*" >>{self.log}\nexec {shutil.which("openssl")} "$@"\n')
        self.path.chmod(0o755)
        self.others: list[str] = []
        self.config = configuration.from_text(f"OS.OpensslPath={self.path}\n")

    def __call__(self, argv: tuple[str, ...], stdin: Any, limit: float, env: Any) -> Any:
        if argv[0] != str(self.path) and "openssl" in argv[0]:
            self.others.append(argv[0])
        return execute(argv, stdin, limit, env)

    def has(self, *words: str) -> bool:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return any(all(word in line.split() for word in words) for line in lines)


@pytest.fixture
def wrapper(tmp_path: Path) -> Wrapper:
    return Wrapper(tmp_path / "opt")


def test_certificates_and_packages(tmp_path: Path, wrapper: Wrapper) -> None:
    with Simulator(imds_port=None) as simulator:
        vm01 = simulator.machine("vm01")
        simulator.add_package(HANDLERS / HELLO, HELLO, "1.0.0")
        work = Worker(simulator, tmp_path)
        root = tmp_path / "root.pem"
        root.touch()
        work.ctx.system = System("/", journalling=False, execute=wrapper)
        work.ctx.config = configuration.from_text(
            f"Extension.LogDir={tmp_path}/log\nPolicy.PolicyFilePath={tmp_path}/policy.json\n"
            f"Debug.EnableSignatureValidation=y\nExtensions.SignatureRoot={root}\nOS.OpensslPath={wrapper.path}\n"
        )
        assert load_module("network/30-goal-state.py").run(work.ctx).kind == "changed"
        assert wrapper.has("cms", "-decrypt") and wrapper.has("pkcs12")
        settle(work.ctx)
        wrapper.log.unlink()
        vm01.rotate_certificate(new_incarnation=True)
        vm01.publish([{"name": HELLO, "version": "1.0.0", "signature": "AAAA"}])
        assert work.work()["20-extensions"].kind == "changed"
        assert wrapper.has("cms", "-decrypt"), "the periodic step goal-state"
        assert wrapper.has("cms", "-verify"), "the signature of the package"
        assert wrapper.others == []


def test_passwords_of_users_for_a_while(
    ctx_of: Context, machine: users.Accounts, publish: Any, wrapper: Wrapper  # noqa: F811
) -> None:
    machine.openssl = str(wrapper.path)
    ctx_of.config = wrapper.config
    publish("jit_oncall")
    wrapper.log.unlink(missing_ok=True)
    assert load_module(users.MODULE).run(ctx_of).kind == "changed"
    assert passwords.matches(users.SECRET, passwords.current_hash(ctx_of.system, "jit_oncall") or "")
    assert wrapper.has("cms", "-decrypt") and not [words for words in machine.ran if "openssl" in words[0]]


def test_hashes_without_a_library_that_makes_them(
    ctx: Context, put: Any, wrapper: Wrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program is looked for on the machine; on a fake root that is below it."""
    uid, gid = os.getuid(), os.getgid()
    put("/etc/passwd", f"ada:x:{uid}:{gid}::/home/ada:/bin/sh\n")
    shadow = put("/etc/shadow", "ada:!:19000:0:99999:7:::\n", 0o640)
    put("/etc/login.defs", "UID_MIN 0\n")
    put(str(wrapper.path), "#!/bin/false\n", 0o755)
    monkeypatch.setattr(passwords, "LIBRARIES", ())
    given: list[bytes] = []

    def run(argv: tuple[str, ...], stdin: Any, limit: float, env: Any) -> Any:
        if argv[0] == "chpasswd":
            given.append(stdin)
            shadow.write_bytes(stdin.strip() + b":19000:0:99999:7:::\n")
            argv = ("true",)
        return wrapper(argv, stdin, limit, env)

    ctx.system = System(ctx.system.root, execute=run)
    ctx.config = wrapper.config
    ctx.facts["ovf"] = {"user_name": "ada", "has_password": True, "public_keys": []}
    ctx.secret_facts["ovf"] = {"password": users.SECRET}
    assert load_module("local/45-password.py").run(ctx).kind == "changed"
    assert given[0].startswith(b"ada:$6$") and wrapper.has("passwd", "-6") and wrapper.others == []
