"""Take secrets out of what is collected, while it streams by.

    for block in clean(stream, secrets): …      blocks of whole lines, at most about a mebibyte each

What is taken out: signatures of URLs, passwords before a host name, protected settings, <Password> and <CustomData>
elements, keys of storage accounts, bearer tokens, private keys in PEM; and every text of `secrets`, wherever it
stands. An element that is opened in one line and closed in another is taken out too.

It looks at forms, not at meanings: a program that logs a password in words of its own has told it already.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO

BLOCK = 1024 * 1024
HIDDEN = b"***REDACTED***"
SHORTEST = 6  # a shorter secret would be found in half of all words

_QUOTE = rb'(?:\\?"|&quot;|&#34;)'
_PATTERNS = (
    re.compile(rb"((?:sig|access_token|client_secret)(?:=|%3d))[^&\s\"'<>]+", re.IGNORECASE),
    re.compile(rb"(://)[^/\s\"'<>@]+(?=@)"),
    re.compile(
        rb"(" + _QUOTE + rb"(?:protectedSettings|password|access_?token|client_?secret|storageAccountKey)" + _QUOTE
        + rb"\s*:\s*" + _QUOTE + rb").*?(?=" + _QUOTE + rb")",
        re.IGNORECASE | re.DOTALL,
    ),
    re.compile(rb"((?:AccountKey|SharedAccessKey)=)[A-Za-z0-9+/=]+", re.IGNORECASE),
    re.compile(rb"(\bBearer\s+)[A-Za-z0-9._~+/=-]+", re.IGNORECASE),
)  # fmt: skip
_ELEMENT = re.compile(rb"<(?:\w+:)?((?:User)?Password|CustomData|AdminPassword)\b[^>]*(?<!/)>", re.IGNORECASE)
_PEM = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----")
_PEM_END = re.compile(rb"-----END [A-Z0-9 ]*PRIVATE KEY-----")


def clean(stream: BinaryIO, secrets: Iterable[str] = ()) -> Iterator[bytes]:
    known = [text.encode() for text in secrets if len(text) >= SHORTEST]
    until: re.Pattern[bytes] | None = None
    for block in _blocks(stream):
        kept, until = _spans(block, until)
        for pattern in _PATTERNS:
            kept = pattern.sub(rb"\1" + HIDDEN, kept)
        for secret in known:
            kept = kept.replace(secret, HIDDEN)
        if kept:
            yield kept


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    """Blocks that end with a line; a line longer than a block is cut."""
    rest = b""
    while True:
        read = stream.read(BLOCK)
        if not read:
            if rest:
                yield rest
            return
        block = rest + read
        end = block.rfind(b"\n") + 1
        if end == 0 and len(block) < 2 * BLOCK:
            rest = block
            continue
        end = end or len(block)
        rest = block[end:]
        yield block[:end]


def _spans(block: bytes, until: re.Pattern[bytes] | None) -> tuple[bytes, re.Pattern[bytes] | None]:
    """The block without what stands between an opening and its end; and the end that is still awaited.

    Nothing that is written so is longer than a block: an end that the next block does not have either was none.
    """
    pieces: list[bytes] = []
    at = 0
    if until is not None and until.search(block) is None:
        until = None
    while True:
        if until is not None:
            end = until.search(block, at)
            if end is None:
                return b"".join(pieces), until
            at, until = end.start(), None
        both = filter(None, (_ELEMENT.search(block, at), _PEM.search(block, at)))
        found = min(both, key=lambda match: match.start(), default=None)
        if found is None:
            pieces.append(block[at:])
            return b"".join(pieces), None
        pieces += [block[at : found.end()], HIDDEN]
        at = found.end()
        until = _PEM_END
        if found.re is _ELEMENT:
            until = re.compile(rb"</(?:\w+:)?" + found[1] + rb"\s*>", re.IGNORECASE)
