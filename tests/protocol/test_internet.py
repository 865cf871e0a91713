"""The way to the internet: proxies with and without a password, TLS, limits, resumption, throttling (wire 7.1 to 7.5)."""

from __future__ import annotations

import io
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.protocol.servers import Proxy, Slow, Storage
from tests.protocol.talk import LIB, Talk
from tests.unit.fabric.samples import FakeClock
from waagent.errors import FabricRejected, FabricUnreachable
from waagent.fabric import blobs, imds, proxies, status
from waagent.fabric.artifacts import DIRECT, HOST, RESERVE
from waagent.fabric.internet import Internet
from waagent.simulator import Simulator
from waagent.system import deadline
from waagent.system.http import Http

USER, PASSWORD = "agent", "p@ss:w/rd#1%"
CONTENT = bytes(range(256)) * 4000  # 1,024,000 bytes


@pytest.fixture
def storage() -> Iterator[Storage]:
    with Storage(CONTENT, '"v1"') as storage:
        yield storage


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy(USER, PASSWORD) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def loopback_is_the_internet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers of these tests are on 127.0.0.1, which otherwise no proxy is asked for."""
    choose = proxies.choose

    def pretend(url: str, *arguments: Any) -> str | None:
        return choose(url.replace("127.0.0.1", "storage.example"), *arguments)

    monkeypatch.setattr(proxies, "choose", pretend)


# -- where nobody answers ---------------------------------------------------------------------------------------


@pytest.mark.wire("7.3/no-answer")
@pytest.mark.parametrize("through", [{}, {"host": "127.0.0.1", "port": 1}], ids=["directly", "through a proxy"])
def test_what_is_said_of_a_closed_port_is_for_people(through: dict[str, Any]) -> None:
    with pytest.raises(FabricUnreachable, match="Connection refused") as caught:
        Internet(FakeClock(), **through).request("GET", "http://127.0.0.1:1/package")
    assert "object at" not in caught.value.message and "HTTPConnection" not in caught.value.message
    assert caught.value.message.startswith("GET http://127.0.0.1:1/package: ")


@pytest.mark.wire("7.3/no-answer")
def test_what_is_said_of_a_time_that_is_over_is_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise socket.timeout("timed out")

    monkeypatch.setattr(socket.socket, "connect", never)
    with pytest.raises(FabricUnreachable) as caught:
        Internet(FakeClock(), environment={}).request("GET", "http://127.0.0.1:1/package")
    assert "object at" not in caught.value.message
    assert caught.value.message.startswith("GET http://127.0.0.1:1/package: Connection to 127.0.0.1 timed out")


# -- proxies ----------------------------------------------------------------------------------------------------


def ways(proxy: Proxy, scheme: str) -> list[Internet]:
    """The same proxy by configuration, by one URL in it, and by the environment."""
    from urllib.parse import quote

    place = f"127.0.0.1:{proxy.port}"
    encoded = f"http://{USER}:{quote(PASSWORD, safe='')}@{place}"
    return [
        Internet(FakeClock(), host=f"http://{USER}:{PASSWORD}@127.0.0.1", port=proxy.port, authorities=None),
        Internet(FakeClock(), host=encoded),
        Internet(FakeClock(), environment={f"{scheme}_proxy": encoded}),
        Internet(FakeClock(), environment={f"{scheme.upper()}_PROXY": f"{USER}:{PASSWORD}@{place}"}),
    ]


@pytest.mark.wire("7.2/configured", "7.2/environment")
@pytest.mark.parametrize("way", range(4))
def test_a_proxy_with_a_password_forwards_plain_requests(proxy: Proxy, storage: Storage, way: int) -> None:
    answer = ways(proxy, "http")[way].request("GET", storage.url)
    assert (answer.status, answer.body) == (200, CONTENT)
    assert proxy.seen == [f"GET {storage.url}"]
    assert "proxy-authorization" not in storage.asked[0]


@pytest.mark.wire("7.2/configured", "7.2/environment")
@pytest.mark.parametrize("way", range(4))
def test_a_proxy_with_a_password_tunnels_tls(proxy: Proxy, secure: tuple[Any, str], way: int) -> None:
    sim, authority = secure
    internet = ways(proxy, "https")[way]
    internet._authorities = authority
    url = sim.put_file("a.zip", b"over tls")
    assert internet.request("GET", url).body == b"over tls"
    assert proxy.seen == [f"CONNECT 127.0.0.1:{sim.blob_port}"]


@pytest.mark.wire("7.6/passwords")
def test_a_wrong_password_is_told_and_not_shown(proxy: Proxy, storage: Storage, secure: tuple[Any, str]) -> None:
    internet = Internet(FakeClock(), host=f"{USER}:wr0ng@127.0.0.1", port=proxy.port, authorities=secure[1])
    assert internet.request("GET", storage.url).status == 407
    with pytest.raises(FabricRejected, match=r"another user or password \(407\)") as raised:
        internet.request("GET", secure[0].put_file("b.zip", b"x"))
    assert "wr0ng" not in str(raised.value)
    assert proxy.refused == 2


@pytest.mark.wire("7.6/passwords")
def test_a_proxy_that_is_not_there(storage: Storage) -> None:
    with pytest.raises(FabricUnreachable) as raised:
        Internet(FakeClock(), host=f"{USER}:{PASSWORD}@127.0.0.1", port=1).request("GET", f"{storage.url}?sig=SECRET")
    assert PASSWORD not in str(raised.value)
    assert "SECRET" not in str(raised.value)


@pytest.mark.wire("7.2/no-proxy")
def test_no_proxy_for_what_no_proxy_names(proxy: Proxy, storage: Storage) -> None:
    environment = {"http_proxy": f"http://127.0.0.1:{proxy.port}", "no_proxy": "example"}
    assert Internet(FakeClock(), environment=environment).request("GET", storage.url).status == 200
    assert (proxy.seen, proxy.refused) == ([], 0)


@pytest.mark.wire("7.2/configured")
def test_a_configured_proxy_beats_the_environment(proxy: Proxy, storage: Storage) -> None:
    internet = Internet(
        FakeClock(), host=f"{USER}:{PASSWORD}@127.0.0.1", port=proxy.port, environment={"http_proxy": "http://x:1"}
    )
    assert internet.request("GET", storage.url).status == 200


@pytest.mark.wire("0.1/storage")
def test_uploads_go_through_the_proxy_too(proxy: Proxy, tmp_path: Path) -> None:
    with Simulator(imds_port=None) as sim:
        vm = sim.machine("vm01")
        url = vm.status_url(sim.blob_url)
        payload = status.document("2026-11-23T09:17:40Z", "3.0.0", ("vm", "debian", "12"))
        blobs.upload(ways(proxy, "http")[0], "2026-11-23T09:17:40Z", url, "BlockBlob", payload)
        assert vm.reports.status_count == 1
        assert proxy.seen[0].startswith("PUT http://127.0.0.1:")


@pytest.mark.wire("0.1/wire-server", "0.1/health-service", "0.1/host-plugin", "0.1/metadata", "5.5/proxy")
def test_the_fabric_never_meets_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows 170: with a proxy in every variable and in the configuration, no link-local request passes it."""
    with Proxy() as trap, Simulator() as sim:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{trap.port}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        vm = sim.machine("vm01")
        vm.publish(extensions=[{"name": "A.B", "version": "1.0"}])
        talk = Talk(tmp_path, sim, conf=f"HttpProxy.Host=127.0.0.1\nHttpProxy.Port={trap.port}\n")
        link = sim.put_file("x", b"1")
        sim.fault("*", service="blob", status=404)
        talk.wire.check_version()
        _, state = talk.session.update()
        talk.poll(talk.known())
        assert state.desired is not None
        talk.wire.report_ready(state.goal)
        talk.wire.host_observations(b'{"Api": "reporttargethealth", "Version": "1.0", "Source": "x", "Observations": []}')
        talk.plugin.upload_status(state.desired.status_blob, "BlockBlob", b"{}")
        talk.plugin.upload_log(b"PK\x05\x06" + bytes(18))
        assert talk.plugin.available() and talk.plugin.healthy()
        sim.clear_faults()
        assert talk.plugin.artifact(link, limit=100).body == b"1"
        imds.fetch_instance(talk.system, talk.http, service=f"127.0.0.1:{sim.imds_port}")
        fabric = [one for one in trap.seen if f":{sim.wire_port}/blob/" not in one]
        assert fabric == []
        assert not [one for one in sim.violations if one.rule == "proxy"]


