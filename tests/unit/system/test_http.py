"""The lean client against a peer that says exactly what a test wants, byte for byte."""

from __future__ import annotations

import gc
import io
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from waagent.errors import FabricRejected, FabricUnreachable
from waagent.system.http import Http, split
from waagent.system.redact import redact, redact_text


class Peer:
    """A server on loopback: the nth answer (on whatever connection) is answers[n].

    An answer is bytes to send; b"" closes without one; a callable gets the connection. `closing` ends the
    connection after each answer. requests holds what was read; connections counts them.
    """

    def __init__(self) -> None:
        self.answers: list[object] = []
        self.requests: list[bytes] = []
        self.connections = 0
        self.closing = False
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, target: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{target}"

    def close(self) -> None:
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            while True:
                request = self._request(connection)
                if not request:
                    return
                self.requests.append(request)
                answer = self.answers.pop(0) if self.answers else b""
                if answer == b"":
                    return
                if callable(answer):
                    answer(connection)
                    return
                assert isinstance(answer, bytes)
                connection.sendall(answer)
                if self.closing:
                    return

    def _request(self, connection: socket.socket) -> bytes:
        got = b""
        while b"\r\n\r\n" not in got:
            piece = connection.recv(65536)
            if not piece:
                return b""
            got += piece
        head, _, body = got.partition(b"\r\n\r\n")
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                while len(body) < int(line.split(b":")[1]):
                    body += connection.recv(65536)
        return head + b"\r\n\r\n" + body


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


def test_a_get_with_a_counted_body(peer: Peer) -> None:
    peer.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: 12\r\nX-A: 1\r\nX-A: 2\r\n\r\nhello"]
    response = Http().request("GET", peer.url("/machine/?comp=goalstate"), [("x-ms-version", "2012-11-30")])
    assert (response.status, response.reason, response.body, response.good) == (200, "OK", b"hello", True)
    assert response.headers["etag"] == "12"
    assert response.headers["x-a"] == "1, 2"
    request = peer.requests[0].decode()
    assert request.startswith(f"GET /machine/?comp=goalstate HTTP/1.1\r\nHost: 127.0.0.1:{peer.port}\r\n")
    assert "x-ms-version: 2012-11-30\r\n" in request
    assert "User-Agent: waagent/" in request
    assert "ontent-Length" not in request


@pytest.mark.wire("4.1/headers")
def test_a_put_sends_head_and_body_with_the_length_in_bytes(peer: Peer) -> None:
    peer.answers = [b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"]
    assert Http().request("PUT", peer.url(), body="ä".encode()).status == 201
    assert peer.requests[0].endswith(b"Content-Length: 2\r\n\r\n\xc3\xa4")


@pytest.mark.wire("2.1/verbatim")
def test_the_path_is_sent_as_written(peer: Peer) -> None:
    peer.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]
    Http().request("GET", peer.url("/machine/a/7c20%2D45.%5Fvm?comp=x&incarnation=1#part"))
    assert peer.requests[0].startswith(b"GET /machine/a/7c20%2D45.%5Fvm?comp=x&incarnation=1 HTTP/1.1\r\n")


def test_chunks_are_joined(peer: Peer) -> None:
    peer.answers = [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nabcd\r\n2\r\nef\r\n0\r\nTrailer: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ]
    http = Http()
    assert http.request("GET", peer.url()).body == b"abcdef"
    assert http.request("GET", peer.url()).body == b"ok"
    assert peer.connections == 1


def test_a_body_without_length_lasts_until_the_end_of_the_connection(peer: Peer) -> None:
    peer.answers, peer.closing = [b"HTTP/1.0 200 OK\r\n\r\nall of it"], True
    assert Http().request("GET", peer.url()).body == b"all of it"


def test_a_continue_and_bodiless_answers(peer: Peer) -> None:
    peer.answers = [
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ]
    http = Http()
    assert [http.request("GET", peer.url()).status for _ in range(3)] == [304, 204, 200]
    assert peer.connections == 1


