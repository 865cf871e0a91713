"""XML of the fabric, through one guarded parser.

parse(content, document)            bytes or str -> root Element, names without namespace or prefix
text(element, path)                 stripped text below "A/B/C" (first of each), None when absent or empty
require_text(element, path, document)   the same, GoalStateInvalid when absent
flag(element, path)                 True, False, or None when absent ("true" in any case is true)

Documents come from the network, so: no document type (hence no entities but the five of XML), at most 64 levels,
100,000 elements and 16 MiB; a byte order mark in front and blanks or NULs behind are dropped. Whatever else is
wrong raises GoalStateInvalid(document, element).

Source: wire-protocol 1.4, 2.1 (traps), 2.7.
"""

from __future__ import annotations

from typing import NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from waagent.errors import GoalStateInvalid

SIZE, DEPTH, ELEMENTS = 16 * 1024 * 1024, 64, 100_000


def parse(content: bytes | str, document: str, root: str = "") -> Element:
    """The root element; with `root` given it has to have that name. Raises GoalStateInvalid."""
    found = _Reader(document).read(_plain(content, document))
    if root and found.tag != root:
        raise invalid(document, root, f"the document is a <{found.tag[:80]}>, not a <{root}>")
    return found


def text(element: Element, path: str) -> str | None:
    found = element.find(path)
    if found is None:
        return None
    return "".join(found.itertext()).strip() or None


def require_text(element: Element, path: str, document: str) -> str:
    value = text(element, path)
    if value is None:
        raise invalid(document, path, f"<{path}> is missing or empty")
    return value


def flag(element: Element, path: str) -> bool | None:
    value = text(element, path)
    return None if value is None else value.lower() == "true"


def invalid(document: str, element: str, what: str) -> GoalStateInvalid:
    """The error that says what is wrong with which element of which document."""
    return GoalStateInvalid(f"cannot use {document}: {what}", document=document, element=element)


def _plain(content: bytes | str, document: str) -> bytes:
    """UTF-8 without byte order mark and padding."""
    if len(content) > SIZE:
        raise invalid(document, "", f"it has {len(content)} bytes, over the limit of {SIZE}")
    try:
        if isinstance(content, bytes) and content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            content = content.decode("utf-16")
        if isinstance(content, str):
            content = content.encode("utf-8")
    except ValueError as error:
        raise invalid(document, "", f"its encoding is broken: {error}") from error
    if content.startswith(b"\xef\xbb\xbf"):
        content = content[3:]
    return content.rstrip(b"\0 \t\r\n").lstrip(b" \t\r\n")


class _Reader:
    """Builds the tree while it counts levels and elements."""

    def __init__(self, document: str) -> None:
        self.document = document
        self.builder = TreeBuilder()
        self.depth = self.elements = 0
        # The text is UTF-8 here whatever its declaration says.
        self.parser = expat.ParserCreate("utf-8")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self.builder.data
        self.parser.StartDoctypeDeclHandler = self._doctype

    def read(self, content: bytes) -> Element:
        try:
            self.parser.Parse(content, True)
            root = self.builder.close()
        except expat.ExpatError as error:
            raise invalid(self.document, "", f"it is not well-formed XML: {error}") from error
        except (ValueError, AssertionError) as error:
            raise invalid(self.document, "", f"it cannot be parsed: {error}") from error
        return root

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        self.elements += 1
        if self.depth > DEPTH:
            raise invalid(self.document, tag, f"its elements are nested more than {DEPTH} levels deep")
        if self.elements > ELEMENTS:
            raise invalid(self.document, tag, f"it has more than {ELEMENTS} elements")
        plain = {_local(name): value for name, value in attributes.items() if ":" in name and name[:5] != "xmlns"}
        plain.update((name, value) for name, value in attributes.items() if ":" not in name and name != "xmlns")
        self.builder.start(_local(tag), plain)

    def _end(self, tag: str) -> None:
        self.depth -= 1
        self.builder.end(_local(tag))

    def _doctype(self, *_: object) -> NoReturn:
        raise invalid(self.document, "DOCTYPE", "it declares a document type, which the fabric never does")


def _local(name: str) -> str:
    return name.rpartition(":")[2]