@pytest.mark.wire("0.1/wire-server", "0.1/host-plugin", "0.1/metadata", "5.5/proxy")
def test_the_well_known_addresses_have_no_proxy_whatever_the_environment() -> None:
    environment = {"http_proxy": "http://p:1", "https_proxy": "http://p:1"}
    for url in ("http://168.63.129.16/x", "http://169.254.169.254/metadata", "https://168.63.129.16:32526/status"):
        assert proxies.choose(url, "proxy", 3128, environment) is None


# -- TLS --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str]]:
    """A simulator whose storage speaks TLS, and the certificate of who vouches for it."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-subj", "/CN=storage", "-days", "2"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    with Simulator(imds_port=None, blob_port=0, blob_tls=(str(certificate), str(key))) as sim:
        sim.machine("vm01")
        yield sim, str(certificate)


@pytest.mark.wire("7.1/tls")
def test_a_server_that_somebody_vouches_for(secure: tuple[Any, str]) -> None:
    sim, authority = secure
    assert Internet(FakeClock(), authorities=authority).request("GET", sim.put_file("c", b"c")).body == b"c"


@pytest.mark.wire("7.1/tls")
def test_a_server_that_nobody_vouches_for(secure: tuple[Any, str]) -> None:
    sim, _ = secure
    count = len(sim.requests)
    with pytest.raises(FabricUnreachable, match=r"(?i)certificate.verify.failed"):
        Internet(FakeClock()).request("GET", f"{sim.put_file('d', b'd')}?sig=SECRET")
    assert len(sim.requests) == count


@pytest.mark.wire("7.1/tls")
def test_a_certificate_for_another_name(secure: tuple[Any, str]) -> None:
    sim, authority = secure
    url = sim.put_file("e", b"e").replace("127.0.0.1", "localhost")
    with pytest.raises(FabricUnreachable, match=r"(?i)hostname|not match|mismatch"):
        Internet(FakeClock(), authorities=authority).request("GET", url)


# -- sizes, redirects, times ------------------------------------------------------------------------------------


@pytest.mark.wire("7.5/packages")
def test_an_announced_size_over_the_limit_is_not_read(storage: Storage) -> None:
    into = io.BytesIO()
    with pytest.raises(FabricRejected, match=r"over the limit of 1000 bytes \(1024000 bytes are announced\)"):
        Internet(FakeClock()).request("GET", storage.url, into=into, limit=1000)
    assert into.getvalue() == b""


@pytest.mark.wire("7.5/packages")
def test_an_answer_that_goes_on_is_cut_off(tmp_path: Path) -> None:
    with Simulator(imds_port=None) as sim:
        sim.machine("vm01")
        url = sim.put_file("x", b"x")
        sim.fault("*", service="blob", endless=True)
        with pytest.raises(FabricRejected, match="over the limit of 3000 bytes"):
            Internet(FakeClock()).request("GET", url, limit=3000)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pace is taken over moments instead of seconds."""
    monkeypatch.setattr(deadline, "SPAN", 0.05)
    monkeypatch.setattr(deadline, "GRANTED", 0.5)


