"""The short cut for what is right, which is nearly everything: msgspec looks at a resource in C and only has to say yes.

It says True only where ``structure.py`` finds no fault (a test holds the two together); False says nothing, and
``structure.py`` then looks for itself. So what is rare is simply left out here: contained resources, extensions nested twice,
ids of elements, references that are not Type/id, siblings of primitives ("_birthDate") but for times and the codes of resources,
where converters say what was sent, and of a concept with a required binding all but the codes of that one system.

Each type becomes a msgspec struct, built the first time a message needs it: names, JSON types, cardinality and codes are
checked in C. What is left (lexical rules, one form of a choice, not empty, invariants) is one generated method a struct, which
msgspec calls; a method in place of msgspec's patterns because ``str.isprintable`` costs a third of a pattern's search.

There are two forms. ``accepts`` asks for everything. ``holds`` leaves the lexical rules to the converters, which make nothing
that breaks them: it is for what this program has just made, and most of its structs need no method at all.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from keyword import iskeyword
from operator import attrgetter
from typing import Annotated, Any, Literal, NamedTuple, Union

import msgspec

from interop_engine.fhir import definitions
from interop_engine.fhir.definitions import PRIMITIVES, ElementDef
from interop_engine.fhir.invariants import RULES, Rule
from interop_engine.fhir.primitives import ABSOLUTE, CHECKS, LARGEST_INTEGER, LONGEST_STRING, lexical_kind

# What decides most values of a primitive at once (v is a str, not empty); the others get the check of primitives.py.
_QUICK = {
    "canonical": "v.isprintable() and ' ' not in v and v[:4] != 'urn:'",
    "code": "v.isprintable() and ' ' not in v",
    "decimal": "v.__class__ is int or v.is_finite()",
    "markdown": "v.isprintable() and v[0] != ' '",
    "string": "v.isprintable() and v[0] != ' '",
    "uri": "v.isprintable() and ' ' not in v and v[:4] != 'urn:'",
    "url": "v.isprintable() and ' ' not in v and v[:4] != 'urn:'",
    ABSOLUTE: "v.isprintable() and ' ' not in v and ':' in v and v[:4] != 'urn:'",
}
_TEXTS = frozenset(
    {"base64Binary", "canonical", "code", "date", "dateTime", "id", "instant", "markdown"}
    | {"oid", "string", "time", "uri", "url", "uuid", "xhtml"}
)
_WHOLE = {"integer": -LARGEST_INTEGER - 1, "unsignedInt": 0, "positiveInt": 1}
_REFERENCE = r"\A(?:{names})/[A-Za-z0-9\-.]{{1,64}}\Z"
_FEW = 12  # of the types a reference may name: so many are sooner tried than looked up
_AS_THEY_ARE = (Decimal,)  # no string and no float becomes one

# Asked for here, though optional: who has it is not empty (ele-1), so nothing further need look.
_USUAL = {"Bundle.entry": "resource", "Coding": "code", "Identifier": "value", "Quantity": "value"}
_EXTENSION_VALUES = frozenset(
    {
        "boolean",
        "code",
        "date",
        "dateTime",
        "decimal",
        "instant",
        "integer",
        "string",
        "uri",
        "Address",
        "Coding",
        "CodeableConcept",
        "Quantity",
    }
)
_PART = "part"  # the profile of an extension that is in another: it has a value
_OFTEN = ("Observation", "Patient", "Specimen", "ServiceRequest", "DiagnosticReport", "Encounter", "Practitioner", "Organization")


class _Structs:
    """The structs of one form, each made when first met. ``lexical``: whether it asks for the lexical rules."""

    def __init__(self, *, lexical: bool) -> None:
        self._lexical = lexical
        self._built: dict[tuple[str, bool, str], Any] = {}
        self._referring: dict[tuple[str, ...], Any] = {}
        self._held: frozenset[str] = frozenset()  # the types of resources that the struct of bundles can hold

    def accept(self, resource: dict[str, Any]) -> bool:
        """Whether a resource certainly has no fault; of a Bundle its entries' resources too, but not its rules as a whole."""
        try:
            name = resource["resourceType"]
            if name == "Bundle":
                self._hold(resource)
            msgspec.convert(resource, self._resource(name), builtin_types=_AS_THEY_ARE)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return False  # ValueError: msgspec's, or of a lone surrogate; the others: what holds entries is no bundle
        return True

    def _hold(self, bundle: dict[str, Any]) -> None:
        """Let the struct of bundles hold what this one holds. Bundles in bundles are left out."""
        kinds = {entry["resource"]["resourceType"] for entry in bundle.get("entry", ())}
        if not kinds <= self._held:
            self._held |= (kinds & definitions.resources()) - {"Bundle"}
            for path in ("Bundle", "Bundle.entry"):
                self._built.pop((path, False, ""), None)

    def _resource(self, name: str) -> Any:
        """The struct of a resource; where it cannot be built, a type that accepts nothing of the kind."""
        return self._struct(name, ()) or Literal["nothing"]

    def _struct(self, path: str, above: tuple[str, ...], *, inner: bool = False, profile: str = "") -> Any:
        """The struct of a type's objects. None where there cannot be one: inside itself, or without a member it must have.

        ``above``: what it is inside of. ``inner``: inside an extension or a reference, where neither comes again.
        """
        key = (path, inner, profile)
        if path in above:
            return None
        if key not in self._built:
            self._built[key] = self._build(path, (*above, path), inner=inner, profile=profile)
        return self._built[key]

    def _build(self, path: str, above: tuple[str, ...], *, inner: bool, profile: str) -> Any:
        fields: list[Any] = []
        method = _Method()
        is_resource = path in definitions.resources()
        bare = not is_resource  # whether it may be empty, as far as its fields say
        for definition in definitions.elements(path).values():
            if (definition.name == "id" and not is_resource) or (profile == "SimpleQuantity" and definition.name == "comparator"):
                continue
            members = self._members(path, definition, above, inner=inner, part=profile == _PART)
            if definition.minimum and not members:
                return None
            for member in members:
                needed = (definition.minimum and not definition.choice) or _USUAL.get(path) == member.name
                bare = bare and not needed
                fields.append((member.attribute, member.type) if needed else (member.attribute, member.type, None))
                method.primitive(member)
                if not inner and not definition.repeats and _tells(path, member):
                    fields.append((f"_{member.attribute}", self._struct("Element", above), None))
                    if definition.choice:
                        method.refuse_if(f"s._{member.attribute} is not None and s.{member.attribute} is None")
            if definition.choice:
                forms = [member.attribute for member in members]
                forms += ["extension"] if path == "Extension" and profile != _PART else []
                method.choice(forms, required=bool(definition.minimum) or path == "Extension")
        if bare and path != "Extension":
            first = sorted((name for name, *_ in fields), key=lambda name: name in {"extension", "modifierExtension"})
            method.refuse_if(" and ".join(f"s.{name} is None" for name in first))
        for rule in RULES.get(profile or path, ()):
            if rule.key not in {"ext-1", "sqty-1"}:  # nested extensions and comparators were left out
                method.rule(rule)
        return _define(path, fields, method, tag=path if is_resource else None)

    # --- Members ----------------------------------------------------------------------------------------------------

    def _members(self, path: str, definition: ElementDef, above: tuple[str, ...], *, inner: bool, part: bool) -> list[_Member]:
        """The members an element gives, one a form of a choice. [] leaves the element out."""
        found: list[_Member] = []
        for kind in definition.types or ("",):
            if path == "Extension" and definition.choice and kind not in _EXTENSION_VALUES:
                continue
            name = definitions.choice_name(definition.name, kind) if definition.choice else definition.name
            enumerated = _codes(kind, definition)
            if enumerated is not None:
                one: Any = enumerated
            elif kind in PRIMITIVES:
                one = _primitive(kind)
            elif path == "Extension" and kind == "Extension":
                one = None if part else self._struct("Extension", (), inner=True, profile=_PART)
            else:
                one = self._complex(path, kind, definition, above, inner=inner)
            if one is not None:
                left = self._left(path, kind, definition) if enumerated is None else ""
                left = "uri" if part and left == ABSOLUTE else left  # an extension in another has a name within that
                found.append(_Member(name, kind, _list_of(one) if definition.repeats else one, left, definition.repeats))
        return found

    def _left(self, path: str, kind: str, definition: ElementDef) -> str:
        """The lexical rules left to check: narrative's and an extension's name's always, as no converter makes them."""
        if not self._lexical and kind != "xhtml" and (path, definition.name) != ("Extension", "url"):
            return ""
        if kind in _TEXTS and not definition.choice:
            return lexical_kind(path, definition)
        return kind if kind in _TEXTS or kind == "decimal" else ""

    def _complex(self, path: str, kind: str, definition: ElementDef, above: tuple[str, ...], *, inner: bool) -> Any:
        if path == "Bundle.entry" and kind == "Resource":
            held = [one for name in sorted(self._held) if (one := self._struct(name, ())) is not None]
            return Union[tuple(held)] if held else None  # noqa: UP007  (of a list that is known at run time only)
        if inner and path == "Identifier" and kind == "Reference":
            return self._assigner()
        if kind == "Resource" or (inner and kind in {"Extension", "Reference"}):
            return None
        if kind in {"CodeableConcept", "Coding"} and definition.strength == "required":
            return self._bound(definition.binding) if kind == "CodeableConcept" else None
        if kind == "Reference":
            return self._reference(definition.targets)
        if kind == "Extension":
            return self._struct("Extension", above, inner=True)
        where = kind if definition.choice else definitions.child_path(path, definition)
        return self._struct(where, above, inner=inner, profile=definition.profile)

    def _bound(self, binding: str) -> Any:
        """A concept with a required binding to codes of one system; None where the value set has several, or is endless."""
        listed = definitions.members(binding) or frozenset()
        systems = {system for system, _ in listed}
        if len(systems) != 1:
            return None
        fields = [("system", Literal[tuple(systems)]), ("code", Literal[tuple(sorted(code for _, code in listed))])]
        coding = self._worded("Coding", fields, "display")
        return self._worded("CodeableConcept", [("coding", _list_of(coding))], "text")

    def _assigner(self) -> Any:
        """The assigner of an identifier that a reference holds: its name."""
        return self._worded("Assigner", [], "display", needed=True)

    def _worded(self, name: str, fields: list[Any], words: str, *, needed: bool = False) -> Any:
        """A struct of these fields and of one text."""
        text = _Member(words, "string", _primitive("string"), "string" if self._lexical else "", repeats=False)
        method = _Method()
        method.primitive(text)
        return _define(name, [*fields, (text.name, text.type) if needed else (text.name, text.type, None)], method)

    def _reference(self, targets: tuple[str, ...]) -> Any:
        """A Reference by Type/id to one of the targets, or by identifier; of the type it says."""
        if targets not in self._referring:
            self._referring[targets] = self._build_reference(targets)
        return self._referring[targets]

    def _build_reference(self, targets: tuple[str, ...]) -> Any:
        names = [name for name in _OFTEN if not targets or name in targets]
        names += sorted((set(targets) or definitions.resources()) - set(names))
        text = _primitive("string")
        method = _Method()
        if self._lexical:
            pattern: Any = Annotated[str, msgspec.Meta(pattern=_REFERENCE.format(names="|".join(names)))]
            method.refuse_if("s.reference is None and s.identifier is None and s.display is None")
            method.primitive(_Member("display", "string", text, "string", repeats=False))
        else:
            pattern = str
            method.refer(names)
        method.refuse_if("s.type is not None and s.reference is not None and not s.reference.startswith(s.type + '/')")
        fields = [
            ("reference", pattern, None),
            ("type", Literal[tuple(names)], None),
            ("identifier", self._struct("Identifier", (), inner=True), None),
            ("display", text, None),
        ]
        return _define("Reference", fields, method)


