"""Pure rules: asking again, choosing a source, proxies, manifests, hold, remote users, metadata."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone

import pytest

from tests.unit.fabric.samples import NOW, FakeClock, sample
from waagent.errors import FabricRejected, FabricUnreachable, GoalStateInvalid
from waagent.fabric import artifacts_profile, choice, imds, manifests, proxies, remote_access
from waagent.fabric.desired import Desired, Handler, Settings
from waagent.fabric.retry import COMMON, HEALTH, LONGEST, ONCE, TELEMETRY, asked_pause, persist, require
from waagent.system.http import Response

# -- retry.py ---------------------------------------------------------------------------------------------------


class Answers:
    """Gives one after the other; an exception is raised."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.made = 0

    def __call__(self) -> Response:
        self.made += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, int)
        return Response(answer, "Reason", {}, b"told https://a/?sig=SECRET")


@pytest.mark.wire("7.3/waits", "7.3/used-up")
def test_growing_waits_between_six_attempts() -> None:
    clock, answers = FakeClock(), Answers(500)
    with pytest.raises(FabricUnreachable, match="cannot ask: 500 Reason, 6 tries in 31 s") as raised:
        persist(clock, COMMON, answers, "ask")
    assert clock.slept == [2, 3, 5, 8, 13]
    assert raised.value.facts["status"] == 500


@pytest.mark.wire("7.3/again")
@pytest.mark.parametrize("status", [205, 206, 403, 429, 500, 501, 502, 503, 504, 507])
def test_statuses_that_are_asked_again(status: int) -> None:
    notes: list[str] = []
    assert persist(FakeClock(), COMMON, Answers(status, status, 200), "ask", notes.append).status == 200
    assert notes == [f"it took 3 tries to ask; before: {status} Reason"]


@pytest.mark.wire("7.3/200-201-202", "7.3/other-status", "7.3/410")
@pytest.mark.parametrize("status", [200, 201, 202, 204, 302, 304, 400, 404, 409, 410])
def test_statuses_that_are_answers(status: int) -> None:
    answers = Answers(status)
    assert persist(FakeClock(), COMMON, answers, "ask").status == status
    assert answers.made == 1


@pytest.mark.wire("7.3/throttled")
@pytest.mark.parametrize("status", [403, 429, 503])
def test_throttling_means_more_attempts_at_a_fixed_pace(status: int) -> None:
    clock, answers = FakeClock(), Answers(500, status, 500)
    with pytest.raises(FabricUnreachable, match="25 tries"):
        persist(clock, COMMON, answers, "ask")
    assert clock.slept == [2] + [1] * 23


@pytest.mark.wire("7.3/no-answer")
def test_no_answer_is_asked_again() -> None:
    answers = Answers(FabricUnreachable("refused"), 200)
    assert persist(FakeClock(), COMMON, answers, "ask").status == 200


@pytest.mark.wire("7.3/protocol-error")
def test_a_request_that_cannot_be_sent_is_not_repeated() -> None:
    answers = Answers(FabricRejected("unusable"))
    with pytest.raises(FabricRejected):
        persist(FakeClock(), COMMON, answers, "ask")
    assert answers.made == 1


@pytest.mark.wire("7.3/health-report")
def test_the_health_report_has_a_steady_pace_and_an_end() -> None:
    clock = FakeClock()
    with pytest.raises(FabricUnreachable):
        persist(clock, HEALTH, Answers(500), "report")
    assert set(clock.slept) == {10.0}
    assert clock.passed <= 300


@pytest.mark.wire("7.3/telemetry", "5.4/failure")
def test_telemetry_and_single_requests() -> None:
    clock, answers = FakeClock(), Answers(429)
    with pytest.raises(FabricUnreachable):
        persist(clock, TELEMETRY, answers, "send")
    assert clock.slept == [8.0, 8.0]
    answers = Answers(503)
    with pytest.raises(FabricUnreachable, match="one try"):
        persist(clock, ONCE, answers, "send")
    assert answers.made == 1