@pytest.mark.wire("7.1/timeouts")
@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(("pace", "arrives"), [(100_000.0, True), (10**9, False), (0.0, False)])
@pytest.mark.parametrize("channel", [DIRECT, HOST])
def test_a_body_that_keeps_pace_is_waited_for(storage: Storage, channel: str, pace: float, arrives: bool) -> None:
    """A megabyte in a second and a half; half a second is the time that it has."""
    storage.steady = (20_000, 0.03)
    internet, http = Internet(FakeClock()), Http(FakeClock())
    ask = internet.request if channel == DIRECT else http.request
    if arrives:
        assert ask("GET", storage.url, timeout=0.5, pace=pace).body == CONTENT
    else:
        with pytest.raises(FabricUnreachable):
            ask("GET", storage.url, timeout=0.5, pace=pace)
    http.close()


@pytest.mark.row("extensions", 88)
@pytest.mark.wire("3.6/nowhere")
@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"trickle": 0.02}, "not complete in time, [0-9]{1,2} bytes so far"),
        ({"steady": (20_000, 0.03), "cuts": [900_000]}, "ended after 900000 of 1024000 bytes"),
    ],
    ids=["trickles", "breaks-off-later"],
)
def test_row_88_after_its_time_no_other_location_is_begun(
    tmp_path: Path, storage: Storage, how: dict[str, Any], told: str
) -> None:
    with Simulator(imds_port=None) as sim, Storage(CONTENT) as good:
        sim.machine("vm01")
        talk = Talk(tmp_path, sim)
        talk.artifacts._shuffle = lambda uris: None
        storage.tag = ""  # what has arrived cannot be continued
        vars(storage).update(how)
        with pytest.raises(FabricUnreachable, match=told):
            talk.artifacts.download([storage.url, good.url], f"{LIB}/x.zip", total=0.6)
        assert (len(storage.asked), good.asked) == (1, [])
        assert not sim.requests.select(path="/extensionArtifact")
        assert talk.files == []