class _Member(NamedTuple):
    """A member of a struct: its JSON name, FHIR type, type for msgspec, and the primitive it still has to be checked as."""

    name: str
    kind: str
    type: Any
    primitive: str
    repeats: bool

    @property
    def attribute(self) -> str:
        return f"{self.name}_" if iskeyword(self.name) else self.name


def _tells(path: str, member: _Member) -> bool:
    """Whether a converter may have more to say of such a member, in its sibling."""
    type_ = definitions.type_def(path)
    if path.startswith("Bundle"):
        return False
    if member.kind == "code":
        return type_ is not None and type_.kind != "complex-type"
    return member.kind in {"date", "dateTime", "instant"} or (path, member.name) == ("HumanName", "family")


def _list_of(one: Any) -> Any:
    return Annotated[list[one], msgspec.Meta(min_length=1)]


def _codes(kind: str, definition: ElementDef) -> Any:
    """The codes of a required binding, as a Literal; None where there is none."""
    if kind not in {"code", "uri", "string"} or definition.strength != "required":
        return None
    allowed = definitions.codes(definition.binding)
    return None if allowed is None else Literal[tuple(sorted(allowed))]


def _primitive(kind: str) -> Any:
    if kind in _TEXTS:
        return Annotated[str, msgspec.Meta(min_length=1, max_length=None if kind == "base64Binary" else LONGEST_STRING)]
    if kind in _WHOLE:
        return Annotated[int, msgspec.Meta(ge=_WHOLE[kind], le=LARGEST_INTEGER)]
    return bool if kind == "boolean" else int | Decimal


