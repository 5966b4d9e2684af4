"""The grammar of expressions and conditions: text in, a tree with columns out. Nothing here knows HL7 or FHIR names.

    expression  = option ("??" option)* ("|" call)*             ?? binds tighter than |
    option      = path | "'text'" | call | "->" name [ "(" expression ("," expression)* ")" ] | "(" expression ")"
    call        = name [ "(" argument ("," argument)* ")" ]
    argument    = expression | name | number
    path        = SEG [ "[" choice "]" ] [ "-" (number | name) [ "[" choice "]" ] ("." number){0,2} ]
                | "." [number …] | "-" number …        relative: the value at hand, its component; a field of the segment at hand
    choice      = number | condition
    condition   = conjunction ("or" conjunction)*
    conjunction = negation ("and" negation)*
    negation    = ["not"] test
    test        = "exists(" path ")" | "deleted(" path ")" | "matches(" expression "," text ")"
                | ("any" | "all") "(" comparison ")" | operand [comparison] | "(" condition ")"
    comparison  = ("=" | "!=" | "<" | "<=" | ">" | ">=") operand | ["not"] "in" "[" text ("," text)* "]"

A scalar that begins with "=" is a ``Literal`` to its end and never comes here.
"""

from __future__ import annotations

from interop_engine.mapping.syntax import (
    Call,
    Coalesce,
    Comparison,
    Condition,
    Expression,
    FieldPath,
    Junction,
    Literal,
    Not,
    Pipe,
    Reference,
    SyntaxProblem,
    Test,
    Text,
    Word,
)
from interop_engine.mapping.tokens import Token, tokens

__all__ = [
    "Call",
    "Coalesce",
    "Comparison",
    "Condition",
    "Expression",
    "FieldPath",
    "Junction",
    "Literal",
    "Not",
    "Pipe",
    "Reference",
    "SyntaxProblem",
    "Test",
    "Text",
    "Word",
    "parse_condition",
    "parse_expression",
]

_COMPARISONS = frozenset({"=", "!=", "<", "<=", ">", ">="})
_KEYWORDS = frozenset({"and", "or", "not", "in"})
_TESTS = frozenset({"exists", "deleted", "matches", "any", "all"})
_MAX_DEPTH = 40


def parse_expression(text: str) -> Expression:
    """Read an expression. Raises SyntaxProblem with the column of the first thing that is wrong."""
    stripped = text.lstrip()
    if stripped.startswith("="):
        return Literal(stripped[1:], len(text) - len(stripped))
    parser = _Parser(text)
    result = parser.expression()
    parser.end()
    return result


