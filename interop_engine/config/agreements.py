"""``agreements.yaml``: who may send whom what over the exchange, and which codes are closed.

A site without it sends to everyone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import msgspec
from pydantic import BeforeValidator, Field, field_validator, model_validator

from interop_engine.config.reading import File, read
from interop_engine.config.schema import Queues
from interop_engine.connectors.exchange import ExchangeDestinationOptions, ExchangeSourceOptions, Kind
from interop_engine.connectors.options import Options
from interop_engine.core.diagnostics import Mistake, near
from interop_engine.exchange.agreements import ANY, Agreement, Agreements, ClosedCodes, Facility
from interop_engine.exchange.rules import is_word

if TYPE_CHECKING:
    from interop_engine.config.schema import SiteOptions
    from interop_engine.config.site import ChannelConfig

NAME = "agreements.yaml"


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class FacilityOptions(Options):
    """A facility on the exchange."""

    title: str = Field("", description="Its name, for people.", examples=["Bệnh viện Đa khoa tỉnh (mẫu)"])
    queues: Queues = Field(1, description="Over how many queues what it receives is spread: 1, 2, 4 … 64.", examples=[16])


class AgreementOptions(Options):
    """What senders may send to receivers."""

    from_: Names = Field(alias="from", min_length=1, description="Who may send: a facility, several, or *.", examples=["24001"])
    to: Names = Field(min_length=1, description="To whom: a facility, several, or *.", examples=["hub"])
    kinds: Names = Field(min_length=1, description="What, by kind; * for everything.", examples=[["lab", "imaging"]])
    closed: bool = Field(False, description="Whether it may hold closed codes.", examples=[True])


class ClosedOptions(Options):
    """Codes that leave a facility only where an agreement allows it."""

    system: str = Field("", description="The code system's URI.", examples=["http://loinc.org"])
    codes: tuple[str, ...] = Field(
        (), description="Its codes; one that ends in * stands for all that begin so.", examples=[["B20*"]]
    )
    value_set: str = Field("", description="Instead: a FHIR ValueSet in JSON that lists them.", examples=["closed-hiv.json"])

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if bool(self.value_set) == bool(self.system and self.codes):
            raise ValueError("give system and codes, or value_set")
        return self


class AgreementsOptions(Options):
    """The file."""

    facilities: dict[str, FacilityOptions] = Field(description="Everyone on the exchange, by name.")
    kinds: tuple[Kind, ...] = Field(
        min_length=1, description="Every kind that is sent.", examples=[["lab", "imaging", "patient"]]
    )
    agreements: tuple[AgreementOptions, ...] = Field((), description="Who may send whom what.")
    closed: tuple[ClosedOptions, ...] = Field((), description="Codes that need an agreement of their own.")

    @field_validator("facilities")
    @classmethod
    def _words(cls, value: dict[str, FacilityOptions]) -> dict[str, FacilityOptions]:
        for name in value:
            if not is_word(name):
                raise ValueError(f'"{name}" cannot be a name on the exchange: it holds a dot, *, # or a space')
        return value


@dataclass
class Found:
    """What was read: None where there is no such file, or it has mistakes. ``texts``: of every file, as written."""

    agreements: Agreements | None = None
    file: File | None = None
    mistakes: list[Mistake] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)


def load(root: Path, environment: Mapping[str, str]) -> Found:
    """Read and check the file of a site's folder."""
    if not (root / NAME).is_file():
        return Found()
    file = read(root, root / NAME, environment)
    found = Found(file=file, mistakes=file.mistakes, texts={NAME: file.text})
    # An empty facility ("hub:") is one without options.
    facilities = file.data.get("facilities")
    if isinstance(facilities, dict):
        file.data["facilities"] = {name: each if each is not None else {} for name, each in facilities.items()}
    options = file.parse(AgreementsOptions, file.data)
    if options is None:
        return found
    _known_names(file, options)
    codes: dict[str, set[str]] = {}
    for number, each in enumerate(options.closed):
        for system, code in _closed(root, file, each, number, found.texts):
            codes.setdefault(system, set()).add(code)
    if file.mistakes:
        return found
    found.agreements = Agreements(
        {name: Facility(each.title, each.queues) for name, each in options.facilities.items()},
        options.kinds,
        tuple(Agreement(each.from_, each.to, each.kinds, each.closed) for each in options.agreements),
        ClosedCodes({system: frozenset(each) for system, each in codes.items()}),
    )
    return found


def _known_names(file: File, options: AgreementsOptions) -> None:
    for number, each in enumerate(options.agreements):
        for key, names in (("from", each.from_), ("to", each.to)):
            for name in names:
                if name != ANY and name not in options.facilities:
                    _unknown(file, "C150", f'there is no facility "{name}"', name, options.facilities, "agreements", number, key)
        for kind in each.kinds:
            if kind != ANY and kind not in options.kinds:
                _unknown(file, "C151", f'there is no kind "{kind}"', kind, options.kinds, "agreements", number, "kinds")


def _unknown(file: File, code: str, message: str, name: str, known: Iterable[str], *path: str | int) -> None:
    file.mistake(code, message, *path, hint=near(name, known) or f"one of {', '.join(known)}")


