"""Takes a changed site while the engine runs: all of it, or none.

What is configured as it was stays open: sources with their connections, destinations with theirs. Transformation is begun anew in
every channel that is taken, with the mappings of now; a message under way is finished with those it began with. Where a channel
cannot start, everything goes back to what ran before.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from interop_engine.config.checkout import commit_of
from interop_engine.core import events
from interop_engine.core.errors import JournalError, UnknownItem
from interop_engine.core.garbage import collect_seldom
from interop_engine.engine.channel import NOTHING_KEPT, Channel, Kept, kept, receivers_first
from interop_engine.engine.intake import ChannelState
from interop_engine.engine.retention import Retention

if TYPE_CHECKING:
    from interop_engine.config.site import ChannelConfig, Site
    from interop_engine.engine.runtime import Runtime

_DEADLINE = 15.0  # seconds that attempts under way are given where a destination closes
_RESTART = ("facility", "exchange", "transform", "status")  # keys of engine.yaml that a running engine cannot change


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What a reload did, by channel. With a ``problem`` nothing has changed.

    ``reopened`` channels closed and opened their source or a destination; ``kept`` ones go on over the connections they have,
    and ``changed`` ones do too, with other mappings or rules.
    """

    started: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    reopened: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    config: str = ""
    commit: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Swap:
    """One channel before and after. ``keep`` stays open in between; ``paused``: its intake was stopped by an operator."""

    before: Channel | None
    after: Channel | None
    keep: Kept = NOTHING_KEPT
    paused: bool = False