def parse_condition(text: str) -> Condition:
    """Read a condition. Raises SyntaxProblem."""
    parser = _Parser(text)
    result = parser.condition()
    parser.end()
    return result


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = tokens(text)
        self._at = 0
        self._depth = 0

    # --- tokens ----------------------------------------------------------------------------------------------------

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._tokens[self._at]
        if token.kind != "end":
            self._at += 1
        return token

    def _is(self, *texts: str) -> bool:
        token = self._next
        return token.kind in ("sign", "word") and token.text in texts

    def _glued(self, text: str) -> bool:
        """Whether ``text`` follows without a space, as the parts of a path do."""
        return self._is(text) and self._at > 0 and self._tokens[self._at - 1].end == self._next.start

    def _expect(self, text: str, hint: str = "") -> Token:
        if not self._is(text):
            raise self._unexpected(f'"{text}"', hint)
        return self._take()

    def _unexpected(self, wanted: str, hint: str = "") -> SyntaxProblem:
        token = self._next
        found = "the end" if token.kind == "end" else f'"{token.text}"'
        return SyntaxProblem(f"expected {wanted}, found {found}", token.start, hint)

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise SyntaxProblem(f"nested deeper than {_MAX_DEPTH} levels", self._next.start)

    def end(self) -> None:
        if self._next.kind != "end":
            raise self._unexpected("the end")

    # --- expressions -----------------------------------------------------------------------------------------------

    def expression(self) -> Expression:
        self._deeper()
        column = self._next.start
        options = [self._option()]
        while self._is("??"):
            self._take()
            options.append(self._option())
        result: Expression = options[0] if len(options) == 1 else Coalesce(tuple(options), column)
        while self._is("|"):
            self._take()
            result = Pipe(result, self._call(), column)
        self._depth -= 1
        return result

    def _option(self) -> Expression:
        token = self._next
        if token.kind == "segment" or (token.kind == "sign" and token.text in (".", "-")):
            return self._path()
        if token.kind == "text":
            self._take()
            return Text(token.text[1:-1].replace("''", "'"), token.start)
        if token.kind == "number":
            self._take()
            return Text(token.text, token.start)
        if token.kind == "word" and token.text not in _KEYWORDS:
            return self._call()
        if self._is("->"):
            self._take()
            name = self._next
            if name.kind != "word":
                raise self._unexpected("the name of a resource")
            self._take()
            return Reference(name.text, token.start, self._key() if self._glued("(") else ())
        if self._is("("):
            self._take()
            inner = self.expression()
            self._expect(")")
            return inner
        raise self._unexpected("a path, a text in quotes or a function")

    def _call(self) -> Call:
        name = self._next
        if name.kind != "word" or name.text in _KEYWORDS:
            raise self._unexpected("the name of a function", "| first, | join, | translate(MAP)")
        self._take()
        arguments: list[Expression] = []
        if self._is("("):
            self._take()
            while not self._is(")"):
                arguments.append(self._argument())
                if not self._is(")"):
                    self._expect(",")
            self._take()
        return Call(name.text, tuple(arguments), name.start)

    def _key(self) -> tuple[Expression, ...]:
        """The values in parentheses after ``-> name``."""
        self._take()
        values = [self.expression()]
        while not self._is(")"):
            self._expect(",")
            values.append(self.expression())
        self._take()
        return tuple(values)

    def _argument(self) -> Expression:
        token, after = self._next, self._tokens[min(self._at + 1, len(self._tokens) - 1)]
        if token.kind == "word" and after.text in (",", ")") and after.kind == "sign":
            self._take()
            return Word(token.text, token.start)
        return self.expression()

    # --- paths -----------------------------------------------------------------------------------------------------

    def _path(self) -> FieldPath:
        start = self._next.start
        segment, segment_choice = "", None
        if self._next.kind == "segment":
            segment = self._take().text
            if self._glued("["):
                segment_choice = self._choice()
            if not self._glued("-"):
                return FieldPath(segment, segment_choice, None, None, None, None, start)
        if self._is("."):
            if self._tokens[self._at + 1].kind != "number":
                self._take()
                return FieldPath("", None, None, None, None, None, start)  # the value itself
            return FieldPath("", None, None, None, *self._components(), start)
        self._take()  # the "-"
        field, component, subcomponent = self._field()
        field_choice = None
        if self._glued("["):
            if component is not None:
                raise SyntaxProblem("a repetition stands after the field, before the component", self._next.start, "PID-3[2].1")
            field_choice = self._choice()
        if self._glued("."):
            if subcomponent is not None or (component is not None and field_choice is None):
                raise self._unexpected("the end of the path")
            component, subcomponent = self._components()
        return FieldPath(segment, segment_choice, field, field_choice, component, subcomponent, start)

    def _field(self) -> tuple[int | str, int | None, int | None]:
        token = self._next
        if token.kind == "word":
            self._take()
            return token.text, None, None
        if token.kind != "number":
            raise self._unexpected("the number or the name of a field")
        self._take()
        numbers = self._numbers(token, 3)
        return numbers[0], *(numbers[1:] + [None] * (3 - len(numbers)))  # type: ignore[return-value]

    def _components(self) -> tuple[int, int | None]:
        self._expect(".")
        token = self._next
        if token.kind != "number":
            raise self._unexpected("the number of a component")
        self._take()
        numbers = self._numbers(token, 2)
        return numbers[0], numbers[1] if len(numbers) > 1 else None

    def _numbers(self, token: Token, most: int) -> list[int]:
        numbers = [int(part) for part in token.text.split(".")]
        if len(numbers) > most:
            raise SyntaxProblem("a path ends with the subcomponent", token.start, "PID-3.4.1")
        if 0 in numbers:
            raise SyntaxProblem("fields, components and repetitions count from 1", token.start)
        return numbers

    def _choice(self) -> int | Condition:
        self._expect("[")
        token = self._next
        after = self._tokens[self._at + 1] if token.kind == "number" else token
        if token.kind == "number" and after.text == "]" and "." not in token.text:
            self._take()
            chosen: int | Condition = int(token.text)
            if chosen == 0:
                raise SyntaxProblem("fields, components and repetitions count from 1", token.start)
        else:
            chosen = self.condition()
        self._expect("]")
        return chosen

    # --- conditions ------------------------------------------------------------------------------------------------

    def condition(self) -> Condition:
        return self._junction("or", lambda: self._junction("and", self._negation))

    def _junction(self, word: str, operand) -> Condition:  # type: ignore[no-untyped-def] # noqa: ANN001
        self._deeper()
        column = self._next.start
        operands = [operand()]
        while self._is(word):
            self._take()
            operands.append(operand())
        self._depth -= 1
        return operands[0] if len(operands) == 1 else Junction(word, tuple(operands), column)

    def _negation(self) -> Condition:
        if self._is("not"):
            column = self._take().start
            return Not(self._negation(), column)
        return self._test()

    def _test(self) -> Condition:
        token = self._next
        if token.kind == "word" and token.text in _TESTS:
            return self._named_test()
        if self._is("("):
            found = self._parenthesised()
            if found is not None:
                return found
        return self._comparison()

    def _parenthesised(self) -> Condition | None:
        """A condition in parentheses; None where they hold an operand, with nothing taken."""
        start, depth = self._at, self._depth
        try:
            self._take()
            inner = self.condition()
            self._expect(")")
        except SyntaxProblem:
            self._at, self._depth = start, depth
            if self._operand_in_parentheses():
                return None
            raise
        return inner

    def _operand_in_parentheses(self) -> bool:
        start, depth = self._at, self._depth
        try:
            self.expression()
            return self._is(*_COMPARISONS, "in", "not")
        except SyntaxProblem:
            return False
        finally:
            self._at, self._depth = start, depth

    def _named_test(self) -> Condition:
        name = self._take()
        self._expect("(")
        pattern = ""
        subject: Expression | Condition = self._comparison() if name.text in ("any", "all") else self.expression()
        if name.text == "matches":
            self._expect(",")
            token = self._next
            if token.kind != "text":
                raise self._unexpected("a pattern in quotes")
            self._take()
            pattern = token.text[1:-1].replace("''", "'")
        self._expect(")")
        return Test(name.text, subject, pattern, name.start)

    def _comparison(self) -> Comparison:
        column = self._next.start
        left = self.expression()
        if self._is("in", "not"):
            operator = "in"
            if self._take().text == "not":
                self._expect("in")
                operator = "not in"
            return Comparison(operator, left, self._list(), column)
        if not self._is(*_COMPARISONS):
            raise self._unexpected("a comparison (= != < <= > >= in)")
        operator = self._take().text
        return Comparison(operator, left, (self.expression(),), column)

    def _list(self) -> tuple[Expression, ...]:
        self._expect("[", "in takes a list: OBX-2 in ['ED', 'RP']; one text is compared with =")
        items: list[Expression] = []
        while not self._is("]"):
            items.append(self.expression())
            if not self._is("]"):
                self._expect(",")
        if not items:
            raise self._unexpected("a text in quotes")
        self._take()
        return tuple(items)
