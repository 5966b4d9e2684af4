"""Text (ST, TX, FT, ID, IS and whatever else is only text) → string, markdown, Annotation, uri, code, id and the like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interop_engine.mapping.convert.base import Conversion, code_text, tidy, uri_text, whole

if TYPE_CHECKING:
    from interop_engine.hl7.message import Value
    from interop_engine.mapping.context import Context

_ID_LENGTH = 64
_ID_MARKS = frozenset("-.")


def string(value: Value, context: Context) -> str | None:
    """All the text; separators the sender did not escape survive, and so do line breaks."""
    del context
    return whole(value) or None


def annotation(value: Value, context: Context) -> dict[str, Any] | None:
    """Text → Annotation."""
    del context
    text = whole(value)
    return {"text": text} if text else None


def concept(value: Value, context: Context) -> dict[str, Any] | None:
    """Text → CodeableConcept with only its text."""
    del context
    text = whole(value)
    return {"text": text} if text else None


def display(value: Value, context: Context) -> dict[str, Any] | None:
    """Text → Reference with only its display."""
    del context
    text = whole(value)
    return {"display": text} if text else None


def code(value: Value, context: Context) -> str | None:
    """Text → code."""
    del context
    return code_text(value.text) or None


def uri(value: Value, context: Context) -> str | None:
    """Text → uri; left out where it has a space inside."""
    found = uri_text(value.whole)
    if not found and value.raw and not value.deleted:
        context.note("not-a-uri", "The text is no URI; it is left out.")
    return found or None


def id_(value: Value, context: Context) -> str | None:
    """Text → id; left out where it has other characters than FHIR allows."""
    text = tidy(value.text)
    if not text:
        return None
    if len(text) > _ID_LENGTH or not all(c.isascii() and (c.isalnum() or c in _ID_MARKS) for c in text):
        context.note("not-an-id", "The text is no FHIR id; it is left out.")
        return None
    return text


def yes_no(value: Value, context: Context) -> bool | None:
    """Y or N, true or false → boolean."""
    text = tidy(value.text).upper()
    if text in ("Y", "TRUE", "1"):
        return True
    if text in ("N", "FALSE", "0"):
        return False
    if text:
        context.note("not-a-boolean", "The text is neither yes nor no; it is left out.")
    return None


STRING = Conversion(string, "The text; stray separators and line breaks survive.")
_TEXTS = ("ST", "TX", "FT", "GTS", "NM", "SI", "DTM", "TS", "DT", "TM", "varies")

CONVERSIONS = {
    **{(v2, to): STRING for v2 in _TEXTS for to in ("string", "markdown")},
    **{(v2, "markdown"): STRING for v2 in ("ID", "IS")},
    **{(v2, "Annotation"): Conversion(annotation, "An Annotation of the text.") for v2 in ("ST", "TX", "FT", "varies")},
    **{(v2, "CodeableConcept"): Conversion(concept, "Text only.") for v2 in ("ST", "TX", "FT")},
    **{(v2, "Reference"): Conversion(display, "A Reference with only its display.") for v2 in ("ST", "TX", "FT")},
    **{(v2, to): Conversion(uri, "The text as a URI.") for v2 in ("ST", "ID", "IS") for to in ("uri", "url", "canonical")},
    **{(v2, "code"): Conversion(code, "The text as a code.", (1,)) for v2 in ("ST", "SI", "NM")},
    **{(v2, "id"): Conversion(id_, "The text as an id.", (1,)) for v2 in ("ST", "ID", "IS", "NM", "SI")},
    **{(v2, "boolean"): Conversion(yes_no, "Y or N.", (1,)) for v2 in ("ID", "IS", "ST", "CWE", "CE")},
}
