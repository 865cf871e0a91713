"""Where the fabric is: the addresses, and an endpoint as a value. Lean: the watcher imports it.

Endpoint
    host          str: address of wire server, health service and host plugin alike
    port          int, 80         plugin_port   int, 32526
    text          "168.63.129.16"; with other ports than these "127.0.0.1:8080:8081" (simulator)

candidates(texts) are the endpoints of several texts, in their order, each once. Which texts they are, and that each
has to answer before it is used: discovery.py.

Source: wire-protocol 0.1, 1.1.
"""

from __future__ import annotations

from waagent.errors import FabricRejected

WIRE_SERVER = "168.63.129.16"  # a8 3f 81 10 as bytes of option 245
METADATA_SERVICE = "169.254.169.254"
WIRE_PORT, PLUGIN_PORT = 80, 32526


class Endpoint:
    __slots__ = ("host", "plugin_port", "port")

    def __init__(self, host: str = WIRE_SERVER, port: int = WIRE_PORT, plugin_port: int = PLUGIN_PORT) -> None:
        self.host, self.port, self.plugin_port = host, port, plugin_port

    @property
    def text(self) -> str:
        if (self.port, self.plugin_port) == (WIRE_PORT, PLUGIN_PORT):
            return self.host
        return f"{self.host}:{self.port}:{self.plugin_port}"

    def wire(self, target: str) -> str:
        """The URL of a wire server request, target beginning with "/"."""
        return f"http://{self.host}{target}" if self.port == WIRE_PORT else f"http://{self.host}:{self.port}{target}"

    def plugin(self, target: str) -> str:
        """The URL of a host plugin request, target beginning with "/"."""
        return f"http://{self.host}:{self.plugin_port}{target}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Endpoint) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Endpoint({self.text!r})"


def parse(text: str) -> Endpoint:
    """The endpoint of its text form. Raises FabricRejected for anything else."""
    host, *ports = text.strip().split(":")
    fits = text.isascii() and 0 < len(host) < 254 and all(letter.isalnum() or letter in ".-" for letter in host)
    ports_fit = len(ports) in (0, 2) and all(port.isdecimal() and 0 < int(port[:6]) < 65536 for port in ports)
    if not fits or not ports_fit:
        raise FabricRejected(
            f"cannot use {text[:100]!r} as the fabric's address: expected 168.63.129.16 or HOST:PORT:PLUGINPORT"
        )
    return Endpoint(host, *(int(port) for port in ports))


def candidates(texts: list[str]) -> list[Endpoint]:
    """Endpoints to try, in order, each once; what is no endpoint is passed over."""
    found: list[Endpoint] = []
    for text in texts:
        try:
            endpoint = parse(text)
        except FabricRejected:
            continue
        if endpoint not in found:
            found.append(endpoint)
    return found