def _closed(root: Path, file: File, options: ClosedOptions, number: int, texts: dict[str, str]) -> Iterator[tuple[str, str]]:
    if not options.value_set:
        yield from ((options.system, code) for code in options.codes)
        return
    try:
        text = _inside(root, options.value_set).read_text(encoding="utf-8")
        codes = list(_value_set(msgspec.json.decode(text)))
    except (OSError, ValueError, msgspec.DecodeError, KeyError, TypeError, AttributeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        hint = "a FHIR ValueSet in JSON whose codes are listed, in compose or in an expansion"
        file.mistake("C153", f"the value set {options.value_set} cannot be used: {why}", "closed", number, "value_set", hint=hint)
        return
    texts[options.value_set] = text
    yield from codes


def _inside(root: Path, name: str) -> Path:
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise ValueError("it is not in the site's folder")
    return path


def _value_set(content: Any) -> Iterator[tuple[str, str]]:
    """(system, code) of a ValueSet that lists its codes. Raises ValueError where it leaves some to be found elsewhere."""
    if content.get("resourceType") != "ValueSet":
        raise ValueError("it is not a ValueSet")
    if "expansion" in content:
        yield from _expanded(content["expansion"].get("contains", ()))
        return
    compose = content.get("compose", {})
    for include in compose.get("include", ()):
        if "concept" not in include or "valueSet" in include or "exclude" in compose:
            raise ValueError("it does not list its codes")
        yield from ((include["system"], each["code"]) for each in include["concept"])


def _expanded(contains: Sequence[Any]) -> Iterator[tuple[str, str]]:
    for each in contains:
        if "code" in each:
            yield each["system"], each["code"]
        yield from _expanded(each.get("contains", ()))


def check(found: Found, site: SiteOptions, engine: File, channels: Sequence[tuple[ChannelConfig, File]]) -> Iterator[Mistake]:
    """What the agreements and the site's own files say that does not go together."""
    agreements = found.agreements
    if agreements is None:
        return
    facility = site.facility
    if facility not in agreements.facilities:
        hint = near(facility, agreements.facilities) or f"add it to facilities: in {NAME}"
        yield Mistake("C150", f'there is no facility "{facility}" in {NAME}', engine.mark("facility"), hint)
    elif not isinstance(site.exchange, str) and site.exchange.queues != (agreed := agreements.facilities[facility].queues):
        message = f"{NAME} gives {facility} {agreed} queues, and not {site.exchange.queues}"
        yield Mistake("C154", message, engine.mark("exchange"), f"queues: {agreed}, or change it there")
    for channel, file in channels:
        for number, each in enumerate(channel.destinations):
            if isinstance(each.options, ExchangeDestinationOptions):
                yield from _destination(agreements, facility, each.options, file, number)
    yield from _taken(found, agreements, facility, [channel for channel, _ in channels])


def _taken(found: Found, agreements: Agreements, facility: str, channels: Sequence[ChannelConfig]) -> Iterator[Mistake]:
    """What this facility may be sent, some channel takes."""
    assert found.file is not None
    sources = [each.source for each in channels if isinstance(each.source, ExchangeSourceOptions)]
    taken = {kind for each in sources if each.as_ == facility for kind in each.kinds}
    told: set[str] = set()
    for number, each in enumerate(agreements.agreements):
        if not {facility, ANY}.intersection(each.receivers) or set(each.senders) == {facility}:
            continue
        agreed = agreements.kinds if ANY in each.kinds else each.kinds
        if missing := [kind for kind in agreed if kind not in taken and kind not in told]:
            told.update(missing)
            message = f'no channel here takes {", ".join(missing)} as "{facility}", which others may send to it'
            hint = "such parcels are rejected here, or park at their senders; they wait where no channel takes anything as that"
            yield Mistake("C155", message, found.file.mark("agreements", number, "kinds"), hint, severity="warning")


def _destination(
    agreements: Agreements, facility: str, options: ExchangeDestinationOptions, file: File, number: int
) -> Iterator[Mistake]:
    place = ("deliver", number, "exchange")
    if options.kind not in agreements.kinds:
        hint = near(options.kind, agreements.kinds) or f"one of {', '.join(agreements.kinds)}"
        yield Mistake("C151", f'there is no kind "{options.kind}" in {NAME}', file.mark(*place, "kind"), hint)
        return
    if to := options.receiver:
        if to not in agreements.facilities:
            hint = near(to, agreements.facilities) or f"add it to facilities: in {NAME}"
            yield Mistake("C150", f'there is no facility "{to}" in {NAME}', file.mark(*place, "to"), hint)
            return
        agreed, whom = bool(agreements.between(facility, to, options.kind)), f'"{to}"'
    else:
        agreed = any(agreements.between(facility, to, options.kind) for to in agreements.facilities)
        whom = "anybody"
    if not agreed:
        message = f"no agreement lets {facility} send {options.kind} to {whom}"
        yield Mistake("C152", message, file.mark(*place, "to"), "such deliveries park as no-agreement", severity="warning")
