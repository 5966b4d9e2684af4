"""Tables on a terminal: at any width they show what an operator looks for, and what is to be copied is whole."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from interop_engine.cli import messages as listing
from interop_engine.cli import output, status
from interop_engine.journal.base import DeliveryRow
from tests.support.small_site import run

ID = "01a22d60-106c-7d7f-8165-ad7680f1be5a"
COUNTS = ("received", "accepted", "rejected", "filtered")


class Screen:
    """A terminal of some columns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
        self.file = io.StringIO()
        screen = Console(file=self.file, width=width, highlight=False, markup=False, emoji=False, soft_wrap=True)
        monkeypatch.setattr(output, "console", lambda **_: screen)
        self._width = width

    def lines(self) -> list[str]:
        """What stands on it; no line is longer than it is wide."""
        lines = self.file.getvalue().splitlines()
        assert max(map(len, lines)) <= self._width
        return [line.rstrip() for line in lines]


def channel(name: str, state: str, problem: str) -> dict[str, Any]:
    """A channel as the status has it, with one destination."""
    backlog = {"waiting": 1203, "parked": 3, "holding": 2, "age": 93_784.0, "over": ""}
    destination = {"name": "record", "health": {"problem": problem}, "backlog": backlog}
    counts = dict.fromkeys(COUNTS, 1_203_554)
    rates = dict.fromkeys(("minute", "five_minutes", "fifteen_minutes"), 12.345)
    return {
        "name": name, "state": state, "backlog": backlog, "parked": 3, "last_received": "2026-11-29T23:53:20",
        "destinations": [destination], "rates": rates, **counts,
    }  # fmt: skip


@pytest.mark.parametrize("width", [80, 100, 120, 160])
def test_the_state_is_shown_at_any_width(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what waits and is parked and how old that is; counts are left out where there is no room for them."""
    screen = Screen(monkeypatch, width)
    found = {"at": "2026-11-30T00:00:00", "channels": [channel("laboratory-results", "stopped", "Connection refused, 5 times")]}
    status._show_channels(found)
    lines = screen.lines()
    (head,) = (line for line in lines if "channel" in line)
    assert [each for each in ("state", "waiting", "parked", "oldest") if each not in head] == []
    assert any("laboratory-results   stopped" in line for line in lines)
    assert "Connection refused" in " ".join(" ".join(lines).split())
    assert ("1/5/15" in head) == (width == 160)


@pytest.mark.parametrize("width", [80, 120])
def test_ids_and_states_are_whole_beside_long_reasons(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An id is there to be copied; what is said below it is folded instead."""
    screen = Screen(monkeypatch, width)
    why = "OBR[1]-25: a code of diagnostic-report-status after which there is nothing to map"
    row = DeliveryRow(ID, "record", "delivered", 7, code="204", why=why)
    output.table(
        ("delivery", "state", "attempts", "due or settled (+07:00)"),
        [listing._delivery(row, None)],
        whole=("delivery", "state", "attempts", "due or settled (+07:00)"),
        seldom=("attempts",),
    )
    lines = screen.lines()
    assert any(line.strip().startswith(f"{ID} ") and "delivered" in line for line in lines)
    assert "".join(f"→ record204 {why}".split()) in "".join("".join(lines).split())
    assert any("attempts" in line for line in lines) == (width == 120)


def test_help_is_as_wide_as_the_terminal_and_flags_take_no_value() -> None:
    """A paragraph of a docstring is no list of lines, and ``--yes <bool>`` is not what is typed."""
    told = run("messages", "retry", "--help").output
    assert "<bool>" not in told
    assert "[[" not in told
    paragraph = [line.strip() for line in told.partition("The same ids")[2].partition("╭")[0].splitlines() if line.strip()]
    assert all(len(line) > 60 for line in paragraph[:-1])
