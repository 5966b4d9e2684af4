"""One resource of a message before it is filled: where it was found, what names it, and whether it is another one too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interop_engine.core.model import Resource
    from interop_engine.hl7.message import Segment
    from interop_engine.mapping.context import Scope
    from interop_engine.mapping.typed import ResourcePlan

_JOINED = frozenset({"TX", "FT", "ST"})
OTHERWISE = "otherwise"
"""The label in ``known_as`` of what names a thing only where none of its numbers does."""
ITEM = "item"
"""The label in ``known_as`` of what is no number, but tells several things under one number apart."""


class Instance:
    """One resource of a message: where it was found, what names it."""

    __slots__ = (
        "aliases", "content", "id", "is_copy", "item", "key", "learned", "levels", "more", "newer", "own", "plan", "ref", "scope",
    )  # fmt: skip

    def __init__(self, plan: ResourcePlan, levels: tuple[Any, ...], scope: str, key: tuple[str, ...], id_: str) -> None:
        self.plan = plan
        self.levels = levels
        self.scope = scope
        self.key = key
        self.aliases: tuple[str, ...] = ()  # its numbers
        self.item = ""  # what tells several under one number apart
        self.learned: tuple[str, ...] = ()  # of its numbers and items, those that lead to it
        self.is_copy = False
        self.more: list[tuple[Any, ...]] | None = None  # levels of those whose text is joined to this one
        self.newer = ""
        self.content: Resource = {}
        self.id = self.own = id_  # that which the key gives
        self.ref = f"{plan.type}/{id_}"

    def copy(self, id_: str) -> Instance:
        """The same said of another thing."""
        found = Instance(self.plan, self.levels, self.scope, self.key, id_)
        found.is_copy = True
        return found

    def called(self, id_: str) -> None:
        """Take the id of a key that was told apart from an equal one."""
        self.own = id_
        self.name(id_)

    def name(self, id_: str) -> None:
        """Take an id."""
        self.id = id_
        self.ref = f"{self.plan.type}/{id_}"


def fits(one: Instance, levels: tuple[Any, ...], scope: str, key: tuple[str, ...], own: Scope) -> bool:
    """Whether an instance outside of the group has a key such as this one."""
    if any(level is levels[-1] for level in one.levels) or not any(key):
        return False
    return scope in (one.scope, own.facility) and all(not part or part == its for part, its in zip(key, one.key, strict=True))


def joins(plan: ResourcePlan, last: Instance, levels: tuple[Any, ...]) -> bool:
    """Whether an observation continues the text of the one before it (TX, FT or ST with the same code and sub-id)."""
    if plan.type != "Observation" or last.levels[:-1] != levels[:-1]:
        return False
    return all((obx := obx_of(level)) is not None and obx.value_type in _JOINED for level in (last.levels[-1], levels[-1]))


def obx_of(level: Any) -> Segment | None:
    """The OBX of an observation's level."""
    if hasattr(level, "segments"):
        found = level.segments.get("OBX")
        return found[0] if found else None
    return level if getattr(level, "name", "") == "OBX" else None
