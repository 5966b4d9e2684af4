"""Searching a journal of a million messages: what each condition costs, alone and two together, first page and a deep one.

    ./dev bench search [--messages 1000000] [--rounds 40] [--backlog 0.25] [--old] [--keep FILE]

The journal is filled through its own statements, in large transactions and without contents: a year and a half of a provincial
hospital with 20 channels, 100,000 patients, some hundred parked deliveries, a thousand messages still to be mapped, and two
destinations that are away: one for two days, one that a quarter of all messages wait for (with --old: the oldest quarter, while
what came later is delivered).
Then it is opened as the operator's verbs open it, read-only, and asked for pages of 50. A deep page is the one before the
ten-thousandth match, or before the middle one where there are fewer.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import apsw

from benchmarks.machine import describe
from interop_engine.journal import codec, open_journal
from interop_engine.journal.base import Journal, Selection
from interop_engine.journal.sqlite import schema, statements

START = datetime(2025, 1, 1, tzinfo=UTC)
STEP = timedelta(seconds=47)
TYPES = ("ORU^R01",) * 9 + ("ORM^O01",) * 4 + ("ADT^A08",) * 4 + ("ADT^A01", "ADT^A03", "SIU^S12", "MDM^T02", "DFT^P03")
PATIENTS = 100_000
RECEIVED = 1_000  # messages that are still to be mapped
AWAY = 4_000  # messages that wait for the destination that is away
CHUNK = 20_000
DEEP = 10_000


def rows(count: int, backlog: float = 0.0, *, old: bool = False) -> Iterator[dict[str, Any]]:
    """What is written of each message, in order of arrival. ``backlog``: the share that waits for a destination."""
    chance = random.Random(7)  # the same journal each time
    for number in range(1, count + 1):
        type_ = chance.choice(TYPES)
        channel = f"channel-{TYPES.index(type_) + chance.randrange(3):02}"
        dice = chance.random()
        state = (
            "received"
            if number > count - RECEIVED
            else "transformed"
            if dice < 0.97
            else "filtered"
            if dice < 0.99
            else "rejected"
            if dice < 0.997
            else "parked"
        )
        behind = number <= count * backlog if old else dice > 0.97 - backlog
        waits = (channel == "channel-00" and number > count - AWAY * 8) or behind
        delivered = "parked" if dice < 0.0005 else "waiting" if waits else "delivered"
        yield {
            "seq": number, "channel": channel, "type": type_, "state": state, "at": codec.micros(START + number * STEP),
            "patient": f"BN{chance.randrange(PATIENTS):06}", "delivery": delivered if state == "transformed" else "",
        }  # fmt: skip


def fill(path: Path, count: int, backlog: float = 0.0, *, old: bool = False) -> None:
    """Write the messages, their keys and their deliveries."""
    schema.connect_writer(path).close()
    connection = apsw.Connection(str(path))
    connection.pragma("synchronous", "OFF")
    connection.pragma("cache_size", -400_000)
    made = rows(count, backlog, old=old)
    while chunk := list(islice(made, CHUNK)):
        with connection:
            connection.executemany(statements.ADD_MESSAGE, (_message(row) for row in chunk))
            connection.executemany(statements.ADD_KEY, (key for row in chunk for key in _keys(row)))
            connection.executemany(statements.ADD_DELIVERY, (_delivery(row) for row in chunk if row["delivery"]))
            settled = [(row["delivery"], row["seq"]) for row in chunk if row["delivery"] in ("delivered", "parked")]
            connection.executemany("UPDATE deliveries SET state = ?, attempts = 1 WHERE message = ?", settled)
    with connection:
        connection.execute("INSERT INTO message_counts SELECT channel, state, count(*) FROM messages GROUP BY 1, 2")
        connection.execute(
            "INSERT INTO delivery_counts SELECT channel, destination, state, count(*) FROM deliveries GROUP BY 1, 2, 3"
        )
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    connection.close()


def _message(row: dict[str, Any]) -> tuple[Any, ...]:
    number = row["seq"]
    return (
        number, f"m{number:011}", row["channel"], row["state"], row["at"], f"C{number}", row["type"], "10.0.0.7:4242", "hl7v2",
        "0" * 64, number, 1900, b"", "[]", "{}", "", "", "c" * 64, f"k{number}", None,
    )  # fmt: skip


def _keys(row: dict[str, Any]) -> list[tuple[str, str, int]]:
    number = row["seq"]
    texts = (("patient", row["patient"]), ("order", f"A{number}"), ("order", f"F{number}"), ("accession", f"X{number // 2}"))
    return [(kind, text, number) for kind, text in texts]


def _delivery(row: dict[str, Any]) -> tuple[Any, ...]:
    number = row["seq"]
    return (number, f"d{number:011}", number, row["channel"], "hub", "[]", number, 40_000, "0" * 64, "fhir", "{}", row["at"], 0)


def conditions(count: int) -> dict[str, Selection]:
    """What an operator asks for."""
    middle = START + count // 2 * STEP
    patient = next(islice(rows(count), count // 3, None))["patient"]
    return {
        "nothing": Selection(),
        "patient": Selection(search=(("patient", patient),)),
        "control id": Selection(control_id=f"C{count // 2}"),
        "order": Selection(search=(("order", f"A{count // 2}"),)),
        "accession": Selection(search=(("accession", f"X{count // 4}"),)),
        "time": Selection(since=middle, until=middle + timedelta(days=30)),
        "channel": Selection(channel="channel-18"),
        "type": Selection(message_type="MDM^T02"),
        "received": Selection(states=("received",)),
        "transformed": Selection(states=("transformed",)),
        "parked": Selection(states=("parked",)),
        "rejected or filtered": Selection(states=("rejected", "filtered")),
        "delivery-parked": Selection(states=("delivery-parked",)),
        "delivery-waiting": Selection(states=("delivery-waiting",)),
    }


def pairs(alone: dict[str, Selection]) -> Iterator[tuple[str, Selection]]:
    """Each condition alone, and with each other that does not say the same thing."""
    yield from alone.items()
    names = [name for name in alone if name != "nothing"]
    for number, one in enumerate(names):
        for other in names[number + 1 :]:
            if (both := _both(alone[one], alone[other])) is not None:
                yield f"{one} + {other}", both


def _both(one: Selection, other: Selection) -> Selection | None:
    changes: dict[str, Any] = {}
    for name in ("channel", "states", "since", "until", "control_id", "message_type", "search"):
        first, second = getattr(one, name), getattr(other, name)
        if first and second and name == "states":
            return None
        changes[name] = (*first, *second) if name == "search" else first or second
    return replace(one, **changes)


async def measure(path: Path, count: int, rounds: int) -> None:
    """Print p50 and p99 of each, slowest last."""
    journal = open_journal(path, readonly=True)
    await journal.open()
    await _times(journal, Selection(), 3)
    print(f"{'condition':44} {'rows':>5}   {'first page p50':>14} {'p99':>7}   {'deep page p50':>13} {'p99':>7}   ms")
    lines = []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, selection in pairs(conditions(count)):
        first, got = await _times(journal, selection, rounds)
        deep = await _deep(journal, selection)
        later, _ = await _times(journal, deep, rounds) if deep else ([0.0], 0)
        lines.append((max(_p99(first), _p99(later)), name, got, first, later))
    for _, name, got, first, later in sorted(lines):
        print(f"{name:44} {got:5}   {_p50(first):14.2f} {_p99(first):7.2f}   {_p50(later):13.2f} {_p99(later):7.2f}")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"worst p99 {max(line[0] for line in lines):.2f} ms; the process grew by {grown:.0f} MB meanwhile")
    await journal.close()


async def _times(journal: Journal, selection: Selection, rounds: int) -> tuple[list[float], int]:
    taken = []
    found = 0
    for _ in range(rounds):
        start = time.perf_counter()
        found = len(await journal.search(selection))
        taken.append((time.perf_counter() - start) * 1e3)
    return sorted(taken), found


async def _deep(journal: Journal, selection: Selection) -> Selection | None:
    """The page before the ten-thousandth match, or before the middle one."""
    found = [row.id for row in await journal.search(replace(selection, limit=DEEP))]
    return replace(selection, before=found[-1] if len(found) == DEEP else found[len(found) // 2]) if found else None


def _p50(taken: list[float]) -> float:
    return taken[len(taken) // 2]


def _p99(taken: list[float]) -> float:
    return taken[min(len(taken) * 99 // 100, len(taken) - 1)]


def main(arguments: list[str]) -> None:
    """Fill, then measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--backlog", type=float, default=0.25, help="the share of the messages that waits for a destination")
    parser.add_argument("--old", action="store_true", help="it is the oldest that waits")
    parser.add_argument("--keep", type=Path, default=None, help="fill this file, or use it as it is")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        path = options.keep or Path(folder, "journal.db")
        print(describe())
        if not path.exists():
            start = time.perf_counter()
            fill(path, options.messages, options.backlog, old=options.old)
            size = path.stat().st_size / 1e6
            print(f"{options.messages:,} messages filled in {time.perf_counter() - start:.0f} s, {size:.0f} MB without contents")
        asyncio.run(measure(path, options.messages, options.rounds))
