"""The steps that guard the wire server, on a fake root: what they do, what they leave alone, what they say."""

from __future__ import annotations

import json
import sys

import pytest

from tests.modules.conftest import load_module, settle
from waagent.errors import FirewallError
from waagent.machine import firewall, firewall_boot, firewall_probe
from waagent.provisioning import wire_guard

WS = "168.63.129.16"
LIST = ("nft", "--json", "list", "table", "ip", "walinuxagent")
NFT, IPTABLES = "/var/lib/waagent/firewall.nft", "/var/lib/waagent/firewall.iptables"
PROBE = (
    sys.executable, "-I", "-S", "-c", firewall_probe._PROBE, WS, "80", str(firewall_probe.NOBODY),
    str(firewall_probe.PATIENCE),
)  # fmt: skip


def boot():
    return load_module("network/15-firewall.py")


def periodic():
    return load_module("periodic/55-firewall.py")


def table(*, complete: bool = True) -> str:
    def match(left, op, right):
        return {"match": {"left": left, "op": op, "right": right}}

    rule = [
        match({"payload": {"protocol": "ip", "field": "daddr"}}, "==", WS),
        match({"payload": {"protocol": "tcp", "field": "dport"}}, "!=", 53),
        match({"meta": {"key": "skuid"}}, "!=", 0),
        match({"ct": {"key": "state"}}, "in", ["invalid", "new"]),
        *([{"drop": None}] if complete else []),
    ]
    chain = {"name": "output", "hook": "output", "type": "filter"}
    return json.dumps({"nftables": [{"chain": chain}, {"rule": {"chain": "output", "expr": rule}}]})


@pytest.fixture
def nft(script, program):
    """A kernel with nft: there is no table of ours until it was set."""
    program("nft")
    script.on("nft", "list", "tables")
    script.on(*LIST, status=1)
    script.on("nft", "list", "table", "ip", "walinuxagent", stdout="table ip walinuxagent {\n}\n")
    script.on("nft", "-f", "-", effect=lambda: script.on(*LIST, stdout=table()))
    script.on(*PROBE)
    return script


def was_set(script) -> int:
    return script.ran.count(("nft", "-f", "-"))


@pytest.fixture
def on(declared):
    declared("OS.EnableFirewall=y")


@pytest.mark.row("field-demands", 38)
def test_it_is_off_unless_a_file_says_otherwise(ctx, nft):
    for step in (boot(), periodic()):
        assert step.run(ctx).message == "OS.EnableFirewall=n"
    assert nft.ran == [] and ctx.system.effects == []


@pytest.mark.row("field-demands", 42)
@pytest.mark.usefixtures("on")
def test_rules_are_set_and_kept_for_the_next_boot(ctx, nft):
    assert boot().run(ctx).kind == "changed"
    assert nft.inputs[nft.ran.index(("nft", "-f", "-"))] == firewall.nft_script(WS, 0).encode()
    assert ctx.system.read_text(NFT) == firewall.nft_script(WS, 0)
    assert ctx.system.status(NFT).st_mode & 0o777 == 0o600
    settle(ctx)
    assert boot().run(ctx).kind == "unchanged"
    assert was_set(nft) == 1 and ctx.system.effects == []


@pytest.mark.row("field-demands", 39)
@pytest.mark.usefixtures("on")
def test_where_nothing_can_filter_it_says_so_and_goes_on(ctx):
    outcome = boot().run(ctx)
    assert (outcome.kind, outcome.message) == ("skipped", "none of nft, iptables works on this system")
    assert f"every account of this machine can talk to {WS}" in ctx.notes[0]
    settle(ctx)
    assert periodic().run(ctx).kind == "skipped" and ctx.notes == []


@pytest.mark.parametrize("endpoint", ["127.0.0.1:8080:8081", "fabric.test"])
@pytest.mark.usefixtures("on")
def test_a_fabric_that_is_none_of_the_platforms_is_not_guarded(ctx, nft, endpoint):
    ctx.facts["fabric"] = {"endpoint": endpoint}
    assert boot().run(ctx).kind == periodic().run(ctx).kind == "skipped"
    assert was_set(nft) == 0


@pytest.mark.usefixtures("on")
def test_no_azure_vm_gets_no_rules(ctx, nft):
    ctx.facts["provisioning"]["by"] = "nobody"
    assert boot().run(ctx).kind == periodic().run(ctx).kind == "skipped"
    assert was_set(nft) == 0


@pytest.mark.row("guest-operations", 34)
@pytest.mark.usefixtures("on")
def test_rules_that_are_there_are_no_news(ctx, nft):
    boot().run(ctx)
    periodic().run(ctx)
    settle(ctx)
    assert periodic().run(ctx).kind == "unchanged"
    assert ctx.notes == [] and ctx.system.effects == []


