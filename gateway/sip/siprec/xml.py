"""XML from strangers as a small tree: no document type, no entities, and bounded in size, depth and count.

Only the root's own namespace is read: what vendors add in theirs stays in the sealed original.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from gateway.sip.errors import Malformed

DOCUMENT_BYTES_MAX = 65_536
"""No SIP message is longer. Beyond: malformed."""
DEPTH_MAX = 16
"""RFC 7865's schema has four levels, vendors' extensions some more. Beyond: malformed."""
ELEMENTS_MAX = 4096
"""A conference of a hundred has some 800. Beyond: malformed."""
TEXT_CHARACTERS_MAX = 1024
"""Of one element's text and of one attribute that are kept: ids have 24, names fewer than 100. The rest is cut off."""

_SEPARATOR = " "  # between namespace and name: in neither of them


@dataclass(slots=True, repr=False)
class Element:
    """An element of the root's namespace. Names are in lower case: `dataMode` and `datamode` are both in use."""

    name: str
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list)
    text: str = ""

    def __repr__(self) -> str:
        return f"Element({self.name})"

    def all(self, name: str) -> Iterator[Element]:
        """The children of that name."""
        return (child for child in self.children if child.name == name)

    def first(self, name: str) -> str:
        """The text of the first child of that name; empty without one."""
        return next((child.text for child in self.all(name)), "")


def read(data: bytes) -> Element:
    """The root. Raises `Malformed`, naming the rule and never the text."""
    if len(data) > DOCUMENT_BYTES_MAX:
        raise Malformed("XML document is too long")
    return _Reader().read(data)


class _Reader:
    """One document."""

    def __init__(self) -> None:
        self._root: Element | None = None
        self._namespace = ""
        self._open: list[Element | None] = []  # None: of another namespace, or within such a one
        self._count = 0

    def read(self, data: bytes) -> Element:
        parser = expat.ParserCreate(namespace_separator=_SEPARATOR)
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = self._doctype
        try:
            # White space before the declaration is an error in XML, and what a part's blank lines leave.
            parser.Parse(data.strip(), True)
        except expat.ExpatError:
            raise Malformed("XML is not well-formed") from None
        except (ValueError, LookupError):  # an encoding that there is not
            raise Malformed("XML has an unusable encoding") from None
        if self._root is None:
            raise Malformed("XML has no root")
        return self._root

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if len(self._open) == DEPTH_MAX or self._count > ELEMENTS_MAX:
            raise Malformed("XML is too deep or has too many elements")
        namespace, _, local = name.rpartition(_SEPARATOR)
        if self._root is None:
            self._namespace = namespace
        above = self._open[-1] if self._open else None
        if namespace != self._namespace or (above is None and self._root is not None):
            self._open.append(None)
            return
        kept = {key.lower(): value[:TEXT_CHARACTERS_MAX] for key, value in attributes.items()}
        element = Element(local.lower(), kept)
        if above is None:
            self._root = element
        else:
            above.children.append(element)
        self._open.append(element)

    def _end(self, name: str) -> None:
        element = self._open.pop()
        if element is not None:
            element.text = element.text.strip()

    def _characters(self, text: str) -> None:
        element = self._open[-1] if self._open else None
        if element is not None and len(element.text) < TEXT_CHARACTERS_MAX:
            element.text = (element.text + text)[:TEXT_CHARACTERS_MAX]

    def _doctype(self, *declared: object) -> None:
        raise Malformed("XML has a document type")
