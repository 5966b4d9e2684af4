"""The functions of the mapping language: an explicit registry. Each says what it takes, what it gives and when it fails.

``takes``: ``text`` (each value as text), ``texts`` (all of them at once), ``values`` (HL7 v2 values, all at once), ``coded``
(FHIR CodeableConcept, Coding or code), ``any`` (works on whatever comes), ``nothing`` (begins an expression). The examples
in the docstrings run as tests. A text function that has nothing to say gives ``""``, which is no value.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from interop_engine.hl7.scalars import read_moment
from interop_engine.mapping.convert import BY_NAME, times, translated

if TYPE_CHECKING:
    from interop_engine.hl7.message import Value
    from interop_engine.mapping.context import Context

Takes = Literal["text", "texts", "values", "coded", "any", "nothing"]
Kind = Literal["text", "number", "table", "map", "expressions"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """An argument in parentheses: ``text`` and ``number`` are constants, ``table`` and ``map`` names of the site's."""

    name: str
    kind: Kind
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Function:
    """A function as the checker and the reference pages see it."""

    name: str
    takes: Takes
    gives: Literal["text", "one", "same", "coded"]
    call: Callable[..., Any]
    parameters: tuple[Parameter, ...] = ()
    of: str = ""  # the HL7 v2 data type it takes, where it takes values of one only
    context: bool = False  # its last argument is the Context
    fails: tuple[str, ...] = ()
    own: bool = False  # the site's own (``site_functions``)

    @property
    def signature(self) -> str:
        """As the reference writes it: ``substring(start, length?)``."""
        names = ", ".join(f"{p.name}?" if p.optional else p.name for p in self.parameters)
        return f"{self.name}({names})" if names else self.name


# --- Text ----------------------------------------------------------------------------------------------------------------


def upper(text: str) -> str:
    """In capitals.

    >>> upper("Nguyễn")
    'NGUYỄN'
    """
    return text.upper()


def lower(text: str) -> str:
    """In small letters.

    >>> lower("Đỗ")
    'đỗ'
    """
    return text.lower()


def trim(text: str) -> str:
    """Without spaces at its ends, and with single spaces within.

    >>> trim("  Lê   Lợi ")
    'Lê Lợi'
    """
    return " ".join(text.split())


def substring(text: str, start: int, length: int | None = None) -> str:
    """``length`` characters from ``start`` (counted from 1), or all the rest.

    >>> substring("24001-0007", 1, 5)
    '24001'
    >>> substring("24001-0007", 7)
    '0007'
    """
    return text[start - 1 : None if length is None else start - 1 + length]


def before(text: str, mark: str) -> str:
    """What stands before the first ``mark``; nothing where it is not there.

    >>> before("24001-0007", "-")
    '24001'
    >>> before("0007", "-")
    ''
    """
    head, found, _ = text.partition(mark)
    return head if found else ""


def after(text: str, mark: str) -> str:
    """What stands after the first ``mark``; nothing where it is not there.

    >>> after("24001-0007", "-")
    '0007'
    """
    return text.partition(mark)[2]


def part(text: str, mark: str, number: int) -> str:
    """Part ``number`` (from 1) of a text that ``mark`` splits; nothing where there are fewer.

    >>> part("Kim Mã/Ba Đình/Hà Nội", "/", 2)
    'Ba Đình'
    """
    parts = text.split(mark)
    return parts[number - 1] if number <= len(parts) else ""


def ended(text: str, context: Context) -> str:
    """Of ``START+NUMBER UNIT`` (``20260302083000+30 min``) the time when it is over, as FHIR writes it."""
    return times.ended(text, context.timezone)


def base64(text: str) -> str:
    """The text as the data of an Attachment: UTF-8, in base64.

    >>> base64("Phổi sáng")
    'UGjhu5VpIHPDoW5n'
    """
    return b64encode(text.encode()).decode("ascii")


def then(text: str, constant: str) -> str:
    """``constant``, where there is a value at all: what a field's mere presence says.

    >>> then("20260302065500", "finished")
    'finished'
    """
    return constant if text else ""


def digits(text: str) -> str:
    """Only the digits.

    >>> digits("(024) 3851-2345")
    '02438512345'
    """
    return re.sub(r"[^0-9]", "", text)


def replace(text: str, old: str, new: str) -> str:
    r"""Every ``old`` replaced by ``new``.

    >>> replace("0,5", ",", ".")
    '0.5'
    """
    return text.replace(old, new)


def date(text: str) -> str:
    """The day of an HL7 v2 time, as a FHIR date with the precision it was written with; nothing where it is no time.

    >>> date("20261121093000+0700")
    '2026-11-21'
    >>> date("202611")
    '2026-11'
    """
    moment = read_moment(text)
    if moment is None:
        return ""
    parts = [f"{moment.year:04d}"]
    if moment.month:
        parts.append(f"{moment.month:02d}")
        if moment.day:
            parts.append(f"{moment.day:02d}")
    return "-".join(parts)


