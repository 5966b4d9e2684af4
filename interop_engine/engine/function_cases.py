"""The examples in the docstrings of a site's own functions, as test cases."""

from __future__ import annotations

import doctest
import inspect

from interop_engine.core.diagnostics import Mark
from interop_engine.engine.cases import CaseResult
from interop_engine.mapping.site_functions import SiteFunction, installed


def run() -> list[CaseResult]:
    """One result a function that is installed: it can be used, has examples, and they hold."""
    return [CaseResult("function", own.name, _mark(own), tuple(_failures(own))) for own in installed().values()]


def _mark(own: SiteFunction) -> Mark:
    """Where it is written; where that is not known, whose it is."""
    try:
        assert own.written is not None
        return Mark(inspect.getsourcefile(own.written) or own.origin, inspect.getsourcelines(own.written)[1], 1)
    except (AssertionError, OSError, TypeError):
        return Mark(own.origin, 1, 1)


def _failures(own: SiteFunction) -> list[str]:
    if own.function is None or own.written is None:
        return [f"it cannot be used: {own.trouble}"]
    names = {**getattr(own.written, "__globals__", {}), own.name: own.written}
    examples = doctest.DocTestParser().get_doctest(inspect.getdoc(own.written) or "", names, own.name, None, 0)
    if not examples.examples:
        return ["its docstring has no example: >>> name(...) and below it what that gives"]
    said: list[str] = []
    doctest.DocTestRunner(verbose=False).run(examples, out=said.append)
    return ["".join(said)] if said else []