def test_a_connection_that_the_peer_closed_is_opened_again(peer: Peer) -> None:
    peer.answers, peer.closing = [b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"] * 3, True
    http = Http()
    for _ in range(3):
        assert http.request("POST", peer.url(), body=b"x").body == b"1"
    assert peer.connections == 3


def test_a_kept_connection_that_dies_with_the_request_is_tried_once_more(peer: Peer) -> None:
    good = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"
    peer.answers = [good, b"", good]
    http = Http()
    assert http.request("GET", peer.url()).body == b"1"
    assert http.request("GET", peer.url()).body == b"1"
    assert (peer.connections, len(peer.requests)) == (2, 3)


class Echo(BaseHTTPRequestHandler):
    """Answers with the target that was asked for."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        return

    def do_GET(self) -> None:
        body = self.path.encode()
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def test_threads_that_share_a_client_get_their_own_answers_and_lose_no_connection(
    recwarn: pytest.WarningsRecorder,
) -> None:
    gc.collect()  # what other tests have left open is theirs
    recwarn.clear()
    http, right, begin = Http(), [0] * 4, threading.Barrier(4)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def work(number: int) -> None:
        begin.wait()
        for turn in range(100):
            target = f"/{number}/{turn}"
            answer = http.request("GET", f"http://127.0.0.1:{server.server_port}{target}")
            right[number] += answer.body == target.encode()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    http.close()
    server.shutdown()
    server.server_close()
    assert right == [100] * 4
    gc.collect()
    assert not [one for one in recwarn if issubclass(one.category, ResourceWarning)], "a connection was lost open"


def test_no_answer_on_a_new_connection_is_unreachable(peer: Peer) -> None:
    peer.answers = [b""]
    with pytest.raises(FabricUnreachable, match="closed without an answer") as raised:
        Http().request("GET", peer.url())
    assert raised.value.facts["cause"] == "reset"
    assert len(peer.requests) == 1


@pytest.mark.wire("7.3/protocol-error", "7.3/truncated")
@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "malformed"),
        (b"HTTP/1.1 20x OK\r\n\r\n", "malformed"),
        (b"HTTP/2 200\r\n\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "truncated"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "truncated"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc", "malformed"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc", "malformed"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", "truncated"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000, "malformed"),
        (bytes(range(256)), "malformed"),
    ],
)
def test_what_is_no_http_answer_is_unreachable_with_its_cause(peer: Peer, answer: bytes, cause: str) -> None:
    peer.answers, peer.closing = [answer], True
    with pytest.raises(FabricUnreachable) as raised:
        Http().request("GET", peer.url())
    # Binary noise without a line's end reads as an answer that stopped early.
    assert raised.value.facts["cause"] in ({cause, "truncated"} if answer == bytes(range(256)) else {cause})


@pytest.mark.wire("7.5/documents")
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + b"a" * 101,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n" + b"a" * 101,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 101,
        b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999999\r\n\r\n",
    ],
)
def test_an_answer_over_the_limit_is_rejected(peer: Peer, answer: bytes) -> None:
    peer.answers, peer.closing = [answer], True
    with pytest.raises(FabricRejected, match="over the limit of 100 bytes"):
        Http().request("GET", peer.url(), limit=100)


@pytest.mark.wire("7.1/timeouts")
def test_an_endless_answer_ends_at_the_deadline(peer: Peer) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        try:
            for _ in range(50):
                connection.sendall(b"a")
                time.sleep(0.05)
        except OSError:
            return

    peer.answers = [drip]
    began = time.monotonic()
    with pytest.raises(FabricUnreachable, match="no complete answer") as raised:
        Http().request("GET", peer.url(), timeout=0.3)
    assert raised.value.facts["cause"] == "timeout"
    assert time.monotonic() - began < 1.5


def test_refused_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(FabricUnreachable) as raised:
        Http().request("GET", f"http://127.0.0.1:{port}/status?sig=SECRET&sv=1")
    assert raised.value.facts["cause"] == "refused"
    assert "SECRET" not in str(raised.value)
    assert "SECRET" not in repr(raised.value.facts)


@pytest.mark.wire("7.1/redirects")
def test_redirects_are_answers_and_are_not_followed(peer: Peer) -> None:
    peer.answers = [b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"]
    assert Http().request("GET", peer.url()).status == 302
    assert len(peer.requests) == 1


@pytest.mark.wire("0.1/wire-server")
def test_a_proxy_of_the_environment_is_not_used(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    peer.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]
    assert Http().request("GET", peer.url()).status == 200


def test_only_the_body_of_a_200_goes_into_the_file(peer: Peer) -> None:
    peer.answers = [
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone",
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nbinary",
    ]
    http, file = Http(), io.BytesIO()
    assert http.request("GET", peer.url(), into=file).body == b"gone"
    assert http.request("GET", peer.url(), into=file).body == b""
    assert file.getvalue() == b"binary"


@pytest.mark.parametrize(
    "url",
    ["https://a/", "a/b", "http://", "http:///x", "http://u@a/", "http://a:0/", "http://a:x/", "http://a/ b", "http://ä/"],
)
def test_an_unusable_url_is_rejected(url: str) -> None:
    with pytest.raises(FabricRejected, match="expected http://host"):
        split(url)


def test_urls_in_their_parts() -> None:
    assert split("http://168.63.129.16/?comp=versions") == ("168.63.129.16", 80, "/?comp=versions")
    assert split("http://[fe80::1]:32526/vmSettings") == ("fe80::1", 32526, "/vmSettings")
    assert split("HTTP://host?x=1") == ("host", 80, "/?x=1")


def test_a_header_cannot_smuggle_another(peer: Peer) -> None:
    with pytest.raises(FabricRejected, match="line break"):
        Http().request("GET", peer.url(), [("x-ms-artifact-location", "http://a/\r\nx: y")])


@pytest.mark.wire("7.6/signatures", "7.6/passwords")
def test_redaction_hides_signatures_and_passwords() -> None:
    assert redact("https://a/b?sv=1&sig=abc") == "https://a/b?<redacted>"
    assert redact("https://a/b?sk=system-1&sig=abc") == "https://a/b?<redacted>"
    assert redact("http://a/b?comp=config&type=x") == "http://a/b?comp=config&type=x"
    assert redact("http://u:pw@a:3128/") == "http://<redacted>@a:3128/"
    text = 'got "https://a/b?x=1&SIG=abc" and http://c/?comp=y, ftp://u:pw@h/f.'
    assert redact_text(text) == 'got "https://a/b?<redacted>" and http://c/?comp=y, ftp://<redacted>@h/f.'
    assert redact_text("no url sig=here") == "no url sig=here"


def test_the_client_imports_nothing_heavy() -> None:
    heavy = "dataclasses pathlib subprocess http.client urllib.request urllib.parse logging email ssl typing json"
    code = "import sys, waagent.system.http; print(*(m for m in sys.argv[1:] if m in sys.modules))"
    found = subprocess.run(
        [sys.executable, "-S", "-c", code, *heavy.split()],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == []
