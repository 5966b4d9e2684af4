"""Runs the day: starts everything, sends each message when the one before has come to its end, tells it, and checks it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog
from rich.console import Console
from rich.table import Table

from interop_engine.core.libraries import overheard
from interop_engine.demo import checks
from interop_engine.demo.day import DELIVERED, PORT_OF, Step, steps
from interop_engine.demo.fhir_server import FhirServer
from interop_engine.demo.his import ReceivingSystem
from interop_engine.demo.node import DemoNode, Ended, NotSettled
from interop_engine.demo.people import DISTRICT
from interop_engine.demo.systems import HospitalSystem, NoAnswer, Sent

_NAMES = {"hub": "hub", DISTRICT: "district"}


@dataclass(frozen=True, slots=True)
class Told:
    """A step as it went. ``fault`` says what was not as it must be."""

    step: Step
    answer: str
    ended: Ended | None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that runs."""

    node: DemoNode
    hub: FhirServer
    district: FhirServer
    his: ReceivingSystem
    systems: Mapping[str, HospitalSystem]


def run(broker: str | None = None, stay: bool = False, console: Console | None = None) -> int:
    """Run the demonstration; 0 where every message and the end state are as they must be, else 1.

    ``broker``: URL of a RabbitMQ for the exchange, None for the embedded one. ``stay``: go on running until interrupted.
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))  # the table tells it all
    try:
        with overheard():
            return asyncio.run(_run(broker, stay, console or Console()))
    finally:
        structlog.reset_defaults()


async def _run(broker: str | None, stay: bool, console: Console) -> int:
    async with _stage(broker) as stage:
        told = await _tell(stage, console)
        found = await checks.check(stage.hub.url, stage.district.url, stage.his.received)
        console.print(_table(told))
        console.print(_checked(found))
        wrong = [each for each in told if each.fault]
        bad = checks.failed(found)
        if not wrong and not bad:
            console.print(f"[bold green]All is well:[/] {len(told)} messages and {len(found)} checks are as they must be.")
        else:
            console.print(
                f"[bold red]Something is wrong:[/] {len(wrong)} of {len(told)} messages, {len(bad)} of {len(found)} checks."
            )
        if stay:
            await _stay(stage, console)
    return 1 if wrong or bad else 0


@contextlib.asynccontextmanager
async def _stage(broker: str | None) -> AsyncIterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="interop-demo-") as folder:
        async with contextlib.AsyncExitStack() as stack:
            hub = await stack.enter_async_context(FhirServer(referential=True))
            district = await stack.enter_async_context(FhirServer(referential=True))
            his = await stack.enter_async_context(ReceivingSystem())
            places = {"HUB_FHIR_URL": hub.url, "DISTRICT_FHIR_URL": district.url, "DISTRICT_HIS": his.address}
            node = DemoNode(Path(folder), places, broker)
            await node.start()
            stack.push_async_callback(node.stop)
            systems = {}
            for channel, port in PORT_OF.items():
                systems[channel] = await stack.enter_async_context(HospitalSystem(channel, node.ports[port]))
            yield Stage(node, hub, district, his, systems)


async def _tell(stage: Stage, console: Console) -> list[Told]:
    told: list[Told] = []
    with console.status("") as status:
        for step in steps():
            status.update(f"{step.at} {step.system}: {step.what}")
            told.append(await _play(stage, step))
            if told[-1].ended is None:
                break  # what comes after rests on it
    return told


async def _play(stage: Stage, step: Step) -> Told:
    """Send the step's message, wait for its end, and say what is not as it must be."""
    if step.fault is not None:
        stage.hub.fail(step.fault)
    try:
        sent = await stage.systems[step.channel].send(step.data)
    except NoAnswer as error:
        return Told(step, "", None, str(error))
    try:
        ended = await stage.node.ended(step.channel, step.control_id)
    except NotSettled as error:
        return Told(step, sent.code, None, f"{error} {stage.node.problem}".rstrip())
    return Told(step, sent.code, ended, _fault(step, sent, ended))


def _fault(step: Step, sent: Sent, ended: Ended) -> str:
    expected = Ended(step.state, step.code, tuple(sorted(step.receivers.items())), step.arrivals)
    if sent.code != step.ack:
        return f"the answer must be {step.ack}"
    return "" if ended == expected else f"must end: {_end(expected)}"


def _end(ended: Ended) -> str:
    """Where a message ended, in words."""
    if ended.arrivals > 1:
        return f"known already: arrival {ended.arrivals}, sent once"
    if ended.receivers:
        reached = [_NAMES.get(receiver, receiver) for receiver, state in ended.receivers if state == DELIVERED]
        others = [f"{_NAMES.get(receiver, receiver)} {state}" for receiver, state in ended.receivers if state != DELIVERED]
        return "; ".join(part for part in ("delivered to " + " and ".join(reached) if reached else "", *others) if part)
    words = {"stale": "not delivered: something newer was", "training": "kept, not delivered: training"}
    if ended.state == "filtered":
        return words.get(ended.code, f"kept, not delivered: {ended.code}")
    said = f": {ended.why[:1].lower()}{ended.why[1:].rstrip('.')}" if ended.why else ""
    return f"{ended.state} {ended.code}".strip() + said


def _table(told: list[Told]) -> Table:
    table = Table(title="A day at the provincial hospital (everything in it is made up)", title_justify="left")
    table.add_column("Time")
    table.add_column("From")
    table.add_column("What went in", overflow="fold")
    table.add_column("Answer", justify="center")
    table.add_column("Where it ended", overflow="fold")
    for each in told:
        colour = "red" if each.fault else "green" if each.answer == "AA" else "yellow"
        end = _end(each.ended) if each.ended else "not at its end"
        if each.fault:
            end = f"{end}\n[red]✗ {each.fault}[/]"
        table.add_row(each.step.at, each.step.system, each.step.what, f"[{colour}]{each.answer or '—'}[/]", end)
    return table


def _checked(found: list[checks.Check]) -> Table:
    table = Table(title="The end state, asked of the two FHIR servers and of the HIS", title_justify="left", show_header=False)
    table.add_column("", justify="center")
    table.add_column("", overflow="fold")
    for each in found:
        row = ("[green]✓[/]", each.what) if each.ok else ("[red]✗[/]", f"{each.what}\n[red]{each.detail}[/]".rstrip())
        table.add_row(*row)
    return table


async def _stay(stage: Stage, console: Console) -> None:
    console.print("Everything goes on running. Ctrl-C ends it.")
    for name, port in stage.node.ports.items():
        console.print(f"  {name.removesuffix('_PORT').lower():10} mllp://127.0.0.1:{port}")
    console.print(f"  {'hub':10} {stage.hub.url}")
    console.print(f"  {'district':10} {stage.district.url}, mllp://{stage.his.address}")
    console.print(f"  {'status':10} http://{stage.node.status_address}/status")
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