@pytest.mark.row("extensions", 88)
@pytest.mark.wire("7.1/timeouts")
@pytest.mark.usefixtures("hasty")
def test_row_88_a_package_that_keeps_pace_is_waited_for(tmp_path: Path, storage: Storage) -> None:
    with Simulator(imds_port=None) as sim:
        sim.machine("vm01")
        talk = Talk(tmp_path, sim)
        storage.steady = (20_000, 0.03)
        talk.artifacts.download([storage.url], f"{LIB}/x.zip", total=0.5)
        assert talk.system.read(f"{LIB}/x.zip") == CONTENT
        assert len(storage.asked) == 1
        with pytest.raises(FabricUnreachable, match="not complete in time"):  # a document is small
            talk.artifacts.fetch([storage.url], total=0.5)


@pytest.mark.wire("7.1/timeouts")
def test_a_trickle_ends_at_the_deadline(storage: Storage) -> None:
    storage.trickle = 0.1
    began = time.monotonic()
    with pytest.raises(FabricUnreachable, match="not complete in time"):
        Internet(FakeClock()).request("GET", storage.url, timeout=0.5)
    assert time.monotonic() - began < 3


@pytest.mark.wire("7.1/timeouts")
@pytest.mark.parametrize("begin", [b"HTTP/1.1 200 ", b"HTTP/1.1 200 OK\r\nX-Header: ", b"HTTP/1.1 200 OK\r\n\r\n"])
@pytest.mark.parametrize("way", ["direct", "proxy", "tunnel"])
def test_what_comes_slowly_ends_at_the_deadline_wherever_it_is(begin: bytes, way: str) -> None:
    with Slow(begin) as slow:
        internet = Internet(FakeClock(), host="" if way == "direct" else f"http://127.0.0.1:{slow.port}")
        url = slow.url if way == "direct" else f"{'https' if way == 'tunnel' else 'http'}://storage.example/x"
        began = time.monotonic()
        with pytest.raises(FabricUnreachable):
            internet.request("GET", url, timeout=0.7)
        assert time.monotonic() - began < 3


