"""Whatever arrives, a parser answers with a value or with its typed error; and the watcher's files stay lean."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.fabric.samples import NOW, sample
from waagent.errors import FabricError, GoalStateInvalid
from waagent.fabric import (
    artifacts_profile,
    certificates,
    choice,
    endpoint,
    extensions_config,
    goal_state,
    health,
    hosting,
    imds,
    leases,
    manifests,
    poll,
    proxies,
    remote_access,
    status,
    vm_settings,
)
from waagent.fabric.desired import AgentFamily, Desired, Handler, Settings
from waagent.fabric.ticks import from_ticks
from waagent.system.redact import redact, redact_text

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")
given, settings = hypothesis.given, hypothesis.settings

PARSERS: dict[str, tuple[str, Callable[[bytes], object]]] = {
    "goal state": ("goal_state.xml", goal_state.parse),
    "extensions": ("extensions_config.xml", lambda content: extensions_config.parse(content, "1")),
    "vmSettings": ("vm_settings.json", lambda content: vm_settings.parse(content, "1")),
    "certificates": ("certificates.xml", certificates.parse),
    "remote access": ("remote_access.xml", remote_access.parse),
    "hosting": ("hosting_environment.xml", hosting.parse),
    "manifest": ("manifest.xml", manifests.parse),
    "metadata": ("imds_instance.json", lambda content: imds.facts(imds.parse(content))),
    "profile": ("artifacts_profile.json", artifacts_profile.on_hold),
}

QUICK = settings(max_examples=60, deadline=None)


@pytest.mark.parametrize("name", PARSERS)
@QUICK
@given(noise=st.binary(max_size=400))
def test_noise(name: str, noise: bytes) -> None:
    try:
        PARSERS[name][1](noise)
    except GoalStateInvalid:
        pass


@pytest.mark.wire("7.5/documents")
@pytest.mark.parametrize("name", PARSERS)
@QUICK
@given(data=st.data())
def test_samples_that_were_damaged(name: str, data: hypothesis.strategies.DataObject) -> None:
    """Cuts, doubled stretches and foreign bytes: what truncation, resets and bad memory make of a document."""
    document, parse = sample(PARSERS[name][0]), PARSERS[name][1]
    begin = data.draw(st.integers(0, len(document)))
    end = data.draw(st.integers(begin, min(len(document), begin + 200)))
    middle = data.draw(st.one_of(st.binary(max_size=20), st.just(document[begin:end] * 2), st.just(b"\xef\xbb\xbf")))
    try:
        parse(document[:begin] + middle + document[end:])
    except GoalStateInvalid:
        pass


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.wire("3.4/document")
@QUICK
@given(data=st.data())
def test_vm_settings_with_a_value_of_any_type_anywhere(data: hypothesis.strategies.DataObject) -> None:
    document = json.loads(sample("vm_settings.json"))
    node, key = document, data.draw(st.sampled_from(sorted(document)))
    while data.draw(st.booleans()) and isinstance(node[key], (dict, list)) and node[key]:
        node = node[key]
        key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
    node[key] = data.draw(json_values)
    try:
        parsed = vm_settings.parse(json.dumps(document), "1")
    except GoalStateInvalid:
        return
    kept = json.loads(json.dumps(parsed.desired.to_json()))
    assert json.dumps(Desired.from_json(kept).to_json()) == json.dumps(kept)


@QUICK
@given(st.text(max_size=300), st.binary(max_size=400))
def test_small_parsers_take_anything(text: str, content: bytes) -> None:
    leases.parse(content, NOW)
    leases.parse(b"lease { option unknown-245 " + content + b"; expire never; }", NOW)
    leases.parse(b"\0" * 236 + leases.COOKIE + content, NOW)
    poll.known_of(text)
    poll._element(content, b"Incarnation")
    proxies.choose(text, None, None, {"http_proxy": text, "no_proxy": text})
    proxies.choose("http://a.net/", text, 80, {"no_proxy": text})
    from_ticks(text)
    manifests.version_key(text)
    health.not_ready(text, text, text, text, text)
    status.document(text, text, (text, text, text), message=text)
    redact(text)
    redact_text(text)
    try:
        endpoint.parse(text)
    except FabricError:
        pass


@pytest.mark.wire("7.6/signatures")
@QUICK
@given(st.text(alphabet=st.characters(blacklist_categories=("Cs",)), max_size=60))
def test_no_text_leaks_a_signature(text: str) -> None:
    for url in (f"https://a.net/b?sig=SeCrEt{text}", f"https://a.net/b?sv=1&sig=SeCrEt&x={text}"):
        assert "SeCrEt" not in redact(url)
        assert "SeCrEt" not in redact_text(f"before {url}")


names = st.text(alphabet="AbC.1", min_size=1, max_size=6)
texts = st.text(alphabet=st.characters(blacklist_categories=("Cs", "Cc")), max_size=12)
some_settings = st.builds(
    Settings,
    name=names,
    sequence=st.integers(0, 10**6),
    state=st.sampled_from(["enabled", "disabled"]),
    public=st.one_of(st.none(), st.dictionaries(texts, st.one_of(texts, st.integers(), st.none()), max_size=3)),
    protected=st.one_of(st.none(), texts),
    thumbprint=st.one_of(st.none(), st.sampled_from(["AA", "bb"])),
    level=st.integers(-5, 5),
    depends_on=st.lists(names, max_size=2).map(tuple),
)
some_handlers = st.builds(
    Handler,
    name=names,
    version=names,
    state=st.sampled_from(["enabled", "disabled", "uninstall"]),
    manifest_uris=st.lists(texts, max_size=2).map(tuple),
    settings=st.lists(some_settings, max_size=3).map(tuple),
    multi_config=st.booleans(),
)
some_desired = st.builds(
    Desired,
    source=st.sampled_from(["fabric", "fasttrack"]),
    identity=texts,
    created=st.integers(1, 3 * 10**18).map(from_ticks),
    handlers=st.lists(some_handlers, max_size=3).map(tuple),
    families=st.lists(st.builds(AgentFamily, name=names, version=st.one_of(st.none(), names)), max_size=2).map(tuple),
    on_hold=st.booleans(),
)


@QUICK
@given(some_desired)
def test_the_model_round_trips_through_json(desired: Desired) -> None:
    assert Desired.from_json(json.loads(json.dumps(desired.to_json()))) == desired


@QUICK
@given(st.one_of(st.none(), some_desired), some_desired, some_desired, st.booleans(), st.booleans())
def test_no_choice_goes_back_in_time(
    in_use: Desired | None, fabric: Desired, fast_track: Desired, wire_changed: bool, vm_settings_changed: bool
) -> None:
    chosen = choice.choose(
        in_use, fabric, fast_track, wire_changed=wire_changed, vm_settings_changed=vm_settings_changed
    )
    assert in_use is None or (chosen is not None and chosen.created >= in_use.created)


@QUICK
@given(st.integers(1, 3 * 10**18), st.integers(1, 3 * 10**18))
def test_times_compare_as_their_ticks_do(one: int, other: int) -> None:
    assert (from_ticks(one) < from_ticks(other)) == (one < other)


def test_the_watcher_s_files_import_nothing_heavy() -> None:
    heavy = "dataclasses pathlib subprocess http.client urllib.request urllib.parse logging email ssl typing argparse"
    code = (
        "import sys, waagent.fabric.poll, waagent.fabric.status, waagent.fabric.endpoint;"
        "print(*(m for m in sys.argv[1:] if m in sys.modules))"
    )
    found = subprocess.run(
        [sys.executable, "-S", "-c", code, *heavy.split()],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == []


def test_samples_are_what_the_parsers_take() -> None:
    for name, parse in PARSERS.values():
        parse(io.BytesIO(sample(name)).read())
