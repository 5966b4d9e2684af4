"""What a Reference's text says, and whether a bundle's references resolve in it.

https://hl7.org/fhir/R4/references.html#literal, https://hl7.org/fhir/R4/bundle.html#references
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from interop_engine.fhir.definitions import is_resource

_LOCAL = re.compile(r"([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?(#.*)?")
_CONDITIONAL = re.compile(r"([A-Z][A-Za-z]+)\?\S+")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_UUID = re.compile(r"urn:uuid:[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Reading(NamedTuple):
    """A reference's form: "local" (Type/id), "absolute", "uuid", "contained", "conditional", "other" (urn:oid…), "" if malformed.

    ``type_`` is the type it names, "" when it names none; ``target`` is what it resolves to, without the version.
    """

    form: str
    type_: str = ""
    target: str = ""


@lru_cache(maxsize=4096)
def read_reference(text: str) -> Reading:
    """The form, type and target of a reference's text."""
    if text.startswith("#"):
        return Reading("contained", "", text[1:])
    if match := _LOCAL.fullmatch(text):
        return Reading("local", match[1], f"{match[1]}/{match[2]}") if is_resource(match[1]) else Reading("")
    if text.startswith("urn:"):
        return _read_urn(text)
    if match := _CONDITIONAL.fullmatch(text):
        return Reading("conditional", match[1]) if is_resource(match[1]) else Reading("")
    if _SCHEME.match(text):
        parts = text.partition("/_history/")[0].split("/")
        type_ = parts[-2] if len(parts) > 3 and is_resource(parts[-2]) else ""
        return Reading("absolute", type_, "/".join(parts))
    return Reading("")


def _read_urn(text: str) -> Reading:
    if text.startswith("urn:uuid:"):
        return Reading("uuid", "", text) if _UUID.fullmatch(text) else Reading("")
    return Reading("other", "", text)
