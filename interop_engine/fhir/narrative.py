"""The XHTML of a narrative (invariants txt-1 and txt-2): https://hl7.org/fhir/R4/narrative.html."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.parsers import expat

if TYPE_CHECKING:
    from collections.abc import Mapping

_XHTML = "http://www.w3.org/1999/xhtml"

_ELEMENT_NAMES = (
    "p br div h1 h2 h3 h4 h5 h6 a span b em i strong small big tt dfn q var abbr acronym cite blockquote hr ul "
    "ol li dl dt dd pre table caption colgroup col thead tr tfoot tbody th td code samp img map area address "
    "bdo del ins kbd sub sup"
)
_ELEMENTS = frozenset(_ELEMENT_NAMES.split())
_ATTRIBUTE_NAMES = (
    "title style class id idref lang xml:lang dir accesskey tabindex span width align valign char charoff abbr "
    "axis headers scope rowspan colspan border cellpadding cellspacing frame rules summary start value type "
    "cite datetime href hreflang name rel rev shape coords charset src alt longdesc height usemap ismap nohref "
    "xmlns compact reversed"
)
_ATTRIBUTES = frozenset(_ATTRIBUTE_NAMES.split())


class _FaultError(Exception):
    """Something a narrative may not hold."""


class _Reader:
    """Walks the events of one narrative: no DTD (so no entities of its own), only what txt-1 lists."""

    def __init__(self) -> None:
        self.depth = 0
        self.content = False

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        space, _, local = name.rpartition(" ")
        if space != _XHTML or local not in _ELEMENTS or (self.depth == 0 and local != "div"):
            raise _FaultError("holds an element that a narrative may not have (txt-1)")
        if not all(key.rpartition(" ")[2] in _ATTRIBUTES for key in attributes):
            raise _FaultError("holds an attribute that a narrative may not have (txt-1)")
        self.content = self.content or local == "img"
        self.depth += 1

    def end(self, _name: str) -> None:
        self.depth -= 1

    def text(self, text: str) -> None:
        self.content = self.content or not text.isspace()


def _no_doctype(*_: object) -> None:
    raise _FaultError("holds a document type declaration (txt-1)")


def narrative_fault(text: str) -> str | None:
    """What is wrong with the XHTML of a narrative, or None."""
    reader = _Reader()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = _no_doctype
    try:
        parser.Parse(text, True)
    except (expat.ExpatError, UnicodeEncodeError):
        return "is not well-formed XHTML (txt-1)"
    except _FaultError as fault:
        return str(fault)
    return None if reader.content else "has no content (txt-2)"
