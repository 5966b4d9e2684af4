"""ED and RP → Attachment: type, data checked, size and SHA-1, or where the document is."""

from __future__ import annotations

import binascii
import hashlib
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from interop_engine.fhir.primitives import CHECKS, MEDIA_TYPE
from interop_engine.mapping.convert.base import Conversion, is_absolute, tidy
from interop_engine.mapping.convert.tables import data

if TYPE_CHECKING:
    from interop_engine.hl7.message import Segment, Value
    from interop_engine.mapping.context import Context

MOST_BYTES = 16 * 1024 * 1024
"""The largest document that is carried; of a larger one only type, size and hash are."""
_TYPES: dict[str, str] = data("media-types.yaml")
_MAGIC = (
    (b"%PDF", "application/pdf"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG", "image/png"),
    (b"{\\rtf", "application/rtf"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"PK\x03\x04", "application/zip"),
    (b"<?xml", "application/xml"),
)
_WHITE = str.maketrans("", "", " \t\r\n")


def _media_type(kind: str, subtype: str, content: bytes = b"") -> str:
    for text in (subtype, kind):
        low = text.lower()
        if found := _TYPES.get(low):
            return found
        if CHECKS[MEDIA_TYPE](low) is None:
            return low
    if found := next((name for start, name in _MAGIC if content.startswith(start)), ""):
        return found
    return "text/plain" if kind.upper() in ("TEXT", "TX", "FT", "ST") else "application/octet-stream"


def _decoded(text: str, encoding: str) -> bytes | None:
    """The document's bytes; None where the text is not in the encoding it says."""
    encoding = encoding.upper()
    if encoding in ("BASE64", "B64", "64"):
        return _base64(text)
    if encoding in ("HEX", "HEXADECIMAL"):
        try:
            return bytes.fromhex(text)
        except ValueError:
            return None
    if not encoding and len(text) > 16 and (found := _base64(text)) and any(found.startswith(start) for start, _ in _MAGIC):
        return found  # nothing is said, but what it decodes to says it
    return text.encode()


def _base64(text: str) -> bytes | None:
    try:
        return binascii.a2b_base64(text.translate(_WHITE).encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        return None


def ed(value: Value, context: Context, title: str = "") -> dict[str, Any] | None:
    """ED → Attachment. Data that are not what ED.4 says are left out, and an error says so."""
    kind, subtype, encoding = (tidy(value.get(n)) for n in (2, 3, 4))
    part = value.component(5)
    text = part.whole if part is not None else ""
    if not text:
        return None
    content = _decoded(text, encoding)
    if content is None:
        context.note("document-broken", "The document is not in the encoding ED.4 names; it is left out.", "5", severity="error")
        broken = {"contentType": _media_type(kind, subtype)}
        return {**broken, "title": title} if title else broken
    result: dict[str, Any] = {"contentType": _media_type(kind, subtype, content[:16])}
    if len(content) <= MOST_BYTES:
        result["data"] = b64encode(content).decode("ascii")
    else:
        context.note(
            "document-too-large", "The document is larger than is carried; only its size and hash are.", "5", severity="error"
        )
    result["size"] = len(content)
    result["hash"] = b64encode(hashlib.sha1(content, usedforsecurity=False).digest()).decode("ascii")
    if title:
        result["title"] = title
    return result


def rp(value: Value, context: Context, title: str = "") -> dict[str, Any] | None:
    """RP → Attachment with its URL; a pointer that is no absolute URL is only its title."""
    pointer = tidy(value.get(1)).replace(" ", "%20")
    if not pointer:
        return None
    kind, subtype = tidy(value.get(3)), tidy(value.get(4))
    result: dict[str, Any] = {}
    if kind or subtype:
        result["contentType"] = _media_type(kind, subtype)
    if is_absolute(pointer):
        result["url"] = pointer
        if title:
            result["title"] = title
    else:
        context.note(
            "pointer-not-absolute", "The pointer is no absolute URL; it is kept as the title.", "1", severity="information"
        )
        result["title"] = tidy(value.get(1))
    return result


def attachments(obx: Segment, context: Context) -> list[dict[str, Any]]:
    """OBX-5 by OBX-2 → Attachments, with the observation's name as title."""
    named = obx.value(3)
    title = (tidy(named.get(2)) or tidy(named.get(9)) or tidy(named.get(1))) if named is not None else ""
    convert = _BY_TYPE.get(obx.value_type)
    if convert is None:
        return []
    return [found for value in obx.repetitions(5) if (found := convert(value, context, title)) is not None]


_BY_TYPE = {"ED": ed, "RP": rp}

CONVERSIONS = {
    ("ED", "Attachment"): Conversion(ed, "An Attachment; the data are checked and have size and SHA-1.", (2, 3, 4, 5)),
    ("RP", "Attachment"): Conversion(rp, "An Attachment with its URL.", (1, 3, 4)),
}
