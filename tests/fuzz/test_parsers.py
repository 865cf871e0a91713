"""Every parser of what comes from outside, fed with damaged documents for a bounded time: no error but the typed one.

WAAGENT_FUZZ_SECONDS is the time of each (0.5 s; an hour of all is WAAGENT_FUZZ_SECONDS=240). Each round has a seed of
its own; when one fails, hypothesis shows the smallest document it found and how to see it again.
"""

from __future__ import annotations

import json
import os
import random
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.fabric.samples import NOW, sample
from waagent.errors import ExtensionError, FabricError, GoalStateInvalid, OvfInvalid
from waagent.extensions import handler, policy
from waagent.extensions import status as extension_status
from waagent.fabric import (
    artifacts_profile,
    certificates,
    dhcp,
    endpoint,
    extensions_config,
    goal_state,
    hosting,
    imds,
    leases,
    manifests,
    poll,
    proxies,
    remote_access,
    retry,
    vm_settings,
)
from waagent.fabric.cache import FabricState
from waagent.instance import ovf
from waagent.system import broadcast
from waagent.system.deadline import Deadline
from waagent.system.http import _Exchange, _NoAnswer
from waagent.system.redact import redact, redact_text

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")

SECONDS = float(os.environ.get("WAAGENT_FUZZ_SECONDS", "0.5"))

XML_TRICKS = (
    b"<!DOCTYPE x [<!ENTITY a 'aaaa'>]>", b"&a;", b"&#0;", b"&#x110000;", b"<![CDATA[", b"]]>", b"<?xml version='1.1'?>",
    b"<a>" * 100, b"</a>" * 3, b"\xef\xbb\xbf", b"\xff\xfe", b"xmlns:x='y'", b"<!--", b"--", b"\0", b"\xc3(", b'="', b"<",
)  # fmt: skip
JSON_TRICKS = (
    b"null", b"true", b"-1", b"1e999", b"NaN", b"Infinity", b'"\\ud800"', b"[" * 2000, b"{" * 2000, b'{"a":', b"]", b"}",
    b'""', b"9" * 5000, b"\xef\xbb\xbf", b"\xff", b"\0", b",", b"\\u0000", b'"onHold":', b'"value":',
)  # fmt: skip
HTTP_TRICKS = (
    b"Transfer-Encoding: chunked\r\n", b"Content-Length: -1\r\n", b"Content-Length: 9999999999999999999\r\n", b"\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 999 \r\n", b"ffffffffffffffff\r\n", b"0\r\n\r\n", b"\n", b": x\r\n", b"\0",
)  # fmt: skip

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: 1\r\nTransfer-Encoding: identity\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;x=y\r\nabc\r\n0\r\nTrailer: 1\r\n\r\n"
MAC, TRANSACTION = bytes(range(6)), b"abcd"
OFFER = (
    b"\x02\x01\x06\0" + TRANSACTION + bytes(20) + MAC + bytes(202) + dhcp.COOKIE
    + bytes((53, 1, 2, 0, 3, 4, 10, 0, 0, 1, 249, 9, 32, 168, 63, 129, 16, 10, 0, 0, 1, 245, 4, 168, 63, 129, 16, 255))
)  # fmt: skip
LEASE = b'lease {\n interface "eth0";\n option unknown-245 a8:3f:81:10;\n expire 2 2027/11/24 09:15:30;\n}\nOPTION_245=a83f8110\n'
OVF = b"""<Environment xmlns="http://schemas.dmtf.org/ovf/environment/1" xmlns:wa="http://schemas.microsoft.com/windowsazure">
<wa:ProvisioningSection><wa:Version>1.0</wa:Version><wa:LinuxProvisioningConfigurationSet><wa:HostName>h</wa:HostName>
<wa:UserName>u</wa:UserName><wa:UserPassword>p</wa:UserPassword><wa:CustomData>aGk=</wa:CustomData><wa:SSH><wa:PublicKeys>
<wa:PublicKey><wa:Fingerprint>53F807B03CFE6938C47ADDE291193F294FF1F1D9</wa:Fingerprint><wa:Path>/home/u/.ssh/authorized_keys</wa:Path><wa:Value>ssh-rsa A</wa:Value>
</wa:PublicKey></wa:PublicKeys></wa:SSH></wa:LinuxProvisioningConfigurationSet></wa:ProvisioningSection>
<wa:PlatformSettingsSection><wa:Version>1.0</wa:Version><wa:PlatformSettings><wa:ProvisionGuestAgent>true</wa:ProvisionGuestAgent>
</wa:PlatformSettings></wa:PlatformSettingsSection></Environment>"""