@pytest.mark.wire("7.4/bodies")
def test_a_refusal_names_the_url_without_its_signature() -> None:
    response = Response(404, "Not Found", {}, b"see https://b/?sig=SECRET")
    with pytest.raises(FabricRejected, match="cannot fetch it: 404 Not Found from https://a/") as raised:
        require(response, "fetch it", "https://a/?sig=SECRET")
    assert raised.value.facts["status"] == 404
    assert "SECRET" not in str(raised.value)


@pytest.mark.wire("7.3/retry-after")
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 12 ", 12.0),
        ("3600", LONGEST),
        ("9" * 400, LONGEST),
        ("Mon, 23 Nov 2026 09:20:05 GMT", 5.0),
        ("Mon, 23 Nov 2026 09:19:00 GMT", 0.0),
        ("Tue, 24 Nov 2026 09:20:00 GMT", LONGEST),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_what_a_retry_after_asks_for(value: str | None, seconds: float | None) -> None:
    assert asked_pause(value, NOW) == seconds


@pytest.mark.wire("7.3/retry-after")
def test_a_retry_after_never_shortens_a_wait_nor_counts_without_throttling() -> None:
    def answer(status: int, after: str) -> Response:
        return Response(status, "", {"retry-after": after}, b"")

    clock = FakeClock()
    queue = [answer(429, "5"), answer(503, "0"), answer(500, "20"), answer(200, "9")]
    assert persist(clock, COMMON, lambda: queue.pop(0), "ask").status == 200
    assert clock.slept == [5.0, 1.0, 1.0]


# -- choice.py --------------------------------------------------------------------------------------------------

OLD, NEW = "2026-11-23T09:00:00.0000000Z", "2026-11-23T09:00:00.0000001Z"


def fabric(created: str = "") -> Desired:
    return Desired("fabric", "incarnation:1", created=created)


def fast(created: str = "") -> Desired:
    return Desired("fasttrack", "etag:1", created=created)


@pytest.mark.wire("2.2/choice")
@pytest.mark.parametrize(
    ("in_use", "wire", "track", "wire_changed", "track_changed", "chosen"),
    [
        (None, fabric(OLD), fast(NEW), True, True, "fasttrack"),
        (None, fabric(NEW), fast(OLD), True, True, "fabric"),
        (None, fabric(OLD), fast(OLD), True, True, "fabric"),
        (None, fabric(), None, True, False, "fabric"),
        (fast(NEW), fabric(OLD), fast(NEW), True, False, "fasttrack"),  # a certificate was renewed
        (fabric(OLD), fabric(OLD), fast(NEW), False, True, "fasttrack"),
        (fabric(NEW), fabric(NEW), fast(OLD), False, True, "fabric"),  # never back in time
        (fast(NEW), fabric(OLD), None, True, False, "fasttrack"),
        (fabric(OLD), fabric(NEW), fast(NEW), False, False, "fabric"),
        (fabric(NEW), fabric(), None, True, False, "fabric"),
    ],
)
def test_which_source_counts(
    in_use: Desired | None, wire: Desired, track: Desired | None, wire_changed: bool, track_changed: bool, chosen: str
) -> None:
    found = choice.choose(in_use, wire, track, wire_changed=wire_changed, vm_settings_changed=track_changed)
    assert found is not None
    assert found.source == chosen
    if in_use is not None and not wire_changed and not track_changed:
        assert found is in_use


@pytest.mark.wire("2.2/choice")
def test_nothing_known_is_nothing_chosen() -> None:
    assert choice.choose(None, None, None, wire_changed=True, vm_settings_changed=False) is None


@pytest.mark.wire("2.3/outdated")
def test_outdated_is_what_came_before_the_last_fast_track_goal_state() -> None:
    assert choice.is_outdated(fabric(OLD), NEW)
    assert not choice.is_outdated(fabric(NEW), OLD)
    assert not choice.is_outdated(fabric(OLD), "")
    assert not choice.is_outdated(None, NEW)