def _define(name: str, fields: list[Any], method: _Method, tag: str | None = None) -> Any:
    return msgspec.defstruct(
        name.replace(".", "_"),
        fields,
        namespace=method.namespace(),
        rename=lambda attribute: attribute.removesuffix("_"),
        forbid_unknown_fields=True,
        kw_only=True,
        gc=False,
        tag_field="resourceType" if tag else None,
        tag=tag,
    )


# --- The method of a struct ---------------------------------------------------------------------------------------------


class _Method:
    """The source of a struct's ``__post_init__``: made of names the definitions give, and of nothing else."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {}

    def give(self, thing: Any) -> str:
        """A name by which the source can use ``thing``."""
        name = f"given_{len(self.names)}"
        self.names[name] = thing
        return name

    def refuse_if(self, condition: str) -> None:
        """A condition on the struct ``s`` under which it is not accepted."""
        if condition:
            self.lines.append(f"    if {condition}: raise ValueError")

    def rule(self, rule: Rule) -> None:
        """An invariant; asked only where it is not plain to see that it holds."""
        plain = f"not ({rule.plain}) and " if rule.plain else ""
        self.refuse_if(f"{plain}not {self.give(rule.holds)}(getattr, s)")

    def refer(self, names: list[str]) -> None:
        """What a reference says: Type/id of one of the types, or something in its place."""
        self.lines.append("    v = s.reference")
        self.lines.append("    if v is None:")
        self.lines.append("        if s.identifier is None and s.display is None: raise ValueError")
        if len(names) <= _FEW:
            beginnings = self.give(tuple(f"{name}/" for name in names))
            self.lines.append(f"    elif not v.startswith({beginnings}) or v[-1] == '/': raise ValueError")
        else:
            self.lines.append(
                f"    elif v[-1] == '/' or v.rpartition('/')[0] not in {self.give(frozenset(names))}: raise ValueError"
            )

    def primitive(self, member: _Member) -> None:
        """The lexical rules of a member, or of each of its values."""
        if not member.primitive:
            return
        quick = _QUICK.get(member.primitive)
        fault = f"{self.give(CHECKS[member.primitive])}(v) is not None"
        fault = f"not ({quick}) and {fault}" if quick else fault
        if member.repeats:
            self.lines.append(f"    for v in s.{member.attribute} or ():")
            self.lines.append(f"        if {fault}: raise ValueError")
            return
        self.lines.append(f"    v = s.{member.attribute}")
        self.refuse_if(f"v is not None and {fault}")

    def choice(self, forms: list[str], *, required: bool) -> None:
        """A choice takes one form."""
        if len(forms) > 1:
            missing = f"{self.give(attrgetter(*forms))}(s).count(None)"
            self.refuse_if(f"{missing} {'!=' if required else '<'} {len(forms) - 1}")
        elif required:
            self.refuse_if(f"s.{forms[0]} is None")

    def namespace(self) -> dict[str, Callable[[Any], None]]:
        """The method as msgspec wants it; a ValueError in it becomes a ValidationError."""
        if not self.lines:
            return {}
        made: dict[str, Any] = dict(self.names)
        exec("\n".join(["def post(s):", *self.lines]), made)  # noqa: S102  (our own source, of the definitions' names)
        return {"__post_init__": made["post"]}


_everything = _Structs(lexical=True)
_structure = _Structs(lexical=False)


def accepts(resource: dict[str, Any]) -> bool:
    """Whether a resource of R4 is certainly valid; of a Bundle its entries' resources too, but not its rules as a whole."""
    return _everything.accept(resource)


def holds(resource: dict[str, Any]) -> bool:
    """As ``accepts``, but strings may be anything a string can be: for what converters have just made."""
    return _structure.accept(resource)