def text(text: str) -> str:
    """The value as plain text, where its data type would have implied another form.

    >>> text("Glucose")
    'Glucose'
    """
    return text


def join(texts: Sequence[str], mark: str = "\n") -> str:
    r"""All values in one text, with ``mark`` (a line break) between.

    >>> join(["Hồng cầu bình thường.", "Bạch cầu tăng."], " ")
    'Hồng cầu bình thường. Bạch cầu tăng.'
    """
    return mark.join(texts)


def concat(*texts: str) -> str:
    """Its arguments one after the other; nothing where every path among them is empty.

    >>> concat("Nguyễn", " ", "An")
    'Nguyễn An'
    """
    return "".join(texts)


# --- Codes -----------------------------------------------------------------------------------------------------------------


def table(text: str, name: str, context: Context) -> str:
    """The code that the table ``name`` (the site's, or a shipped one) gives, by the table's own policy where it gives none."""
    found = context.scope.tables.get(name) or BY_NAME.get(name)
    if found is None:
        return ""
    target = found.entries.get(text) or found.entries.get(text.upper())
    if target is not None:
        return target.code
    if (condition := found.parks.get(text)) is not None:
        context.refuse(condition, f"a code of {name} after which there is nothing to map")
        return ""
    context.unknown_code(name, found.source, text)
    if found.default is not None:
        return found.default.code
    if found.unmapped == "keep":
        return text
    context.note("code-unmapped", f"The code has no target in {name}; it is left out.")
    return ""


def translate(coded: Any, name: str, context: Context) -> Any:
    """Adds the codings that the concept map ``name`` gives; the sender's own coding stays, first."""
    found = context.scope.terminology.get(name)
    return coded if found is None else translated(coded, found, context)


# --- Identity --------------------------------------------------------------------------------------------------------------

_CIVIL = frozenset({"NI", "NN", "PPN", "SS", "DL", "CZ", "NH", "HC", "JHN", "MC", "MA", "PNT", "TAX", "PRC"})


def own_number(numbers: Sequence[Value], context: Context) -> Value | None:
    """Of a patient's identifiers the hospital's own.

    That of the channel's authority and type; else MR, else PI, else the first of no national or foreign type.
    """
    scope = context.scope
    filled = [number for number in numbers if number.get(1)]
    if scope.authority or scope.identifier_type:
        for number in filled:
            if scope.authority in ("", number.get(4)) and scope.identifier_type in ("", number.get(5)):
                return number
    for wanted in ("MR", "PI"):
        for number in filled:
            if number.get(5) == wanted:
                return number
    foreign = _CIVIL | scope.naming.foreign
    return next((number for number in filled if number.get(5) not in foreign and not _national(number.get(5))), None)


def _national(kind: str) -> bool:
    return len(kind) == 5 and kind.startswith("NN")  # NNxxx: a national number of country xxx (HL7 table 0203)


# --- The registry ------------------------------------------------------------------------------------------------------------


def _never(*_: Any) -> Any:
    raise AssertionError("the compiler writes this one out")


_MARK = Parameter("mark", "text")
_EMPTY = "the value is empty"

_ALL: Iterable[Function] = (
    Function("first", "any", "one", _never),
    Function("last", "any", "one", _never),
    Function("required", "any", "same", _never, fails=("nothing is there: the message parks (101)",)),
    Function("upper", "text", "text", upper),
    Function("lower", "text", "text", lower),
    Function("trim", "text", "text", trim),
    Function(
        "substring", "text", "text", substring, (Parameter("start", "number"), Parameter("length", "number", optional=True))
    ),
    Function("before", "text", "text", before, (_MARK,), fails=("the mark is not there",)),
    Function("after", "text", "text", after, (_MARK,), fails=("the mark is not there",)),
    Function("part", "text", "text", part, (_MARK, Parameter("number", "number")), fails=("there are fewer parts",)),
    Function("ended", "text", "text", ended, fails=("the start has no time of day",), context=True),
    Function("base64", "text", "text", base64, fails=(_EMPTY,)),
    Function("then", "text", "text", then, (Parameter("constant", "text"),), fails=(_EMPTY,)),
    Function("digits", "text", "text", digits),
    Function("replace", "text", "text", replace, (Parameter("old", "text"), Parameter("new", "text"))),
    Function("date", "text", "text", date, fails=("the value is no HL7 v2 time",)),
    Function("text", "text", "text", text),
    Function("join", "texts", "text", join, (Parameter("mark", "text", optional=True),), fails=(_EMPTY,)),
    Function("concat", "nothing", "text", concat, (Parameter("parts", "expressions"),), fails=("every path is empty",)),
    Function(
        "table",
        "text",
        "text",
        table,
        (Parameter("name", "table"),),
        fails=("the table has no target for the code",),
        context=True,
    ),
    Function("translate", "coded", "coded", translate, (Parameter("map", "map"),), context=True),
    Function("own_number", "values", "text", own_number, of="CX", context=True, fails=("no identifier is the hospital's own",)),
)
FUNCTIONS: dict[str, Function] = {function.name: function for function in _ALL}