@pytest.mark.wire("2.4/missing")
def test_missing_certificates() -> None:
    settings = [
        Settings("a", 0, protected="x", thumbprint="aa"),
        Settings("b", 0, protected="x", thumbprint="BB"),
        Settings("c", 0, thumbprint="CC"),
        Settings("d", 0, protected="x", thumbprint="bb"),
    ]
    desired = replace(fast(), handlers=tuple(Handler("X", "1", settings=(one,)) for one in settings))
    assert choice.missing(desired, ["AA"]) == ["BB"]


# -- proxies.py -------------------------------------------------------------------------------------------------


@pytest.mark.wire("7.2/configured", "7.2/environment", "7.2/no-proxy")
@pytest.mark.parametrize(
    ("url", "host", "port", "environment", "proxy"),
    [
        ("https://a.net/", None, None, {}, None),
        ("https://a.net/", "proxy", 3128, {}, "http://proxy:3128"),
        ("https://a.net/", "proxy", None, {"https_proxy": "http://other:1"}, None),
        ("https://a.net/", "http://u:p@proxy:8080", 3128, {}, "http://u:p@proxy:8080"),
        ("https://a.net/", "u:p@proxy", 3128, {}, "http://u:p@proxy:3128"),
        ("https://a.net/", None, None, {"https_proxy": "http://low:1", "HTTPS_PROXY": "http://up:1"}, "http://low:1"),
        ("https://a.net/", None, None, {"HTTPS_PROXY": "http://up:1"}, "http://up:1"),
        ("https://a.net/", None, None, {"http_proxy": "http://plain:1"}, None),
        ("http://a.net/", None, None, {"http_proxy": "http://plain:1"}, "http://plain:1"),
        ("https://a.net/", None, None, {"https_proxy": "http://noport"}, None),
        ("https://a.net/", "proxy", 1, {"no_proxy": "b.net, a.net"}, None),
        ("https://x.a.net/", "proxy", 1, {"no_proxy": "a.net"}, None),
        ("https://xa.net/", "proxy", 1, {"no_proxy": "a.net"}, "http://proxy:1"),
        ("https://x.a.net/", "proxy", 1, {"NO_PROXY": ".A.NET"}, None),
        ("https://10.1.2.3/", "proxy", 1, {"no_proxy": "10.0.0.0/8"}, None),
        ("https://10.1.2.3/", "proxy", 1, {"no_proxy": "11.0.0.0/8,x"}, "http://proxy:1"),
        ("https://a.net/", "proxy", 1, {"no_proxy": "*"}, None),
        ("http://168.63.129.16/", "proxy", 1, {}, None),
        ("http://169.254.169.254/", "proxy", 1, {"http_proxy": "http://x:1"}, None),
        ("https://a.net/", "proxy:port", 1, {}, None),
        ("https://a.net/", "http://u:p#w/@d@proxy", 3128, {}, "http://u:p%23w%2F%40d@proxy:3128"),
        ("https://a.net/", "http://u:p%23w@proxy", 3128, {}, "http://u:p%23w@proxy:3128"),
        ("https://a.net/", "u:50%@proxy", 3128, {}, "http://u:50%25@proxy:3128"),
        ("https://a.net/", "http://u@proxy:1/", None, {}, "http://u@proxy:1"),
        ("https://a.net/", "http://[fd00::1]:3128", None, {}, "http://[fd00::1]:3128"),
        ("https://a.net/", "pro xy", 1, {}, None),
        ("https://a.net/", "proxy", 1, {"no_proxy": "a.net:443"}, None),
        ("https://[bad/", "proxy", 1, {}, None),
    ],
)
def test_which_proxy(
    url: str, host: str | None, port: int | None, environment: dict[str, str], proxy: str | None
) -> None:
    assert proxies.choose(url, host, port, environment) == proxy


# -- manifests.py -----------------------------------------------------------------------------------------------


