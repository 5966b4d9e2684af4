"""A site's own functions, in Python: where the language has no word for something, a package of the site's adds one.

A package that is installed beside the engine names them as entry points of the group ``interop_engine.functions``::

    [project.entry-points."interop_engine.functions"]
    ward_code = "our_hospital.wards:ward_code"

A function takes one text (``str``), or all of them (``list[str]``), then constants (``str``, or ``int`` from 1), and gives a
text, or None for no value. It is called as ``PV1-3.1 | ward_code('K')``. It must be pure: no clock, no network, nothing that
changes between two calls. The examples in its docstring are run by ``interop-engine test``. One that fails parks the
message and is named; its text of an exception is not kept, since that may hold patient data.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Literal

from interop_engine.mapping.functions import FUNCTIONS, Function, Kind, Parameter

if TYPE_CHECKING:
    from interop_engine.mapping.context import Context

GROUP = "interop_engine.functions"
FAILED = "207"
"""The condition of HL7 table 0357 under which a message parks when a site's function fails: an internal error."""

_TAKES: Sequence[tuple[Any, Literal["text", "texts"]]] = ((str, "text"), (list[str], "texts"), (Sequence[str], "texts"))
_CONSTANTS: Sequence[tuple[Any, Kind]] = ((str, "text"), (int, "number"), (str | None, "text"), (int | None, "number"))


@dataclass(frozen=True, slots=True)
class SiteFunction:
    """An entry point: the function as the checker sees it, or why it cannot be used.

    ``origin`` says whose it is: the distribution with its version, and the object.
    """

    name: str
    origin: str
    written: Callable[..., Any] | None = None
    function: Function | None = None
    trouble: str = ""

    @property
    def doc(self) -> str:
        """The first line of its docstring."""
        return (inspect.getdoc(self.written) or "").partition("\n")[0] if self.written is not None else ""


class _UnfitError(Exception):
    """The function is not of a form that a mapping can call."""


@cache
def installed() -> Mapping[str, SiteFunction]:
    """The site's functions by name. Read once: a package that is installed later counts from the next start."""
    found: dict[str, SiteFunction] = {}
    for point in entry_points(group=GROUP):
        found[point.name] = _twice(point, found[point.name]) if point.name in found else _read(point)
    return {name: found[name] for name in sorted(found)}


def usable() -> Iterator[str]:
    """The names a mapping may use."""
    return (name for name, each in installed().items() if each.function is not None)


def _origin(point: EntryPoint) -> str:
    package = f"{point.dist.name} {point.dist.version}" if point.dist is not None else "no package"
    return f"{package} ({point.value})"


def _twice(point: EntryPoint, other: SiteFunction) -> SiteFunction:
    return SiteFunction(point.name, _origin(point), trouble=f"{other.origin} gives one of the same name")


def _read(point: EntryPoint) -> SiteFunction:
    origin = _origin(point)
    try:
        written = point.load()
    except Exception as error:  # noqa: BLE001 - what a site's module raises while it is loaded is its own affair
        return SiteFunction(point.name, origin, trouble=f"it cannot be loaded: {type(error).__name__}: {error}")
    try:
        return SiteFunction(point.name, origin, written, _function(point.name, written))
    except _UnfitError as error:
        return SiteFunction(point.name, origin, written, trouble=str(error))


def _function(name: str, written: Any) -> Function:
    if name in FUNCTIONS:
        raise _UnfitError("the language has a function of that name")
    if not (name.isidentifier() and name.isascii()):
        raise _UnfitError("its name is no word: letters, digits and _")
    try:
        signature = inspect.signature(written, eval_str=True)
    except (TypeError, ValueError, NameError) as error:
        raise _UnfitError(f"its signature cannot be read: {error}") from error
    first, *more = [*signature.parameters.values()] or [inspect.Parameter("nothing", inspect.Parameter.KEYWORD_ONLY)]
    takes = next((kind for type_, kind in _TAKES if first.annotation == type_), None)
    if takes is None:
        raise _UnfitError("its first parameter is to be a str, or a list[str]")
    if signature.return_annotation not in (str, str | None):
        raise _UnfitError("it is to give a str, or str | None")
    parameters = tuple(_parameter(each) for each in more)
    return Function(name, takes, "text", _guarded(name, written), parameters, context=True, fails=("it raises",), own=True)


def _parameter(written: inspect.Parameter) -> Parameter:
    kind = next((kind for type_, kind in _CONSTANTS if written.annotation == type_), None)
    if kind is None or written.kind not in (written.POSITIONAL_ONLY, written.POSITIONAL_OR_KEYWORD):
        raise _UnfitError(f'its parameter "{written.name}" is to be a str or an int, by position')
    return Parameter(written.name, kind, optional=written.default is not written.empty)


def _guarded(name: str, written: Callable[..., Any]) -> Callable[..., str]:
    """The function as a mapping calls it, the context last: whatever it does, the engine goes on."""

    def call(value: Any, *more: Any) -> str:
        *constants, context = more
        try:
            found = written(value, *constants)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - as promised above
            _refuse(context, name, f"failed: {type(error).__name__}{_line(error)}")
            return ""
        if found is None or isinstance(found, str):
            return found or ""
        _refuse(context, name, f"gave {type(found).__name__} instead of a text")
        return ""

    return call


def _refuse(context: Context, name: str, what: str) -> None:
    context.refuse(FAILED, f"the site's function {name} {what}")


def _line(error: BaseException) -> str:
    """Where it was raised, by file and line: never what about."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f", {trace.tb_frame.f_code.co_filename.rpartition('/')[2]} line {trace.tb_lineno}" if trace is not None else ""
