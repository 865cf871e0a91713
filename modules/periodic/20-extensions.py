"""Install, enable, update, disable and remove extensions, as the goal state asks.

When there is a goal state that has not been processed in this boot, or not since the agent was started. Each
command of a handler runs in a session and, with systemd, in a scope of its own, with a time limit; a handler that
fails fails alone, its status tells why. The step itself fails only when it cannot do its work at all.

Reads     LIB/goal-state.json, the policy files, Extensions.*, Policy.*, Extension.LogDir, EnableOverProvisioning
Changes   LIB/NAME-VERSION/, LIB/extensions/, Extension.LogDir/NAME/; manifests and policy in LIB/history/;
          /var/lib/waagent, a link where LIB is another; whatever the handlers themselves change
Skips     without a goal state, and while the one at hand is outdated
Events    extension-started before every command of a handler, extension-finished after it; both are waited for
"""

from __future__ import annotations

import os

from waagent.extensions import plan, policy, signature, start
from waagent.extensions.apply import Engine, is_processed
from waagent.extensions.journal import agent_start, boot_id, read_json
from waagent.extensions.layout import LOGS, Layout
from waagent.extensions.observe import observe
from waagent.extensions.source import FabricSource
from waagent.extensions.steps import Rules
from waagent.fabric import cache, history, session
from waagent.fabric import endpoint as endpoints
from waagent.fabric.desired import Desired
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged

MODULE = Module(
    summary="Do what the goal state asks of the extensions",
    frequency="always",
    on=("goal-state",),
    reads=(
        "Extensions.*", "Extension.LogDir", "Policy.PolicyFilePath", "Policy.Enabled", "Policy.DenyUserChanges",
        "EnableOverProvisioning", "CGroups.*", "HttpProxy.*", "OS.OpensslPath",
        "Debug.EnableSignatureValidation", "Telemetry.Enabled",
    ),
    limit=86400.0,
    imports=(
        "waagent.extensions.apply", "waagent.extensions.source", "waagent.extensions.signature",
        "waagent.extensions.start", "waagent.fabric.session", "requests", "threading",
    ),
)  # fmt: skip

CLOUD_INIT_MARK = "/run/waagent/cloud-init-awaited"


def run(ctx: Context) -> Outcome:
    state = cache.read(ctx.system, ctx.lib)
    if state is None or state.desired is None:
        return skipped("no goal state of the extensions is known yet")
    if state.outdated:
        return skipped("the goal state at hand is older than the one that is in force; only status is reported")
    desired = state.desired
    layout = Layout(ctx.lib, ctx.config.text("Extension.LogDir") or LOGS)
    if ctx.system.planning:
        return _foresee(ctx, desired, layout)
    again = str(ctx.event_data.get("again", ""))  # a handler's name: somebody asks for this one
    if is_processed(ctx.system, layout, desired.identity) and not again:
        return unchanged(f"{desired.identity} has been processed")
    only = again if is_processed(ctx.system, layout, desired.identity) else ""

    rules = _rules(ctx, endpoints.parse(state.endpoint).host)
    done = read_json(ctx.system, layout.processed)
    if (done.get("boot"), done.get("agent", "")) != (boot_id(ctx.system), agent_start(ctx.system)):
        for trouble in (*start.refresh(ctx.system, layout), *start.link_habitual(ctx.system, layout)):
            ctx.note(trouble)
    if rules.enabled and desired.handlers:
        _wait_for_cloud_init(ctx)
    engine = Engine(ctx.system, layout, _source(ctx, state, desired), rules, ctx.announce)
    honour_hold = ctx.config.switch("EnableOverProvisioning")
    summary = engine.process(desired, honour_hold=honour_hold, only=only)
    for note in summary.notes:
        ctx.note(note)
    for fate in summary.failed:
        ctx.note(f"{fate.label} {fate.result}: {fate.message.splitlines()[0]}")
    if summary.kind != "processed":
        return changed(f"{desired.identity} is {summary.kind}; nothing was done")
    failed = f", {len(summary.failed)} of them failed" if summary.failed else ""
    return changed(f"processed {desired.identity}: {len(summary.fates)} extensions{failed}")