@pytest.mark.wire("6.1/document")
def test_the_sample_manifest() -> None:
    releases = manifests.parse(sample("manifest.xml"))
    assert [one.version for one in releases] == ["1.9.0", "1.9.1", "1.10.0"]
    assert [one.internal for one in releases] == [False, False, True]
    assert releases[1].disallow_major_upgrade
    assert len(releases[1].uris) == 2


def manifest(inner: str, section: str = "Plugins") -> str:
    entry = f"<Plugin><Version>1.2</Version>{inner}</Plugin>" if "<Version>" not in inner else f"<Plugin>{inner}</Plugin>"
    return f"<PluginVersionManifest><{section}>{entry}</{section}></PluginVersionManifest>"


RELEASE = manifests.Release("1.2", (1, 2))
RELEASES: dict[str, list[tuple[str, list[manifests.Release]]]] = {
    "6.1/Plugins": [(manifest(""), [RELEASE]), ("<PluginVersionManifest/>", [])],
    "6.1/InternalPlugins": [(manifest("", "InternalPlugins"), [RELEASE._replace(internal=True)])],
    "6.1/Version": [
        (manifest("<Version>1.10.0.3</Version>"), [manifests.Release("1.10.0.3", (1, 10, 0, 3))]),
        *((manifest(f"<Version>{text}</Version>"), []) for text in ("1.2.3.4.5", "1.x", "1..2", "-1.0", "v1.0")),
    ],
    "6.1/Uris": [
        (manifest("<Uris><Uri> a </Uri><Uri/><Uri>b</Uri></Uris>"), [RELEASE._replace(uris=("a", "b"))]),
        (manifest("<Uris/>"), [RELEASE]),
    ],
    "6.1/DisallowMajorVersionUpgrade": [
        (
            manifest(f"<DisallowMajorVersionUpgrade>{text}</DisallowMajorVersionUpgrade>"),
            [RELEASE._replace(disallow_major_upgrade=kept)],
        )
        for text, kept in (("true", True), ("TRUE", True), ("false", False), ("", False), ("1", False))
    ],
}


@pytest.mark.parametrize("row", RELEASES)
def test_elements_of_a_manifest(row: str) -> None:
    for text, expected in RELEASES[row]:
        assert list(manifests.parse(text)) == expected, text


@pytest.mark.wire("6.3/match")
@pytest.mark.parametrize(
    ("wanted", "found"),
    [("1.9.1", "1.9.1.5"), ("1.9", "1.9.7"), ("1", "1.10.0"), ("1.9.2", None), ("1.9.1.5.0", None), ("x", None), ("2", None)],
)
def test_the_highest_release_that_matches(wanted: str, found: str | None) -> None:
    releases = [
        manifests.Release(version, manifests.version_key(version) or ())
        for version in ("1.9.1", "1.9.1.5", "1.9.7", "1.10.0", "1.9.0")
    ]
    chosen = manifests.choose(releases, wanted)
    assert (chosen.version if chosen else None) == found


@pytest.mark.wire("6.1/Version")
def test_entries_without_a_version_are_passed_over() -> None:
    plugins = "<Plugin/><Plugin><Version>a.b</Version></Plugin><Plugin><Version>1</Version></Plugin>"
    releases = manifests.parse(f"<PluginVersionManifest><Plugins>{plugins}</Plugins></PluginVersionManifest>")
    assert [one.version for one in releases] == ["1"]
    with pytest.raises(GoalStateInvalid):
        manifests.parse("<Plugins/>")


# -- artifacts_profile.py, remote_access.py ---------------------------------------------------------------------


@pytest.mark.wire("2.7/onHold")
@pytest.mark.parametrize(
    ("content", "held"),
    [
        (b'{"onHold": true}', True),
        (b'{"onHold": "True"}  \r\n\0\0', True),
        (b'\xef\xbb\xbf{"ONHOLD": true}', True),
        (b'{"onHold": false}', False),
        (b'{"onHold": "no"}', False),
        (b'{"onHold": 1}', False),
        (b"{}", False),
        (b"[]", False),
        (b"", False),
        (b"{", False),
        (b"[" * 100_000, False),
        (sample("artifacts_profile.json"), False),
    ],
)
def test_on_hold(content: bytes, held: bool) -> None:
    assert artifacts_profile.on_hold(content) is held


