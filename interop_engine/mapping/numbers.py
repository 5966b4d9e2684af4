"""Which things are meant by their numbers: one order, many names, and one number for many orders (semantics.md, result 15).

A number is an alias, ``ServiceRequest|placer|24001|A17``, and leads to one thing: whichever message came first decides its id.
Where the mapping says what tells several under one number apart (``item: OBR-4``), there is a second alias for each of them, the
number and the item joined by a tab, which the journal gives with the number.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from interop_engine.fhir.identity import resource_id
from interop_engine.mapping.runtime import Parked

if TYPE_CHECKING:
    from interop_engine.core.model import Known
    from interop_engine.mapping.instances import Instance
    from interop_engine.mapping.runtime import Run

_UNKNOWN = "204"  # HL7 table 0357: unknown key identifier
_MARK = "\t"  # between a number and an item: no HL7 v2 value holds one

Items = dict[str, str]
"""What is under a number: item → id. The item '' is the number's own, and the first that came."""


def resolve(run: Run, known: Known) -> None:
    """Give things with numbers the ids that they are known by. Raises Parked where that cannot be said."""
    named = [each for instances in run.found.values() for each in instances if each.aliases]
    if named:
        numbers = _Numbers(known, named)
        for instance in named:
            for copy in numbers.settle(instance):
                run.add_copy(copy)


class _Numbers:
    """What is under the numbers of one message: known from earlier ones, and said by it so far."""

    def __init__(self, known: Known, named: Iterable[Instance]) -> None:
        self._known: dict[str, Items] = {}
        for alias, thing in known.aliases.items():
            number, _, item = alias.partition(_MARK)
            self._known.setdefault(number, {})[item] = known.survivor(thing).rpartition("/")[2]
        self._here: dict[str, Items] = {}
        self._sent = known.sent
        self._taken = {id_ for each in named if (id_ := self._exact(each))} if self._known else set()

    def settle(self, instance: Instance) -> list[Instance]:
        """Name an instance; gives copies of it for the other things that it is about, if it is about several."""
        ids = self._ids(instance)
        if not ids and instance.plan.parks_unknown:
            raise Parked(_UNKNOWN, f"{instance.plan.name}: no {instance.plan.type} is known by {instance.plan.named_by}.")
        if ids:
            instance.name(ids[0])
        self._keep(instance)
        return [instance.copy(other) for other in ids[1:]]

    def _ids(self, instance: Instance) -> list[str]:
        """The ids of what an instance is about: none where it is new under new numbers."""
        under = [items for number in instance.aliases if (items := self._under(number))]
        if not under:
            return []
        if exact := self._exact(instance):
            return [exact]
        common = dict.fromkeys(id_ for id_ in under[0].values() if all(id_ in items.values() for items in under))
        if not common:
            raise self._different(instance)
        if not instance.item:
            return self._without_item(instance, list(common))
        candidates = [id_ for id_ in common if self._may_be(instance, id_)]
        if candidates and len(common) == 1:
            if instance.plan.write != "if-new":
                self._taken.add(candidates[0])  # several results may be of one order, but no two orders are one
            return candidates
        return [resource_id(instance.scope, instance.plan.type, (*instance.key, instance.item))]

    def _exact(self, instance: Instance) -> str:
        """The thing that is known under one of the numbers with this very item, or under a number that has no items at all."""
        under = [items for number in instance.aliases if (items := self._under(number))]
        found = {items[instance.item] for items in under if instance.item and instance.item in items}
        if not found:
            return ""
        alone = {items[""] for items in under if set(items) == {""}}
        if len(found | alone) > 1:
            raise self._different(instance)
        return found.pop()

    def _without_item(self, instance: Instance, common: list[str]) -> list[str]:
        """What names no item: a change of status is about all under the number; a result's order is the first of them."""
        if len(common) == 1 or instance.plan.parks_unknown:
            return common
        if instance.plan.write == "if-new":
            return common[:1]
        plan = instance.plan
        raise Parked(_UNKNOWN, f"{plan.name}: its numbers ({plan.named_by}) are those of several {plan.type}s.")

    def _may_be(self, instance: Instance, id_: str) -> bool:
        """Whether a known thing with another item, or with none, may be meant all the same, and no other of the message is it.

        A result may have another code than its order; an order may come after its result, whose stand-in it takes over.
        """
        under = [items for number in instance.aliases if (items := self._known.get(number))]
        if id_ in self._taken or not any(id_ in items.values() for items in under):
            return False
        bare = all(set(items) == {""} for items in under)
        return bare or instance.plan.write == "if-new" or self._stands_in(f"{instance.plan.type}/{id_}")

    def _stands_in(self, thing: str) -> bool:
        """Whether all that was sent of a thing was made by a result: it has no version."""
        versions = [sent.version for (_, name), sent in self._sent.items() if name == thing]
        return bool(versions) and not any(versions)

    def _under(self, number: str) -> Items:
        known, here = self._known.get(number), self._here.get(number)
        if known and here:
            return {**here, **known}
        return known or here or {}

    def _keep(self, instance: Instance) -> None:
        learned: list[str] = []
        for number in instance.aliases:
            first = self._under(number).get("", instance.id)
            items = self._here.setdefault(number, {})
            items.setdefault("", first)
            if first == instance.id:
                learned.append(number)
            if instance.item:
                items[instance.item] = instance.id
                learned.append(f"{number}{_MARK}{instance.item}")
        instance.learned = tuple(learned)

    def _different(self, instance: Instance) -> Parked:
        plan = instance.plan
        return Parked(_UNKNOWN, f"{plan.name}: its numbers ({plan.named_by}) are known as those of different {plan.type}s.")