@pytest.mark.wire("7.1/timeouts")
@pytest.mark.parametrize("length", [b"Content-Length: 4000\r\n", b"", b"Content-Encoding: gzip\r\n"])
def test_a_refusal_whose_body_comes_slowly_is_known_by_its_status(length: bytes) -> None:
    with Slow(b"HTTP/1.1 404 Not Found\r\n" + length + b"\r\nno such") as slow:
        began = time.monotonic()
        answer = Internet(FakeClock()).request("GET", slow.url, timeout=1)
        assert answer.status == 404
        assert length.startswith(b"Content-E") or answer.body.startswith(b"no suchxx")
        assert time.monotonic() - began < 3


@pytest.mark.wire("7.1/redirects")
@pytest.mark.parametrize("code", [301, 302, 307, 308])
def test_redirects_are_not_followed(code: int) -> None:
    with Simulator(imds_port=None) as sim, Storage(b"elsewhere") as elsewhere:
        sim.machine("vm01")
        url = sim.put_file("x", b"x")
        sim.fault("*", service="blob", status=code, headers={"Location": elsewhere.url})
        assert Internet(FakeClock()).request("GET", url).status == code
        assert elsewhere.asked == []


@pytest.mark.wire("7.5/packages")
def test_a_package_never_takes_the_last_of_the_disk(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    with Simulator(imds_port=None) as sim:
        sim.machine("vm01")
        talk = Talk(tmp_path, sim)
        real = os.statvfs(tmp_path)
        room = (RESERVE + 5000) // real.f_frsize + 1
        fields = [*real[:4], room, *real[5:]]
        monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(fields))
        talk.artifacts.plugin = None
        with pytest.raises(FabricRejected, match="over the limit of"):
            talk.artifacts.download([storage.url], f"{LIB}/x.zip")
        assert "fit on the disk" in talk.notes[0]
        assert talk.files == []


# -- resumption -------------------------------------------------------------------------------------------------


@pytest.mark.wire("7.5/resumption")
def test_a_download_goes_on_where_it_broke_off(storage: Storage) -> None:
    storage.cuts = [300_000, 300_000]
    into = io.BytesIO(b"left from before")
    answer = Internet(FakeClock()).request("GET", storage.url, into=into)
    assert (answer.status, into.getvalue()) == (200, CONTENT)
    begun = [sent.get("range") for sent in storage.asked]
    assert begun[0] is None
    assert [sent.get("if-range") for sent in storage.asked[1:]] == ['"v1"'] * 2
    assert 0 < int(begun[1][6:-1]) <= 300_000 < int(begun[2][6:-1]) <= 600_000  # type: ignore[index]


@pytest.mark.row("field-demands", 165)
@pytest.mark.wire("7.5/resumption")
def test_another_version_by_then_is_fetched_whole(storage: Storage) -> None:
    storage.cuts = [500_000]
    fresh = CONTENT[::-1] + b"longer"
    internet = Internet(FakeClock())
    into = Swap(storage, fresh)
    assert internet.request("GET", storage.url, into=into).status == 200
    assert into.getvalue() == fresh


class Swap(io.BytesIO):
    """Replaces what the storage has as soon as something of it was written."""

    def __init__(self, storage: Storage, fresh: bytes) -> None:
        super().__init__()
        self._storage, self._fresh = storage, fresh

    def write(self, piece: Any) -> int:
        self._storage.content, self._storage.tag = self._fresh, '"v2"'
        return super().write(piece)


@pytest.mark.wire("7.5/resumption")
def test_a_server_that_ignores_ranges_sends_the_whole_again(storage: Storage) -> None:
    storage.cuts, storage.ranges = [500_000], False
    assert Internet(FakeClock()).request("GET", storage.url).body == CONTENT
    assert len(storage.asked) == 2