@pytest.mark.wire("2.8/document")
def test_remote_users() -> None:
    (user,) = remote_access.parse(sample("remote_access.xml"))
    assert (user.name, user.invalid) == ("jit_oncall", "")
    assert user.expires == datetime(2026, 11, 25, 18, tzinfo=timezone.utc)


@pytest.mark.wire("2.8/document")
@pytest.mark.parametrize(
    ("inner", "message"),
    [
        ("<Password>x</Password><Expiration>Wed, 25 Nov 2026 18:00:00 UTC</Expiration>", "no name"),
        ("<Name>a</Name><Expiration>Wed, 25 Nov 2026 18:00:00 GMT</Expiration>", "no password"),
        ("<Name>a</Name><Password>x</Password><Expiration>2026-11-25</Expiration>", "2026-11-25"),
        ("<Name>a</Name><Password>x</Password>", "expires at"),
        ("<Name>a</Name><Password>x</Password><Expiration>Wed, 99 Nov 2026 18:00:00 GMT</Expiration>", "expires at"),
        ("<Name>a</Name><Password>x</Password><Expiration>Wed, 25 Foo 2026 18:00:00 GMT</Expiration>", "expires at"),
    ],
)
def test_a_wrong_user_stays_alone(inner: str, message: str) -> None:
    good = "<User><Name>b</Name><Password>x</Password><Expiration>Wed, 25 Nov 2026 18:00:00 GMT</Expiration></User>"
    wrong, other = remote_access.parse(f"<RemoteAccess><Users><User>{inner}</User>{good}</Users></RemoteAccess>")
    assert message in wrong.invalid
    assert other.invalid == ""


# -- imds.py ----------------------------------------------------------------------------------------------------


@pytest.mark.wire("5.5/facts", "10/imds")
def test_the_facts_of_the_metadata() -> None:
    metadata = imds.parse(sample("imds_instance.json"))
    metadata["compute"].update(
        userData="c2VjcmV0",
        osProfile={"adminUsername": "ann", "computerName": "vm", "disablePasswordAuthentication": "true"},
        publicKeys=[{"keyData": "ssh-rsa AAA\r\nBBB\r\n", "path": "/p"}, {"path": "/q"}, 5],
    )
    metadata["extended"] = {"compute": {"ppsType": "None"}}
    public, secret = imds.facts(metadata)
    assert (public["vmSize"], public["location"]) == ("Standard_Sim2s", "simregion1")
    assert (public["user_name"], public["disable_password"], public["pps_type"]) == ("ann", True, "None")
    assert public["public_keys"] == [{"path": "/p", "value": "ssh-rsa AAABBB"}]
    assert public["interfaces"] == [{"mac": "00224805A1B2", "ipv4": ["10.20.0.4"], "ipv6": []}]
    assert secret == {"user_data": "c2VjcmV0"}
    assert "c2VjcmV0" not in json.dumps(public)


@pytest.mark.wire("5.5/facts")
@pytest.mark.parametrize("odd", [{}, {"compute": 5, "network": []}, {"network": {"interface": [5, {"ipv4": "x"}]}}])
def test_odd_metadata_has_facts_all_the_same(odd: dict[str, object]) -> None:
    public, secret = imds.facts(odd)
    assert (public["user_name"], secret) == ("", {})
    assert imds.is_valid(odd) != ""


@pytest.mark.wire("5.5/valid")
def test_what_makes_metadata_valid() -> None:
    metadata = imds.parse(sample("imds_instance.json"))
    assert imds.is_valid(metadata) == ""
    del metadata["network"]["interface"][0]["macAddress"]
    assert imds.is_valid(metadata) == "network.interface[0].macAddress"


@pytest.mark.wire("5.5/valid")
@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 100_000])
def test_metadata_that_is_none_is_refused(content: bytes) -> None:
    with pytest.raises(GoalStateInvalid):
        imds.parse(content)
