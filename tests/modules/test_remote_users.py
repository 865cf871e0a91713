"""Users with access for a while: let in, left alone, seen out; nobody else is touched.

Rows are those of the scenario list of guest operations, section 12.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest

from tests.modules.conftest import profile_of, settle
from tests.modules.fabric import joined, sim, talk, vm  # noqa: F401 - fixtures
from waagent.errors import UserError
from waagent.machine import passwords, users
from waagent.module import Context
from waagent.system import Result
from waagent.system.command import execute

MODULE = "periodic/25-remote-users.py"
SECRET = "J1t & time \u00e9"
BASE = "root:x:0:0:root:/root:/bin/bash\nbob:x:70001:70001:Bob,,,:/home/bob:/bin/sh\n"
RULES = "/etc/sudoers.d/waagent"


class Accounts:
    """useradd, userdel and chpasswd as they work on the files; `broken` programs fail."""

    openssl = "/usr/bin/openssl"

    def __init__(self, ctx: Context) -> None:
        self.system, self.ran, self.broken, self.inputs = ctx.system, [], set(), []  # type: ignore[var-annotated]
        self._write("/etc/passwd", BASE)
        self._write("/etc/shadow", "root:*:1::::::\nbob:$6$a$b:1::::::\n")
        self._write("/etc/group", "root:x:0:\nbob:x:70001:\n")

    def names(self) -> list[str]:
        return [account.name for account in users.every(self.system)]

    def _write(self, path: str, text: str) -> None:
        self.system.path(path).write_text(text)

    def execute(self, argv: tuple[str, ...], stdin: Any, limit: float, env: Any) -> Result:
        if argv[0] in (self.openssl, Accounts.openssl):
            lib = "/var/lib/waagent"
            return execute(tuple(f"{self.system.root}{w}" if w.startswith(lib) else w for w in argv), stdin, limit, env)
        self.ran.append(argv)
        if argv[0] in self.broken:
            return Result(argv, 1, "", f"{argv[0]}: cannot lock /etc/passwd")
        passwd, shadow = (self.system.path(f"/etc/{name}").read_text() for name in ("passwd", "shadow"))
        name = argv[-1]
        if argv[0] == "useradd":
            comment = argv[argv.index("-c") + 1]
            self._write("/etc/passwd", f"{passwd}{name}:x:{os.getuid()}:{os.getgid()}:{comment}:/home/{name}:/bin/sh\n")
            self._write("/etc/shadow", f"{shadow}{name}:!:1:0:::::\n")
            (self.system.path("/home") / name).mkdir()
            (self.system.path("/home") / name / ".profile").write_text("")
        elif argv[0] == "userdel":
            for path, text in (("/etc/passwd", passwd), ("/etc/shadow", shadow)):
                self._write(path, "".join(f"{line}\n" for line in text.splitlines() if not line.startswith(f"{name}:")))
        elif argv[0] == "chpasswd":
            self.inputs.append(stdin)
            user, _, hashed = stdin.decode().strip().partition(":")
            self._write("/etc/shadow", "".join(
                f"{user}:{hashed}:1:0:::::\n" if line.startswith(f"{user}:") else f"{line}\n" for line in shadow.splitlines()
            ))  # fmt: skip
        return Result(argv, 0)


@pytest.fixture
def machine(joined: Context, talk: Any, put: Any) -> Accounts:  # noqa: F811
    put("/etc/login.defs", "UID_MIN 0\n")
    made = Accounts(joined)
    joined.system._execute = made.execute
    joined.event = "goal-state"
    return made


@pytest.fixture
def publish(joined: Context, vm: Any, talk: Any) -> Callable[..., None]:  # noqa: F811
    """Have the platform grant access, and the goal state fetched."""

    def send(*given: dict[str, str] | str, hours: float = 8) -> None:
        moment = f"{talk.clock.now() + timedelta(hours=hours):%a, %d %b %Y %H:%M:%S} GMT"
        full = [{"name": one, "password": SECRET, "expiration": moment} if isinstance(one, str)
                else {"password": SECRET, "expiration": moment, **one} for one in given]  # fmt: skip
        vm.publish(remote_users=full)
        talk.session.update(force=True)

    return send


@pytest.fixture
def ctx_of(joined: Context, machine: Accounts) -> Context:  # noqa: F811
    return joined


@pytest.mark.row("guest-operations", 70)
def test_a_user_is_let_in(module: ModuleType, ctx_of: Context, machine: Accounts, publish: Any) -> None:
    publish("jit_oncall")
    outcome = module.run(ctx_of)
    last_day = f"{ctx_of.system.clock.now() + timedelta(hours=8, days=1):%Y-%m-%d}"
    assert machine.ran[0] == ("useradd", "-m", "-e", last_day, "-c", "JIT_Account", "jit_oncall")
    hashed = passwords.current_hash(ctx_of.system, "jit_oncall") or ""
    assert hashed.startswith("$6$")
    assert passwords.matches(SECRET, hashed)
    assert ctx_of.system.read_text(RULES).splitlines()[-1] == "jit_oncall ALL=(ALL) ALL"
    assert outcome.kind == "changed"
    assert SECRET not in outcome.message + str(machine.ran) + str(ctx_of.system.effects) + str(ctx_of.notes)
    settle(ctx_of)
    assert module.run(ctx_of).kind == "unchanged"
    publish({"name": "jit_oncall", "password": "another"}, hours=9)
    assert module.run(ctx_of).kind == "unchanged", "what is granted is not changed later"
    assert passwords.current_hash(ctx_of.system, "jit_oncall") == hashed


@pytest.mark.row("guest-operations", 71)
@pytest.mark.parametrize("event", ["goal-state", None])
def test_past_the_moment_the_account_goes(
    module: ModuleType, ctx_of: Context, machine: Accounts, publish: Any, talk: Any, event: str | None  # noqa: F811
) -> None:
    publish("jit_oncall")
    module.run(ctx_of)
    talk.clock.passed += 9 * 3600
    ctx_of.event = event
    assert module.run(ctx_of).message == "jit_oncall is out"
    assert machine.names() == ["root", "bob"]
    assert not ctx_of.system.exists(RULES)
    assert not ctx_of.system.exists("/home/jit_oncall")
    assert module.run(ctx_of).kind == "unchanged"


def test_who_is_listed_too_late_is_not_let_in(module: ModuleType, ctx_of: Context, machine: Accounts, publish: Any) -> None:
    publish("jit_oncall", hours=-1)
    assert module.run(ctx_of).kind == "unchanged"
    assert machine.ran == []


@pytest.mark.row("guest-operations", 72)
def test_who_is_not_listed_any_more_is_seen_out(
    module: ModuleType, ctx_of: Context, machine: Accounts, publish: Any, vm: Any, talk: Any  # noqa: F811
) -> None:
    publish("jit_one", "jit_two", "jit_three")
    module.run(ctx_of)
    publish("jit_two")
    module.run(ctx_of)
    assert machine.names() == ["root", "bob", "jit_two"]
    vm.publish(remote_users=None)
    talk.session.update()
    module.run(ctx_of)
    assert machine.names() == ["root", "bob"]
    ran = list(machine.ran)
    assert module.run(ctx_of).kind == "unchanged"
    assert machine.ran == ran


@pytest.mark.row("guest-operations", 73)
def test_a_password_that_cannot_be_opened_makes_no_account(
    module: ModuleType, ctx_of: Context, machine: Accounts, publish: Any
) -> None:
    publish("jit_oncall")
    ctx_of.system.path("/var/lib/waagent/TransportPrivate.pem").write_text("no key")
    with pytest.raises(UserError, match=r"the password of jit_oncall.*cannot be decrypted"):
        module.run(ctx_of)
    assert machine.ran == []


@pytest.mark.row("guest-operations", 73)
def test_a_password_that_cannot_be_set_takes_the_account_back(
    module: ModuleType, ctx_of: Context, machine: Accounts, publish: Any
) -> None:
    publish("jit_oncall")
    machine.broken = {"chpasswd"}
    with pytest.raises(UserError, match="cannot set the password of jit_oncall: chpasswd ended with status 1"):
        module.run(ctx_of)
    assert machine.names() == ["root", "bob"]
    assert not ctx_of.system.exists(RULES)
    machine.broken = set()
    ctx_of.event = None
    assert module.run(ctx_of).kind == "changed", "tried again when the period is over"


@pytest.mark.row("guest-operations", 74)
def test_one_bad_user_and_a_good_one(module: ModuleType, ctx_of: Context, machine: Accounts, publish: Any) -> None:
    publish({"name": "jit_never", "expiration": "2026-11-25"}, "x;reboot", "jit_good")
    with pytest.raises(UserError, match="the character ';' is not allowed") as told:
        module.run(ctx_of)
    assert "jit_good is in until" in told.value.message
    assert machine.names() == ["root", "bob", "jit_good"]
    assert ctx_of.notes == ["cannot let a user in: user jit_never expires at '2026-11-25', expected "
                            '"Wed, 25 Nov 2026 18:00:00 GMT"; the others are not affected']  # fmt: skip


@pytest.mark.parametrize("name", ["bob", "root"])
def test_an_account_that_is_not_the_platform_s_is_never_touched(
    module: ModuleType, ctx_of: Context, machine: Accounts, publish: Any, name: str
) -> None:
    publish(name)
    before = {path: ctx_of.system.read(path) for path in ("/etc/passwd", "/etc/shadow")}
    with pytest.raises(UserError, match=f"cannot let {name} in: an account of this name that is not the platform's"):
        module.run(ctx_of)
    publish()
    module.run(ctx_of)
    assert before == {path: ctx_of.system.read(path) for path in before}
    assert machine.ran == []
    assert not ctx_of.system.exists(RULES)


def test_an_account_that_was_cut_off_in_the_making_is_completed(
    module: ModuleType, ctx_of: Context, machine: Accounts, publish: Any
) -> None:
    publish("jit_oncall")
    machine.execute(("useradd", "-m", "-c", "JIT_Account", "jit_oncall"), None, 1, None)
    assert module.run(ctx_of).kind == "changed"
    assert passwords.matches(SECRET, passwords.current_hash(ctx_of.system, "jit_oncall") or "")
    assert "jit_oncall ALL=(ALL) ALL" in ctx_of.system.read_text(RULES)


def test_similar_names_keep_their_rules(module: ModuleType, ctx_of: Context, machine: Accounts, publish: Any) -> None:
    publish("jit", "jit2")
    module.run(ctx_of)
    publish("jit2")
    module.run(ctx_of)
    assert ctx_of.system.read_text(RULES).splitlines()[1:] == ["jit2 ALL=(ALL) ALL"]


@pytest.mark.row("field-demands", 71, 72)
def test_policy_lets_nobody_in_and_everybody_out(
    module: ModuleType, ctx_of: Context, declared: Any, machine: Accounts, publish: Any
) -> None:
    publish("jit_one")
    module.run(ctx_of)
    declared("Policy.DenyUserChanges=y")
    publish("jit_one", "jit_two")
    assert module.run(ctx_of).kind == "unchanged"
    assert ctx_of.notes == ["jit_two is not let in: Policy.DenyUserChanges=y"]
    assert machine.names() == ["root", "bob", "jit_one"]
    publish()
    module.run(ctx_of)
    assert machine.names() == ["root", "bob"]


def test_distributions_that_do_not_take_part(module: ModuleType, ctx_of: Context, declared: Any, publish: Any) -> None:
    publish("jit_one")
    declared(distro="photon")
    assert module.run(ctx_of).kind == "skipped"


@pytest.mark.parametrize(
    ("distro", "version", "takes_part"),
    [("ubuntu", "24.04", True), ("kali", "2024.1", True), ("devuan", "5", True), ("rhel", "9.4", True),
     ("euleros", "2.0", True), ("sles", "15.5", True), ("flatcar", "3815", True), ("clear-linux-os", "40000", True),
     ("azurelinux", "3.0", True), ("openwrt", "23.05", True), ("fedora", "40", False), ("unheard-of", "1", False)],
)  # fmt: skip
def test_who_takes_part(tmp_path: Any, distro: str, version: str, takes_part: bool) -> None:
    (tmp_path / "etc").mkdir()
    assert profile_of(tmp_path, distro, version).switch("remote-users.supported") is takes_part


def test_without_a_goal_state(module: ModuleType, ctx: Context) -> None:
    assert module.run(ctx).kind == "skipped"


def test_a_dry_run_makes_nobody(module: ModuleType, ctx_of: Context, machine: Accounts, publish: Any) -> None:
    from waagent.system import System

    publish("jit_one")
    ctx_of.system = System(ctx_of.system.root, execute=machine.execute, planning=True, clock=ctx_of.system.clock)
    assert module.run(ctx_of).kind == "changed"
    assert machine.ran == []
    assert machine.names() == ["root", "bob"]
