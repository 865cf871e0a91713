"""When the step of the extensions has nothing to do, and what it waits for."""

from __future__ import annotations

import pytest

from waagent.extensions.journal import read_json
from waagent.fabric import cache
from waagent.fabric.cache import FabricState
from waagent.fabric.desired import Desired, Handler
from waagent.fabric.goal_state import GoalState

MODULE = "periodic/20-extensions.py"
CLOUD_INIT = ("cloud-init", "status", "--wait")


@pytest.fixture
def goal_state(ctx):
    def write(*handlers: Handler, outdated: bool = False, **more) -> None:
        desired = Desired("fabric", "incarnation:1", "1", handlers=handlers, **more)
        state = FabricState("127.0.0.1:1:1", GoalState("1", "c", "i"), desired, outdated=outdated)
        cache.write(ctx.system, state, ctx.lib)

    return write


def test_without_a_goal_state_it_is_skipped(module, ctx):
    assert module.run(ctx).kind == "skipped"


def test_an_outdated_goal_state_is_left_alone(module, ctx, goal_state):
    goal_state(outdated=True)
    assert module.run(ctx).kind == "skipped"
    assert not ctx.system.exists(f"{ctx.lib}/extensions")


def test_an_empty_goal_state_is_processed_once(module, ctx, goal_state):
    goal_state()
    assert module.run(ctx).kind == "changed"
    assert read_json(ctx.system, f"{ctx.lib}/extensions/processed.json")["aggregate"]["status"] == "Success"
    assert module.run(ctx).kind == "unchanged"
    ctx.event_data = {"again": True}
    assert module.run(ctx).kind == "changed"


def test_each_start_of_the_agent_writes_the_environment_files_again(module, ctx, goal_state):
    """An upgrade is a start without a boot: handlers learn of what the newer agent offers (extensions 2.5)."""
    goal_state(Handler("Contoso.Bad", "1.0", invalid="so that the goal state leaves it as it is"))
    base = f"{ctx.lib}/Contoso.Bad-1.0"
    environment = f"{base}/HandlerEnvironment.json"
    ctx.system.make_directory(f"{base}/config")
    ctx.system.make_directory("/run/waagent")
    for path, text in ((f"{base}/HandlerManifest.json", "[]"), (f"{base}/config/HandlerState", "Enabled")):
        ctx.system.write(path, text)
    for start, written in (("1.0 7", True), ("1.0 7", False), ("2.0 8", True)):
        ctx.system.write("/run/waagent/agent-start", f"{start}\n")
        ctx.system.write(environment, "of an older agent")
        ctx.event_data = {"again": "Contoso.Bad"}
        module.run(ctx)
        assert (ctx.system.read_text(environment) != "of an older agent") is written, start


def test_on_hold_nothing_is_done_unless_it_is_switched_off(module, ctx, goal_state, declared):
    goal_state(on_hold=True)
    assert "held" in module.run(ctx).message
    other = declared(conf="EnableOverProvisioning=n\n")
    other.event_data = {"again": True}
    assert "processed" in module.run(other).message


def test_the_outcome_counts_failures_and_notes_why(module, ctx, goal_state):
    goal_state(Handler("Contoso.Bad", "1.0", invalid="it makes no sense"))
    assert module.run(ctx).message == "processed incarnation:1: 1 extensions, 1 of them failed"
    assert any("it makes no sense" in note for note in ctx.notes)


@pytest.mark.row("field-demands", 52)
@pytest.mark.row("extensions", 73)
def test_73_cloud_init_is_awaited_once_in_a_boot_and_whatever_it_says(module, declared, goal_state, script):
    goal_state(Handler("Contoso.Bad", "1.0", invalid="x"))
    ctx = declared(conf="Extensions.WaitForCloudInit=y\nExtensions.WaitForCloudInitTimeout=60\n")
    script.on(*CLOUD_INIT, status=1)
    module.run(ctx)
    ctx.event_data = {"again": True}
    module.run(ctx)
    assert script.ran == [CLOUD_INIT]
    assert any("cloud-init" in note for note in ctx.notes)


@pytest.mark.row("extensions", 73)
def test_73_a_cloud_init_that_does_not_end_is_left_after_the_time_that_is_set(module, declared, goal_state, script):
    goal_state(Handler("Contoso.Bad", "1.0", invalid="x"))
    ctx = declared(conf="Extensions.WaitForCloudInit=y\nExtensions.WaitForCloudInitTimeout=90\n")
    script.on(*CLOUD_INIT, status=124)  # killed at its limit
    assert module.run(ctx).message.startswith("processed")
    assert script.limits == [90.0]
    assert any("cloud-init ended with status 124" in note and "going on" in note for note in ctx.notes)
    ctx.event_data = {"again": True}
    module.run(ctx)
    assert script.ran == [CLOUD_INIT]


def test_a_policy_that_cannot_be_used_fails_every_extension_and_not_the_step(module, declared, goal_state):
    goal_state(Handler("Contoso.Bad", "1.0"))
    ctx = declared(conf="Policy.Enabled=y\n")
    ctx.system.write("/etc/waagent_policy.json", "nonsense")
    assert "1 of them failed" in module.run(ctx).message
    assert any("[InvalidPolicyError]" in note for note in ctx.notes)


@pytest.mark.row("extensions", 113)
def test_113_a_policy_counts_only_when_it_is_switched_on(module, declared):
    ctx = declared(conf="")
    ctx.system.write("/etc/waagent_policy.json", '{"policyVersion": "0.1.0"}')
    assert module._rules(ctx, "168.63.129.16").policy is None
    ctx = declared(conf="Debug.EnableExtensionPolicy=y\n")
    assert module._rules(ctx, "168.63.129.16").policy is not None


@pytest.mark.row("field-demands", 68)
def test_row_68_the_image_s_policy_counts_whatever_the_options_say(module, declared, goal_state):
    ctx = declared(conf="Policy.Enabled=n\n")
    goal_state(Handler("Contoso.Other", "1.0"))
    ctx.system.make_directory("/usr/lib/waagent")
    rules = '{"policyVersion": "0.1.0", "extensionPolicies": {"allowListedExtensionsOnly": true}}'
    ctx.system.write("/usr/lib/waagent/extension-policy.json", rules)
    assert module.run(ctx).message == "processed incarnation:1: 1 extensions, 1 of them failed"
    assert any("the allow list of /usr/lib/waagent/extension-policy.json" in note for note in ctx.notes)


@pytest.mark.row("field-demands", 66)
def test_a_dry_run_tells_what_is_refused(module, declared, goal_state):
    ctx = declared(conf="Policy.Enabled=y\n")
    goal_state(Handler("Contoso.Denied", "1.0"), Handler("Contoso.Other", "1.0"))
    rules = '{"policyVersion": "0.1.0", "extensionPolicies": {"deniedExtensions": ["Contoso.Denied"]}}'
    ctx.system.write("/etc/waagent_policy.json", rules)
    ctx.system.planning = True
    module.run(ctx)
    assert [note for note in ctx.notes if note.startswith("will not run Contoso.Denied: it is in the deny list")]
    assert "would install Contoso.Other 1.0" in ctx.notes
    assert "would install Contoso.Denied 1.0" not in ctx.notes
