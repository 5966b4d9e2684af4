"""FHIRPath (https://hl7.org/fhirpath/N1/) as text → its tree; fhirpathpy brings the grammar, which repairs what it cannot read.

Here nothing is repaired: the first thing that is wrong is a ``SyntaxProblem`` with its column.
"""

from __future__ import annotations

from typing import Any

import fhirpathpy.parser

from interop_engine.mapping.syntax import SyntaxProblem

Tree = dict[str, Any]
_END = -1
_antlr: Any = fhirpathpy.parser  # has no types


class _Strict(_antlr.ErrorListener):  # type: ignore[misc]
    def syntaxError(self, recognizer: Any, offendingSymbol: Any, line: int, column: int, msg: str, e: Any) -> None:  # noqa: ARG002, N802, N803
        raise SyntaxProblem("this is not FHIRPath", column, "https://hl7.org/fhirpath, such as name.where(use = 'official')")


def parse(text: str) -> Tree:
    """The tree of an expression. Raises SyntaxProblem."""
    lexer = _antlr.FHIRPathLexer(_antlr.InputStream(text))
    lexer.removeErrorListeners()
    lexer.addErrorListener(_Strict())
    stream = _antlr.CommonTokenStream(lexer)
    parser = _antlr.FHIRPathParser(stream)
    parser.buildParseTrees = True
    parser.removeErrorListeners()
    parser.addErrorListener(_Strict())
    listener = _antlr.ASTPathListener()
    try:
        tree = parser.expression()
    except RecursionError:
        raise SyntaxProblem("nested too deeply", 0) from None
    rest = stream.LT(1)
    if rest.type != _END:
        raise SyntaxProblem(f'expected the end, found "{rest.text}"', rest.column)
    _antlr.ParseTreeWalker().walk(listener, tree)
    found: Tree = listener.parentStack[0]
    return found
