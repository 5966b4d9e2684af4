"""What a test case expects, and what it is told where that does not hold.

Of a bundle it is said in FHIRPath (https://hl7.org/fhirpath/), of a message as a condition of the mapping language.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from interop_engine.core.diagnostics import Mark
from interop_engine.mapping import rules

if TYPE_CHECKING:
    from interop_engine.core.model import Resource
    from interop_engine.hl7.message import Message
    from interop_engine.mapping.context import Scope

_COMPARISON = re.compile(r" (=|!=|~|!~|<=?|>=?|in|contains) ")
_AND = re.compile(r" and ")
_Evaluate = Callable[[str], Any]


def failures(expectations: Sequence[str], bundle: Resource) -> Iterator[str]:
    """A text for each expectation that does not hold: the expectation, and below it what its left side is."""
    if not expectations:
        return
    import fhirpathpy  # noqa: PLC0415 - its grammar takes a tenth of a second to load, which only cases need
    from fhirpathpy.models import models  # noqa: PLC0415

    def evaluate(path: str) -> Any:
        return fhirpathpy.evaluate(bundle, path, model=models["r4"])

    for expectation in expectations:
        try:
            value = evaluate(expectation)
        except Exception as error:  # noqa: BLE001 - the library raises bare Exception for a wrong path
            yield f"{expectation}\n    is no FHIRPath: {error}"
            continue
        if value != [True]:
            yield "\n    ".join([expectation, *_reasons(expectation, evaluate)])


def message_failures(expectations: Sequence[str], message: Message, scope: Scope) -> Iterator[str]:
    """The same of a message: ``OBX[2]-5 = '5.20'``. Table names are those of the site."""
    nowhere = Mark("", 1, 1)
    for expectation in expectations:
        holds, mistakes = rules.condition(expectation, nowhere, tuple(scope.tables))
        if holds is None or mistakes:
            yield "\n    ".join([expectation, *(mistake.message for mistake in mistakes)])
        elif not holds(message, scope):
            left = _split(expectation, _COMPARISON)[0]
            values, _ = rules.values(left, nowhere, tuple(scope.tables))
            found = values(message, scope) if values is not None else ()
            yield (
                f"{expectation}\n    the left side is {_shown(list(found))}" if found else f"{expectation}\n    it gives nothing"
            )


def _reasons(expectation: str, evaluate: _Evaluate) -> Iterator[str]:
    """Of what is joined by ``and`` each part that does not hold, with the value of its left side."""
    parts = _split(expectation, _AND)
    for part in parts:
        if evaluate(part) == [True]:
            continue
        sides = _split(part, _COMPARISON)
        value = evaluate(sides[0])
        what = "the left side" if len(sides) > 1 else "it"
        where = f"{part.strip()}: " if len(parts) > 1 else ""
        yield f"{where}{what} {f'is {_shown(value)}' if value else 'gives nothing'}"


def _shown(value: Any) -> str:
    one = value[0] if len(value) == 1 else value
    return json.dumps(one, default=str, ensure_ascii=False)


def _split(text: str, operator: re.Pattern[str]) -> list[str]:
    """The text cut at an operator that stands in no quotes or brackets."""
    depth, quote, start, found = 0, "", 0, []
    for index, character in enumerate(text):
        if quote:
            quote = "" if character == quote and text[index - 1] != "\\" else quote
        elif character in "'`":
            quote = character
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif not depth and (match := operator.match(text, index)):
            found.append(text[start:index])
            start = match.end()
    return [*found, text[start:]]
