"""Who may send whom what over the exchange, and the codes that leave a facility only where an agreement says so. Pure.

A delivery is withheld whole. Without its closed result a report would say something that is not so, and the gap would tell what
is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from interop_engine.core.errors import InteropError
from interop_engine.core.model import Media, Park
from interop_engine.fhir import bundle
from interop_engine.hl7.message import Message, parse

ANY: Final = "*"


@dataclass(frozen=True, slots=True)
class Facility:
    """A name on the exchange. ``queues``: over how many queues what it receives is spread."""

    title: str = ""
    queues: int = 1


@dataclass(frozen=True, slots=True)
class Agreement:
    """``senders`` may send ``receivers`` what is of these kinds, with ``closed`` what holds closed codes too."""

    senders: tuple[str, ...]
    receivers: tuple[str, ...]
    kinds: tuple[str, ...]
    closed: bool = False

    def covers(self, sender: str, receiver: str, kind: str) -> bool:
        """Whether it speaks of them."""
        given = ((self.senders, sender), (self.receivers, receiver), (self.kinds, kind))
        return all(ANY in names or name in names for names, name in given)


@dataclass(frozen=True)
class ClosedCodes:
    """Codes by system; one that ends in ``*`` stands for all that begin so."""

    codes: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def place_in(self, body: bytes, media: Media) -> str:
        """Where the first closed code stands, without saying which; empty where there is none."""
        if not self.codes:
            return ""
        try:
            if media == "hl7v2":
                return next(self._fields(parse(body)), "")
            return next(self._elements(bundle.decode(body), "Bundle"), "")
        except (InteropError, ValueError):
            return "it cannot be read for any"  # its receiver may be able to

    def _elements(self, value: Any, path: str) -> Iterator[str]:
        if isinstance(value, list):
            for number, each in enumerate(value):
                yield from self._elements(each, f"{path}[{number}]")
        elif isinstance(value, dict):
            if isinstance(code := value.get("code"), str) and self._holds(self.codes.get(str(value.get("system", "")), ()), code):
                yield path
            for name, each in value.items():
                yield from self._elements(each, f"{path}.{name}")

    def _fields(self, message: Message) -> Iterator[str]:
        # A field of HL7 v2 names its code system in words of its sender's own: the code alone decides, in any component.
        every = frozenset().union(*self.codes.values())
        inner = [each for each in (message.delimiters.component, message.delimiters.subcomponent) if each]
        for segment in message.segments:
            for number in range(1, len(segment.fields) + 1):
                for value in segment.repetitions(number):
                    parts = [value.raw]
                    for separator in inner:
                        parts = [each for part in parts for each in part.split(separator)]
                    if any(self._holds(every, part) for part in parts):
                        yield f"{segment.name}[{segment.number}]-{number}"

    @staticmethod
    def _holds(codes: Sequence[str] | frozenset[str], code: str) -> bool:
        return code in codes or any(each.endswith("*") and code.startswith(each[:-1]) for each in codes)


@dataclass(frozen=True)
class Agreements:
    """What a site keeps of them, with every facility and kind they speak of."""

    facilities: Mapping[str, Facility]
    kinds: tuple[str, ...]
    agreements: tuple[Agreement, ...]
    closed: ClosedCodes

    def between(self, sender: str, receiver: str, kind: str) -> list[Agreement]:
        """The agreements that cover a delivery."""
        return [each for each in self.agreements if each.covers(sender, receiver, kind)]

    def withhold(self, sender: str, receiver: str, kind: str, body: bytes, media: Media) -> Park | None:
        """Why a delivery must not leave, or None where it may."""
        found = self.between(sender, receiver, kind)
        if not found:
            return Park("no-agreement", f'no agreement lets "{sender}" send {kind} to "{receiver}"')
        if any(each.closed for each in found):
            return None
        if place := self.closed.place_in(body, media):
            return Park("closed-code", f'it holds a closed code ({place}), and no agreement with "{receiver}" allows that')
        return None
