"""Hide the secrets that travel in URLs (SAS signatures). Cheap to import: the watcher uses it.

redact(url)       the URL without its query, when that carries a signature or another part of a SAS token
redact_text(text) the same for every URL inside a longer text

Source: wire-protocol 7.6.
"""

from __future__ import annotations

HIDDEN = "<redacted>"

# What a SAS query is made of; sig= alone is the secret, the others betray a signed URL that was cut or reordered.
_SIGNED = ("sig=", "sv=", "st=", "se=", "sr=", "sp=", "sip=", "spr=", "sk=", "skoid=", "sktid=")


def redact(url: str) -> str:
    """The URL fit for a log: a signed query and a password before the host are replaced by <redacted>."""
    scheme, separator, rest = url.partition("://")
    if separator:
        end = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
        host, path = rest[:end], rest[end:]
        if "@" in host:
            host = HIDDEN + host[host.rindex("@") :]
        url = scheme + separator + host + path
    before, question, query = url.partition("?")
    if question and _is_signed(query):
        return f"{before}?{HIDDEN}"
    return url


def redact_text(text: str) -> str:
    """The text with every URL in it redacted; all else is kept."""
    if "://" not in text:
        return text
    pieces: list[str] = []
    at = 0
    while True:
        found = text.find("://", at)
        if found < 0:
            pieces.append(text[at:])
            return "".join(pieces)
        start = found
        while start > at and (text[start - 1].isalnum() or text[start - 1] in "+-."):
            start -= 1
        end = found
        while end < len(text) and not text[end].isspace() and text[end] not in "\"'<>":
            end += 1
        pieces.append(text[at:start])
        pieces.append(redact(text[start:end]))
        at = end


def _is_signed(query: str) -> bool:
    lowered = query.lower().replace("&amp;", "&").replace("%3d", "=").replace("%26", "&")
    return any(part.startswith(_SIGNED) for part in lowered.split("&")) or "sig=" in lowered
