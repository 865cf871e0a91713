"""Which HTTP proxy the way to the internet takes. Pure.

choose(url, host, port, environment) -> "http://[user:password@]host:port" or None

    HttpProxy.Host and HttpProxy.Port   both set: this one. Host may be a URL with user and password
    https_proxy, HTTPS_PROXY            for https URLs, when HttpProxy.Host is not set
    http_proxy, HTTP_PROXY              for http URLs, likewise
    no_proxy, NO_PROXY                  names (with all below them), addresses, networks, "*"; counts for all

The fabric itself (168.63.129.16, 169.254.169.254) is never asked through a proxy. Unlike the incumbent, a no_proxy
of "x.net" does not cover "yx.net", a port in an entry is ignored, and user and password of a proxy's URL are used.

Source: wire-protocol 7.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waagent.fabric.endpoint import METADATA_SERVICE, WIRE_SERVER

if TYPE_CHECKING:
    from collections.abc import Mapping

NEVER = frozenset((WIRE_SERVER, METADATA_SERVICE, "localhost"))


def choose(url: str, host: str | None, port: int | None, environment: Mapping[str, str]) -> str | None:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        target = (parts.hostname or "").lower()
    except ValueError:
        return None
    if not target or target in NEVER or target.startswith("127."):
        return None
    excepted = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    if excluded(target, excepted):
        return None
    if host:
        return _configured(host, port)
    names = ("https_proxy", "HTTPS_PROXY") if parts.scheme == "https" else ("http_proxy", "HTTP_PROXY")
    for name in names:
        if environment.get(name):
            return _configured(environment[name], None)
    return None


def excluded(target: str, no_proxy: str) -> bool:
    """Whether the host is named by the comma list."""
    from ipaddress import ip_address, ip_network

    try:
        address = ip_address(target.strip("[]"))
    except ValueError:
        address = None
    for entry in (part.strip().lower() for part in no_proxy.split(",")):
        if not entry:
            continue
        if entry == "*":
            return True
        if address is not None:
            try:
                if address in ip_network(entry, strict=False):
                    return True
            except ValueError:
                continue
        name = entry.lstrip("*").lstrip(".").partition(":")[0]
        if target == name or target.endswith(f".{name}"):
            return True
    return False


def _configured(given: str, port: int | None) -> str | None:
    """The proxy's URL; None without a port, as then nobody knows where it listens.

    User and password may hold any character, percent-encoded or not.
    """
    from urllib.parse import quote, unquote, urlsplit

    scheme, separator, rest = given.strip().rpartition("://")
    credentials, at_sign, place = rest.rpartition("@")
    try:
        parts = urlsplit(f"//{place}")
        at = parts.port or port
        name = parts.hostname
    except ValueError:
        return None
    if not name or not at or any(letter <= " " for letter in name):
        return None
    host = f"[{name}]" if ":" in name else name
    user, colon, password = credentials.partition(":")
    signed = quote(unquote(user), safe="") + colon + quote(unquote(password), safe="") + at_sign
    return f"{scheme.lower() if separator else 'http'}://{signed}{host}:{at}"