def _foresee(ctx: Context, desired: Desired, layout: Layout) -> Outcome:
    """Note what would be done if everything went well, and what is refused."""
    rules = _rules(ctx, "")
    signed = rules.policy.requires_signature if rules.policy is not None else plan.not_signed
    for turn in plan.plan(desired, observe(ctx.system, layout), rules.refusals(desired), signed):
        if turn.refusal is not None:
            ctx.note(turn.refusal.message)
        for operation in turn.operations:
            ctx.note(f"would {operation}")
    return unchanged(f"would process {desired.identity}")


def _rules(ctx: Context, wire_address: str) -> Rules:
    """What the options say; an unusable policy file refuses every extension (it does not fail the step)."""
    config = ctx.config
    path = config.text("Policy.PolicyFilePath") or "/etc/waagent_policy.json"
    found, error = None, ""
    try:
        if config.switch("Policy.Enabled"):
            _keep_policy(ctx, path)
        found = policy.in_force(ctx.system, path if config.switch("Policy.Enabled") else None)
    except policy.PolicyInvalid as invalid:
        error = invalid.message
        ctx.note(error)
    return Rules(
        enabled=config.switch("Extensions.Enabled"),
        policy=found,
        policy_error=error,
        deny_user_changes=config.switch("Policy.DenyUserChanges"),
        wire_address=wire_address,
        check_signatures=config.switch("Debug.EnableSignatureValidation"),
        signature_roots=signature.roots(ctx.lib, config.text("Extensions.SignatureRoot")),
        openssl=config.text("OS.OpensslPath") or "openssl",
        parallel=config.integer("Extensions.Parallel"),
        package_wait=float(config.integer("Extensions.PackageManagerWait")),
        enforce_limits=config.switch("CGroups.Enabled") and config.switch("CGroups.EnforceLimits"),
        shims=config.switch("Extensions.PythonShims"),
        telemetry=config.switch("Telemetry.Enabled"),
        unlimited=tuple(filter(None, (config.text("CGroups.Excluded") or "").lower().replace(" ", "").split(","))),
    )


def _keep_policy(ctx: Context, path: str) -> None:
    """For support: what the policy said when this goal state was processed, be it usable or not."""
    try:
        history.add(ctx.system, ctx.lib, "waagent_policy.json", ctx.system.read(path, policy.SIZE_LIMIT), ctx.note)
    except OSError:  # there is none; that it cannot be read is told by what applies it
        return


def _source(ctx: Context, state: cache.FabricState, desired: Desired) -> FabricSource:
    talk = session.open_session(ctx.system, ctx.config, state.endpoint, ctx.lib, ctx.note)
    talk.plugin.goal = state.goal

    def keep(file: str, document: bytes) -> None:
        history.add(ctx.system, ctx.lib, file, document, ctx.note)

    return FabricSource(ctx.system, talk.artifacts, fast_track=desired.source == "fasttrack", keep=keep)


def _wait_for_cloud_init(ctx: Context) -> None:
    """Once in a boot, and however it ends: extensions may rely on what cloud-init sets up."""
    if not ctx.config.switch("Extensions.WaitForCloudInit") or ctx.system.exists(CLOUD_INIT_MARK):
        return
    limit = ctx.config.integer("Extensions.WaitForCloudInitTimeout")
    result = ctx.system.run("cloud-init", "status", "--wait", limit=float(limit), ok=None)
    if result.status != 0:
        ctx.note(
            f"cloud-init ended with status {result.status} after {result.seconds:.0f} s; going on all the same"
        )
    ctx.system.make_directory(os.path.dirname(CLOUD_INIT_MARK))
    ctx.system.write(CLOUD_INIT_MARK, "")