class Reload:
    """One reload of a running node. ``only``: the one channel that is taken, and opened anew even where nothing has changed."""

    def __init__(self, runtime: Runtime, site: Site, only: str = "") -> None:
        self._runtime = runtime
        self._site = site
        self._only = only

    async def run(self) -> Reloaded:
        """Do it. Raises UnknownItem where there is no such channel, before or after."""
        if problem := self._refusal():
            return Reloaded(problem=problem)
        commit = commit_of(self._site.root, self._site.files)
        try:
            await self._runtime.journal.keep_config(self._site.digest, self._site.snapshot, commit)
            if self._runtime.beside is not None:
                await self._runtime.beside.add(self._site)
        except JournalError as error:
            return Reloaded(problem=f"The journal cannot keep the configuration: {error}")
        except ConnectionError:
            return Reloaded(
                problem="The processes that map messages cannot load the site; perhaps a file changed meanwhile. Try again."
            )
        swaps = self._swaps()
        if problem := await self._swap(swaps):
            events.emit(events.ReloadRolledBack(self._site.options.site, problem))
            done = Reloaded(problem=problem)
        else:
            await self._take(swaps)
            done = self._told(swaps, commit)
            changed = ", ".join((*done.started, *done.removed, *done.reopened, *done.changed))
            events.emit(events.SiteReloaded(self._site.options.site, done.config, commit, changed))
        if self._runtime.beside is not None:
            await self._runtime.beside.keep({channel.config.site for channel in self._runtime.channels})
        collect_seldom()
        return done

    def _refusal(self) -> str:
        """Why the engine must be restarted for this."""
        now, then = self._site.options, self._runtime.site.options
        changed = [key for key in _RESTART if getattr(now, key) != getattr(then, key)]
        if now.journal.model_copy(update={"keep": then.journal.keep}) != then.journal:
            changed.append("journal")
        if changed:
            return f"engine.yaml: {', '.join(changed)} can only change with a restart."
        if self._only and self._running(self._only) is None and self._site.channel(self._only) is None:
            raise UnknownItem(f"There is no channel {self._only}.")
        return ""

    def _running(self, name: str) -> Channel | None:
        return next((channel for channel in self._runtime.channels if channel.name == name), None)

    def _swaps(self) -> list[_Swap]:
        """What is to be swapped, in the order to start in."""
        wanted = [config for config in self._site.channels if self._only in ("", config.name)]
        names = {config.name for config in wanted}
        gone = [each for each in self._runtime.channels if each.name not in names and self._only in ("", each.name)]
        return [
            *(_Swap(channel, None) for channel in gone),
            *(self._successor(config) for config in receivers_first(wanted)),
        ]

    def _successor(self, config: ChannelConfig) -> _Swap:
        before = self._running(config.name)
        keep = NOTHING_KEPT if before is None or self._only else kept(before.config, config)
        after = Channel(config, self._runtime.shared, before=before, keep=keep)
        return _Swap(before, after, keep, paused=before is not None and before.state is ChannelState.STOPPED)

    async def _swap(self, swaps: list[_Swap]) -> str:
        """Stop what goes, open what comes; where that fails put back what was, and say why. Work begins when all is open."""
        await asyncio.gather(*(each.before.give_way(_DEADLINE, each.keep) for each in swaps if each.before is not None))
        opened: list[Channel] = []
        for each in swaps:
            if each.after is None:
                continue
            opened.append(each.after)
            if problem := await _opened(each.after, intake=not each.paused):
                await asyncio.gather(*(channel.give_way(_DEADLINE, channel.kept) for channel in opened))
                return "; ".join((problem, *await self._put_back(swaps)))
        for channel in opened:
            channel.begin()
        return ""

    async def _put_back(self, swaps: list[_Swap]) -> list[str]:
        """Open what was; says what now cannot be, which holds up no other."""
        back, problems = {}, []
        for each in swaps:
            if each.before is not None:
                channel = Channel(each.before.config, self._runtime.shared, before=each.before, keep=each.keep)
                if problem := await _opened(channel, intake=not each.paused):
                    problems.append(f"and it cannot go back: {problem}")
                channel.begin()
                back[channel.name] = channel
        self._runtime.channels = [back.get(each.name, each) for each in self._runtime.channels]
        return problems

    async def _take(self, swaps: list[_Swap]) -> None:
        """The node runs the new site now."""
        runtime, site = self._runtime, self._site
        swapped = {each.after.name: each.after for each in swaps if each.after is not None}
        gone = {each.before.name for each in swaps if each.before is not None and each.after is None}
        running = {each.name: each for each in runtime.channels if each.name not in gone} | swapped
        order = {config.name: number for number, config in enumerate(site.channels)}
        runtime.channels = sorted(running.values(), key=lambda each: order.get(each.name, len(order)))
        runtime.site = replace(site, channels=tuple(channel.config for channel in runtime.channels))
        await runtime.retention.stop()
        runtime.retention = Retention(runtime.site, runtime.journal, runtime.shared.broken)
        runtime.retention.start()

    def _told(self, swaps: list[_Swap], commit: str) -> Reloaded:
        started = {each.after.name for each in swaps if each.after and not each.before}
        removed = {each.before.name for each in swaps if each.before and not each.after}
        reopened = {each.after.name for each in swaps if each.after and each.before and not _all_kept(each)}
        changed = {each.after.name for each in swaps if each.after and each.before and _says_more(each)} - reopened
        kept_ = {channel.name for channel in self._runtime.channels} - started - reopened - changed
        return Reloaded(
            started=tuple(sorted(started)),
            removed=tuple(sorted(removed)),
            reopened=tuple(sorted(reopened)),
            changed=tuple(sorted(changed)),
            kept=tuple(sorted(kept_)),
            config=self._site.digest,
            commit=commit,
        )


def _all_kept(swap: _Swap) -> bool:
    assert swap.before is not None
    assert swap.after is not None
    names = {each.name for each in (*swap.before.config.destinations, *swap.after.config.destinations)}
    return swap.keep.source and names <= swap.keep.destinations


def _says_more(swap: _Swap) -> bool:
    """Whether its file, or a mapping of it, is another than before."""
    assert swap.before is not None
    assert swap.after is not None
    return swap.before.config.digest != swap.after.config.digest


async def _opened(channel: Channel, *, intake: bool) -> str:
    """Open it; says what is wrong where it cannot."""
    try:
        await channel.open(intake=intake)
    except OSError as error:
        return f"channel {channel.name}: a destination cannot be opened: {error.strerror or error}"
    failed = channel.state is ChannelState.FAILED and not channel.kept.source  # one that had failed before may stay so
    return f"channel {channel.name}: {channel.problem}" if failed else ""