@pytest.mark.row("guest-operations", 35)
@pytest.mark.parametrize(("there", "named"), [("", "all rules"), (table(complete=False), "the drop")])
@pytest.mark.usefixtures("on")
def test_missing_rules_are_set_again_and_said_once(ctx, nft, there, named):
    boot().run(ctx)
    periodic().run(ctx)
    for times in (1, 2):
        settle(ctx)
        nft.on(*LIST, status=0 if there else 1, stdout=there)
        assert periodic().run(ctx).kind == "changed"
        assert [named in note for note in ctx.notes] == ([True] if times == 1 else [])
        assert was_set(nft) == 1 + times


@pytest.mark.row("guest-operations", 36)
@pytest.mark.usefixtures("on")
def test_rules_that_are_removed_all_the_time_are_repaired_and_three_times_told(ctx, nft):
    boot().run(ctx)
    told = []
    for _ in range(6):
        nft.on(*LIST, status=1)
        told.append(periodic().run(ctx).kind)
    assert told == ["changed"] * 3 + ["unchanged"] * 3
    assert was_set(nft) == 7


@pytest.mark.row("field-demands", 43)
@pytest.mark.usefixtures("on")
def test_the_effect_is_tried_once_and_after_a_repair(ctx, nft):
    boot().run(ctx)
    for _ in range(3):
        periodic().run(ctx)
    assert nft.ran.count(PROBE) == 1
    nft.on(*LIST, status=1)
    periodic().run(ctx)
    assert nft.ran.count(PROBE) == 2


@pytest.mark.row("field-demands", 43)
@pytest.mark.usefixtures("on")
def test_rules_without_effect_are_an_error(ctx, nft):
    boot().run(ctx)
    nft.on(*PROBE, status=1)
    for _ in range(2):
        with pytest.raises(FirewallError, match="although the rules of nft are there"):
            periodic().run(ctx)
    nft.on(*PROBE, status=2)  # nobody answers: nothing is learned, and it is tried again
    assert periodic().run(ctx).kind == "unchanged"
    assert "works" not in wire_guard.remembered(ctx.system)


def test_the_rules_are_logged_once_in_their_period(ctx, nft, declared):
    declared("OS.EnableFirewall=y\nDebug.FirewallRulesLogPeriod=86400")
    periodic().run(ctx)
    assert "table ip walinuxagent {\n}" in ctx.notes
    settle(ctx)
    periodic().run(ctx)
    assert ctx.notes == []


# -- iptables, with and without firewalld -----------------------------------------------------


@pytest.fixture
def iptables(script, program, put, declared):
    """A kernel with iptables alone, all of whose rules are there."""
    program("iptables")
    declared("OS.EnableFirewall=y")
    script.on("iptables", "-t", "security", "-S", "OUTPUT")
    script.on("iptables", "--version", stdout="iptables v1.8.9 (legacy)\n")
    for rule in firewall.iptables_rules(WS, 0).values():
        script.on("iptables", "-w", "-t", "security", "-C", *rule)
    return script


@pytest.mark.row("guest-operations", 40)
def test_rules_of_iptables_are_kept_in_its_own_words(ctx, iptables):
    assert boot().run(ctx).kind == "changed"
    assert ctx.system.read_text(IPTABLES) == (
        "*security\n"
        f"-A OUTPUT -d {WS} -p tcp --destination-port 53 -j ACCEPT\n"
        f"-A OUTPUT -d {WS} -p tcp -m owner --uid-owner 0 -j ACCEPT\n"
        f"-A OUTPUT -d {WS} -p tcp -m conntrack --ctstate INVALID,NEW -j DROP\n"
        "COMMIT\n"
    )


@pytest.mark.row("guest-operations", 39)
def test_a_running_firewalld_keeps_the_rules_of_iptables_itself(ctx, iptables, program, put):
    put(IPTABLES, "of an earlier boot")
    program("firewall-cmd")
    iptables.on("firewall-cmd", "--state", stdout="running\n")
    base, rules = ("firewall-cmd", "--permanent", "--direct"), firewall.iptables_rules(WS, 0)
    old = ("ipv4", "-t", "security", "-I", *rules["accept DNS"])
    iptables.on(*base, "--query-passthrough", *old, status=1)
    for rule in rules.values():
        words = ("ipv4", "-t", "security", "-A", *rule)
        iptables.on(*base, "--query-passthrough", *words, status=1)
        iptables.on(
            *base, "--add-passthrough", *words,
            effect=lambda words=words: iptables.on(*base, "--query-passthrough", *words),
        )  # fmt: skip
    assert boot().run(ctx).kind == "changed"
    assert not ctx.system.exists(IPTABLES)
    assert boot().run(ctx).kind == "unchanged"


def test_another_tool_than_before_takes_over_what_is_kept(ctx, nft, declared, put):
    declared("OS.EnableFirewall=y")
    put(IPTABLES, "of a kernel without nft")
    boot().run(ctx)
    assert ctx.system.exists(NFT) and not ctx.system.exists(IPTABLES)
    assert firewall_boot.forget(ctx.system) and not firewall_boot.forget(ctx.system)


def test_a_system_without_units_keeps_nothing(ctx, nft, declared):
    declared("OS.EnableFirewall=y", "alpine", "3.20")
    boot().run(ctx)
    assert was_set(nft) == 1 and not ctx.system.exists(NFT)
