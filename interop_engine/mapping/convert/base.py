"""What all conversions share: their type, and text as FHIR's primitives want it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from interop_engine.fhir.primitives import CHECKS

if TYPE_CHECKING:
    from interop_engine.hl7.message import Segment, Value
    from interop_engine.mapping.context import Context

_T = TypeVar("_T")

URN = "urn:interop-engine:"
SOURCE_CODE = URN + "source-code"
"""Extension (valueCoding): the HL7 v2 code as sent, where the FHIR code says less."""
SOURCE_TEXT = URN + "source-text"
"""Extension (valueString): the text as sent, where the FHIR value says less."""
PRECISION = URN + "precision"
"""Extension (valueCode): the precision that was sent, where FHIR wants more."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """One HL7 v2 value → one FHIR value (JSON types, Decimal for numbers), or None where nothing can be said.

    ``reads`` are the components it reads, () for all of them: the others are on the loss ledger. ``doc`` is one line
    of the reference. What a conversion cannot keep is a finding in the context.
    """

    function: Callable[[Value, Context], Any]
    doc: str
    reads: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Companion:
    """A field that is only understood with others of its segment (OBX-5 with OBX-2 and OBX-6).

    ``function`` gives the value for ``element``. For a choice it gives (type with a capital, value): ``("Quantity",
    {...})`` becomes ``valueQuantity``. ``fields`` are the fields it reads. ``choice`` says which of the two it is;
    ``many`` that the value is a list; ``common`` that few values of the fields make up most of the traffic.
    """

    function: Callable[[Segment, Context], Any]
    doc: str
    fields: tuple[int, ...]
    choice: bool = False
    many: bool = False
    common: bool = False


Table = Mapping[tuple[str, str], Conversion]

_LINES = {13: "\n", 0x85: "\n", 0x2028: "\n", 0x2029: "\n"}
_SPACES = dict.fromkeys((0xA0, 0x1680, 0x202F, 0x205F, 0x3000, *range(0x2000, 0x200B)), " ")
_CONTROLS = dict.fromkeys((c for c in range(32) if c not in (9, 10, 13)), None)
_FOR_FHIR = {**_CONTROLS, 127: None, **_SPACES, **_LINES}


def tidy(text: str) -> str:
    r"""Text as a FHIR string allows it: no control characters but tab and line feed, no space around it.

    ``\r\n`` is one line break; a no-break space is a space.
    """
    if not text.isprintable():
        text = text.replace("\r\n", "\n").translate(_FOR_FHIR)
    return text.strip()


def code_text(text: str) -> str:
    """Text as a FHIR code allows it: single spaces inside, none around it."""
    text = tidy(text)
    if " " in text or not text.isprintable():
        return " ".join(text.split())
    return text


def uri_text(text: str) -> str:
    """Text as a FHIR uri allows it, empty where it has a space inside, or says that it is an OID or a UUID and is none."""
    text = tidy(text)
    return "" if CHECKS["uri"](text) else text


def whole(value: Value) -> str:
    """All of a value as FHIR text: separators the sender did not escape survive."""
    return tidy(value.whole)


def is_absolute(uri: str) -> bool:
    """Whether a text is a uri of FHIR with a scheme (RFC 3986) that is not a drive letter."""
    scheme, colon, rest = uri.partition(":")
    named = bool(colon and rest and len(scheme) > 1 and scheme[0].isalpha() and scheme.isascii() and scheme.isalnum())
    return named and CHECKS["uri"](uri) is None


def absolute(convert: Callable[[Value, Context], Any]) -> Callable[[Value, Context], str | None]:
    """The same conversion into a uri that names a system: left out where it has no scheme."""

    def run(value: Value, context: Context) -> str | None:
        found: str | None = convert(value, context)
        if found is None or is_absolute(found):
            return found
        context.note("not-a-system", "The text is no absolute URI, which a system needs; it is left out.")
        return None

    return run


_MOST_REMEMBERED = 20_000
_LONGEST_REMEMBERED = 300


def remember(memo: dict[Any, Any], key: Any, value: Any) -> None:
    """Keep a value in a scope's memo, which is emptied when it is full."""
    if len(memo) >= _MOST_REMEMBERED:
        memo.clear()
    memo[key] = value


def remembered(convert: Callable[[Value, Context], _T]) -> Callable[[Value, Context], _T]:
    """The same conversion, which gives the very value it gave before for the same text in the same scope.

    For codes and people, which come back in every message. ``convert`` must be pure and have nothing to find fault with.
    The value is shared between messages: nobody may change it, as nobody changes FHIR content once it is made.
    """

    def run(value: Value, context: Context) -> _T:
        raw = value.raw
        if len(raw) > _LONGEST_REMEMBERED:
            return convert(value, context)
        memo = context.scope.memo
        key = (convert, raw, value.level, value.delimiters)
        found: _T = memo.get(key, memo)  # the memo itself stands for "never asked": None is an answer
        if found is memo:
            found = convert(value, context)
            remember(memo, key, found)
        return found

    return run
