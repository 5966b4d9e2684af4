"""The short cut for what is right, which is nearly everything: msgspec looks at a resource in C and only has to say yes.

``accepts`` says True only where ``structure.py`` finds no fault (a test holds the two together); False says nothing, and
``structure.py`` then looks for itself. So what is rare is simply left out here: contained resources, nested extensions, ids of
elements, references that are not Type/id, concepts with a required binding, siblings of primitives ("_birthDate") but for times
and the codes of resources, where converters say what was sent.

Each type becomes a msgspec struct, built the first time a message needs it: names, JSON types, cardinality and codes are
checked in C. What is left (lexical rules, one form of a choice, not empty, invariants) is one generated method a struct, which
msgspec calls; a method in place of msgspec's patterns because ``str.isprintable`` costs a third of a pattern's search.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from keyword import iskeyword
from operator import attrgetter
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from interop_engine.fhir import definitions
from interop_engine.fhir.definitions import PRIMITIVES, ElementDef
from interop_engine.fhir.invariants import RULES
from interop_engine.fhir.primitives import ABSOLUTE, CHECKS, LARGEST_INTEGER, LONGEST_STRING, lexical_kind

# What decides most values of a primitive at once (v is a str, not empty); the others get the check of primitives.py.
_QUICK = {
    "canonical": "v.isprintable() and ' ' not in v and v[:4] != 'urn:'",
    "code": "v.isprintable() and ' ' not in v",
    "markdown": "v.isprintable() and v[0] != ' '",
    "string": "v.isprintable() and v[0] != ' '",
    "uri": "v.isprintable() and ' ' not in v and v[:4] != 'urn:'",
    "url": "v.isprintable() and ' ' not in v and v[:4] != 'urn:'",
    ABSOLUTE: "v.isprintable() and ' ' not in v and ':' in v and v[:4] != 'urn:'",
}
_TEXTS = frozenset({*_QUICK, "base64Binary", "date", "dateTime", "id", "instant", "oid", "time", "uuid", "xhtml"})
_WHOLE = {"integer": -LARGEST_INTEGER - 1, "unsignedInt": 0, "positiveInt": 1}
_REFERENCE = r"\A(?:{names})/[A-Za-z0-9\-.]{{1,64}}\Z"

# Asked for here, though optional: who has it is not empty (ele-1), so nothing further need look.
_USUAL = {"Coding": "code", "Identifier": "value", "Quantity": "value"}
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
        "Coding",
        "CodeableConcept",
        "Quantity",
    }
)
_OFTEN = ("Observation", "Patient", "Specimen", "ServiceRequest", "DiagnosticReport", "Encounter", "Practitioner", "Organization")

_ABSENT = object()  # of a decimal, whose type is Any: apart from null until its method has run
_built: dict[tuple[str, bool, str], Any] = {}


def accepts(resource: dict[str, Any]) -> bool:
    """Whether a resource of R4 is certainly valid; of a Bundle without its rules as a whole and its entries' resources."""
    try:
        msgspec.convert(resource, _resource(resource["resourceType"]))
    except (ValueError, RecursionError):  # msgspec's ValidationError is one, and so is what a lone surrogate raises
        return False
    return True


@cache
def _resource(name: str) -> Any:
    """The struct of a resource; where it cannot be built, a type that accepts nothing of the kind."""
    return _struct(name, ()) or Literal["nothing"]


def _struct(path: str, above: tuple[str, ...], *, inner: bool = False, profile: str = "") -> Any:
    """The struct of a type's objects. None where there cannot be one: inside itself, or without a member it must have.

    ``above``: what it is inside of. ``inner``: inside an extension or a reference, where neither comes again.
    """
    key = (path, inner, profile)
    if path in above:
        return None
    if key not in _built:
        _built[key] = _build(path, (*above, path), inner=inner, profile=profile)
    return _built[key]


def _build(path: str, above: tuple[str, ...], *, inner: bool, profile: str) -> Any:
    needed: list[Any] = []
    optional: list[Any] = []
    method = _Method()
    is_resource = path in definitions.resources()
    for definition in definitions.elements(path).values():
        if definition.name == "id" and not is_resource:
            continue
        members = _members(path, definition, above, inner=inner)
        if definition.minimum and not members:
            return None
        for member in members:
            if (definition.minimum and not definition.choice) or _USUAL.get(path) == member.name:
                needed.append((member.attribute, member.type))
            else:
                optional.append((member.attribute, member.type, _ABSENT if member.primitive == "decimal" else None))
            method.primitive(member)
            if not inner and not definition.repeats and _tells(path, member.kind):
                optional.append((f"_{member.attribute}", _struct("Element", above), None))
                method.refuse_if(f"s._{member.attribute} is not None and s.{member.attribute} is None")
        if definition.choice:
            method.choice([member.attribute for member in members], required=bool(definition.minimum) or path == "Extension")
    if not needed and not is_resource:
        method.refuse_if(" and ".join(f"s.{name} is None" for name, _, _ in optional))
    for rule in RULES.get(profile or path, ()):
        if rule.key != "ext-1":  # nested extensions are left out, so the value was required above
            method.refuse_if(f"not {method.give(rule.holds)}(getattr, s)")
    return _define(path, [*needed, *optional], method, tag=path if is_resource else None)