@pytest.mark.wire("7.5/resumption")
def test_a_range_that_begins_elsewhere_is_not_taken(storage: Storage) -> None:
    storage.cuts, storage.lies = [500_000], True
    assert Internet(FakeClock()).request("GET", storage.url).body == CONTENT
    assert "range" not in storage.asked[-1]


@pytest.mark.wire("7.5/resumption")
def test_a_range_that_does_not_say_of_which_version_it_is_is_not_taken(storage: Storage) -> None:
    storage.cuts, storage.silent = [500_000], True
    assert Internet(FakeClock()).request("GET", storage.url).body == CONTENT
    assert ["range" in sent for sent in storage.asked] == [False, True, False]


@pytest.mark.wire("7.5/resumption")
@pytest.mark.parametrize("tag", ["", 'W/"weak"', "unquoted"])
def test_without_a_strong_etag_nothing_is_pieced_together(tag: str) -> None:
    with Storage(CONTENT, tag) as storage:
        storage.cuts = [500_000]
        with pytest.raises(FabricUnreachable):
            Internet(FakeClock()).request("GET", storage.url)
        assert len(storage.asked) == 1


@pytest.mark.wire("7.5/resumption")
def test_a_server_that_gives_nothing_more_ends_it(storage: Storage) -> None:
    storage.cuts = [500_000, 0, 500_000]
    with pytest.raises(FabricUnreachable):
        Internet(FakeClock()).request("GET", storage.url)
    assert len(storage.asked) == 2


@pytest.mark.row("field-demands", 165)
@pytest.mark.wire("7.5/resumption")
def test_a_package_is_resumed_on_the_way_to_disk(tmp_path: Path, storage: Storage) -> None:
    with Simulator(imds_port=None) as sim:
        sim.machine("vm01")
        talk = Talk(tmp_path, sim)
        storage.cuts = [400_000]
        talk.artifacts.download([storage.url], f"{LIB}/x.zip")
        assert talk.system.read(f"{LIB}/x.zip") == CONTENT
        assert not sim.requests.select(path="/extensionArtifact")


# -- throttling -------------------------------------------------------------------------------------------------


@pytest.mark.wire("7.3/retry-after")
@pytest.mark.parametrize(("asked", "waits"), [("7", 7.0), ("1", 2.0), ("86400", 30.0), ("soon", 2.0)])
def test_a_throttling_storage_is_given_the_time_it_asks_for(
    tmp_path: Path, storage: Storage, asked: str, waits: float
) -> None:
    with Simulator(imds_port=None) as sim:
        sim.machine("vm01")
        talk = Talk(tmp_path, sim)
        talk.artifacts.plugin = None
        storage.throttle = [asked]
        assert talk.artifacts.fetch([storage.url]).body == CONTENT
        assert talk.slept == [waits]


@pytest.mark.wire("7.3/retry-after", "7.3/throttled")
def test_a_throttling_wire_server_is_given_the_time_it_asks_for(tmp_path: Path) -> None:
    with Simulator(imds_port=None) as sim:
        sim.machine("vm01")
        talk = Talk(tmp_path, sim)
        sim.fault("/machine/?comp=goalstate", status=429, headers={"Retry-After": "9"}, count=1)
        sim.fault("/machine/?comp=goalstate", status=503, headers={"Retry-After": "Mon, 23 Nov 2026 09:20:20 GMT"}, count=1)
        talk.wire.goal_state()
        assert talk.slept == [9.0, 11.0]  # the clock began at 09:20:00


@pytest.mark.wire("7.3/retry-after")
def test_a_throttling_host_plugin_is_given_the_time_it_asks_for(tmp_path: Path) -> None:
    with Simulator(imds_port=None) as sim:
        sim.machine("vm01")
        talk = Talk(tmp_path, sim)
        url = sim.put_file("x", b"x")
        sim.fault("*", service="blob", status=404)
        sim.fault("/extensionArtifact", status=503, headers={"Retry-After": "12"}, count=1)
        assert talk.artifacts.fetch([url]).body == b"x"
        assert talk.slept == [12.0]