def exchange(content: bytes) -> None:
    """The content as what a server answers; it then closes the connection."""
    near, far = socket.socketpair()
    with near, far:
        far.sendall(content[:100_000])
        far.shutdown(socket.SHUT_WR)
        until = Deadline(time.monotonic, 5.0)
        _Exchange("GET", "http://h/", until, 5.0, limit=4096, into=None).run(near, b"GET / HTTP/1.1\r\n\r\n")


def restored(content: bytes) -> None:
    FabricState.from_json(json.loads(content))


def as_text(*parsers: Callable[[str], object]) -> Callable[[bytes], None]:
    def parse(content: bytes) -> None:
        for one in parsers:
            one(content.decode("utf-8", "replace"))

    return parse


# name: (documents to damage, tricks, parser, errors that it may raise)
TARGETS: dict[str, tuple[Iterable[bytes], tuple[bytes, ...], Callable[[bytes], object], tuple[type[Exception], ...]]] = {
    "goal state": ([sample("goal_state.xml")], XML_TRICKS, goal_state.parse, (GoalStateInvalid,)),
    "extensions": (
        [sample("extensions_config.xml")], XML_TRICKS + JSON_TRICKS, lambda one: extensions_config.parse(one, "1"),
        (GoalStateInvalid,),
    ),
    "vmSettings": ([sample("vm_settings.json")], JSON_TRICKS, lambda one: vm_settings.parse(one, "1"), (GoalStateInvalid,)),
    "certificates": ([sample("certificates.xml")], XML_TRICKS, certificates.parse, (GoalStateInvalid,)),
    "bundle": (
        [b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"],
        (b"-----", b"BEGIN", b"END", b"\n"),
        as_text(lambda text: certificates.take_apart(text, lambda kind, block: block if "A" in block else None)),
        (GoalStateInvalid,),
    ),
    "remote access": ([sample("remote_access.xml")], XML_TRICKS, remote_access.parse, (GoalStateInvalid,)),
    "hosting": ([sample("hosting_environment.xml")], XML_TRICKS, hosting.parse, (GoalStateInvalid,)),
    "manifest": ([sample("manifest.xml")], XML_TRICKS, manifests.parse, (GoalStateInvalid,)),
    "metadata": (
        [sample("imds_instance.json")], JSON_TRICKS,
        lambda one: (imds.facts(imds.parse(one)), imds.is_valid(imds.parse(one))), (GoalStateInvalid,),
    ),
    "profile": ([sample("artifacts_profile.json")], JSON_TRICKS, artifacts_profile.on_hold, ()),
    "provisioning document": ([OVF], XML_TRICKS, ovf.parse, (OvfInvalid,)),
    "handler's manifest": (
        [b'[{"version": 1.0, "handlerManifest": {"disableCommand": "c", "uninstallCommand": "d", "updateCommand": "e", "installCommand": "a", "enableCommand": "b", "rebootAfterInstall": false}}]'],
        JSON_TRICKS, as_text(lambda text: handler.parse_manifest(text, "A.B")), (ExtensionError,),
    ),
    "handler's status": (
        [b'[{"status": {"status": "success", "code": "1", "formattedMessage": {"lang": "en", "message": "x"}, "substatus": [null]}}]'],
        JSON_TRICKS, as_text(lambda text: extension_status.parse(text, "A.B")), (extension_status.Malformed,),
    ),
    "policy": (
        [b'{"policyVersion": "0.1.0", "extensionPolicies": {"allowListedExtensionsOnly": true, "extensions": {"A.B": {}}}}'],
        JSON_TRICKS, as_text(lambda text: policy.parse(text, "/p")), (policy.PolicyInvalid,),
    ),
    "lease": ([LEASE], (b"{", b"}", b'"', b"\\", b";", b"245", b"="), lambda one: leases.parse(one, NOW), ()),
    "offer": (
        [OFFER], (b"\xff", b"\0", b"\xf5\x04", b"\xf9\xff"),
        lambda one: (dhcp.parse(one, MAC, TRANSACTION), list(dhcp.options(one))), (),
    ),
    "frame": (
        [broadcast.frame(OFFER, 67, 68)], (b"\x45", b"\xff\xff", b"\0\0"), lambda one: broadcast.payload_of(one, 68), (),
    ),
    "answer": ([ANSWER, CHUNKED], HTTP_TRICKS, exchange, (FabricError, _NoAnswer)),
    "watcher's memory": (
        [b'{"known": {"endpoint": "1.2.3.4", "incarnation": "1"}}'], JSON_TRICKS, as_text(poll.known_of), (),
    ),
    "goal state on disk": (
        [b'{"schema": 1, "endpoint": "", "goal": {}, "desired": null, "certificates": [], "names": {}}'], JSON_TRICKS,
        restored, (ValueError, KeyError, TypeError, AttributeError, RecursionError),  # those that cache.read() takes
    ),
    "endpoint": ([b"168.63.129.16:80:32526"], (b":", b".", b"\xc2\xb2"), as_text(endpoint.parse), (FabricError,)),
    "proxy": (
        [b"http://user:p%40ss@proxy.example:3128"], (b"[", b"]", b"@", b"%", b"://", b"#"),
        as_text(lambda text: proxies.choose("https://a.net/", text, 80, {"no_proxy": text})), (),
    ),
    "retry-after": ([b"Mon, 23 Nov 2026 09:20:05 GMT"], (b"99999", b"-", b"+9999"), as_text(lambda text: retry.asked_pause(text, NOW)), ()),
    "redaction": ([b"see https://u:p@a.net/b?sv=1&sig=x y"], (b"://", b"?", b"@", b"&amp;", b"%26"), as_text(redact, redact_text), ()),
}  # fmt: skip


def damaged(documents: Iterable[bytes], tricks: tuple[bytes, ...]) -> Any:
    """A document with some stretches cut, doubled, moved or replaced by tricks."""

    @st.composite
    def draw_one(draw: Any) -> bytes:
        content = draw(st.sampled_from(list(documents)))
        for _ in range(draw(st.integers(1, 6))):
            begin = draw(st.integers(0, len(content)))
            end = draw(st.integers(begin, min(len(content), begin + 120)))
            middle = draw(
                st.one_of(
                    st.sampled_from(tricks), st.binary(max_size=12), st.just(b""), st.just(content[begin:end] * 2)
                )
            )
            content = content[:begin] + middle + content[end:]
        return bytes(content)

    return draw_one() | st.binary(max_size=300)


@pytest.mark.wire("7.5/documents")
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_but_the_typed_error_escapes(name: str) -> None:
    documents, tricks, parse, errors = TARGETS[name]
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:

        @hypothesis.seed(random.getrandbits(64))
        @hypothesis.settings(
            max_examples=40, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
        )
        @hypothesis.given(damaged(documents, tricks))
        def once(content: bytes) -> None:
            began = time.monotonic()
            try:
                parse(content)
            except errors:
                pass
            assert time.monotonic() - began < 5, "a parser that takes seconds for a small document"

        once()


def test_the_documents_are_good_before_they_are_damaged() -> None:
    for name, (documents, _, parse, _) in TARGETS.items():
        if name not in ("goal state on disk",):
            for document in documents:
                parse(document)


def test_every_parser_of_the_fabric_has_a_target() -> None:
    """A file of waagent/fabric with a parse() is fuzzed here."""
    folder = Path(goal_state.__file__).parent
    having = {path.stem for path in folder.glob("*.py") if "\ndef parse(" in path.read_text(encoding="utf-8")}
    text = Path(__file__).read_text(encoding="utf-8")
    assert {name for name in having if f"{name}.parse" not in text} == {"xml"}  # the one below all of them