def _define(name: str, fields: list[Any], method: _Method, tag: str | None = None) -> Any:
    return msgspec.defstruct(
        name.replace(".", "_"),
        fields,
        namespace=method.namespace(),
        rename=lambda attribute: attribute.removesuffix("_"),
        forbid_unknown_fields=True,
        gc=False,
        tag_field="resourceType" if tag else None,
        tag=tag,
    )


# --- Members --------------------------------------------------------------------------------------------------------


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


def _tells(path: str, kind: str) -> bool:
    """Whether a converter may have more to say of such a member, in its sibling."""
    type_ = definitions.type_def(path)
    return kind in {"date", "dateTime", "instant"} or (kind == "code" and type_ is not None and type_.kind != "complex-type")


def _members(path: str, definition: ElementDef, above: tuple[str, ...], *, inner: bool) -> list[_Member]:
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
        else:
            one = _complex(path, kind, definition, above, inner=inner)
        if one is not None:
            left = _left(path, kind, definition) if enumerated is None else ""
            found.append(_Member(name, kind, _list_of(one) if definition.repeats else one, left, definition.repeats))
    return found


def _left(path: str, kind: str, definition: ElementDef) -> str:
    """The lexical rules that msgspec has not checked."""
    if kind in _TEXTS and not definition.choice:
        return lexical_kind(path, definition)
    return kind if kind in _TEXTS or kind == "decimal" else ""


def _list_of(one: Any) -> Any:
    return Annotated[list[one], msgspec.Meta(min_length=1)]


def _codes(kind: str, definition: ElementDef) -> Any:
    """The codes of a required binding, as a Literal; None where there is none."""
    if kind not in {"code", "uri", "string"} or definition.strength != "required":
        return None
    allowed = definitions.codes(definition.binding)
    return None if allowed is None else Literal[tuple(sorted(allowed))]


def _primitive(kind: str) -> Any:
    """Decimals are Any, since msgspec would turn strings and floats into them; their check is strict."""
    if kind in _TEXTS:
        return Annotated[str, msgspec.Meta(min_length=1, max_length=None if kind == "base64Binary" else LONGEST_STRING)]
    if kind in _WHOLE:
        return Annotated[int, msgspec.Meta(ge=_WHOLE[kind], le=LARGEST_INTEGER)]
    return bool if kind == "boolean" else Any


def _complex(path: str, kind: str, definition: ElementDef, above: tuple[str, ...], *, inner: bool) -> Any:
    if path == "Bundle.entry" and kind == "Resource":
        return Any
    if kind == "Resource" or (inner and kind in {"Extension", "Reference"}):
        return None
    if kind in {"CodeableConcept", "Coding"} and definition.strength == "required":
        return None
    if kind == "Reference":
        return _reference(definition.targets)
    if kind == "Extension":
        return _struct("Extension", above, inner=True)
    where = kind if definition.choice else definitions.child_path(path, definition)
    return _struct(where, above, inner=inner, profile=definition.profile)


@cache
def _reference(targets: tuple[str, ...]) -> Any:
    """A Reference by Type/id to one of the targets, or by identifier; of the type it says."""
    names = [name for name in _OFTEN if not targets or name in targets]
    names += sorted((set(targets) or definitions.resources()) - set(names))
    method = _Method()
    display = _Member("display", "string", _primitive("string"), "string", repeats=False)
    method.refuse_if("s.reference is None and s.identifier is None and s.display is None")
    method.refuse_if("s.type is not None and s.reference is not None and not s.reference.startswith(s.type + '/')")
    method.primitive(display)
    fields = [
        ("reference", Annotated[str, msgspec.Meta(pattern=_REFERENCE.format(names="|".join(names)))], None),
        ("type", Literal[tuple(names)], None),
        ("identifier", _struct("Identifier", (), inner=True), None),
        ("display", display.type, None),
    ]
    return _define("Reference", fields, method)


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
        if member.primitive == "decimal":
            self.lines.append(f"    if v is {self.give(_ABSENT)}: s.{member.attribute} = v = None")
            self.lines.append(f"    elif {fault}: raise ValueError")
        else:
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
