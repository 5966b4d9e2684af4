"""Messages nobody of the project wrote, and those of the sample site, taken through the command line's own way of mapping."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from interop_engine.cli.bench import Bench
from interop_engine.cli.inputs import Message, read_messages
from interop_engine.core.model import Resource
from tests.support.needs import require

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT.parent / "shared" / "corpus"
SAMPLES = ROOT / "mappings" / "cases" / "samples"


@dataclass(frozen=True)
class Outcome:
    """What became of one message. ``said`` is what an engineer reads on stderr, ``bundle`` None where there is none to send."""

    label: str
    event: str
    size: int
    seconds: float
    bundle: Resource | None
    said: str


def corpus() -> list[Path]:
    """Every file of the corpus; skips where it is not beside the project."""
    require(CORPUS.is_dir(), "the corpus of public messages beside the project")
    return sorted(CORPUS.rglob("*.hl7"))


def samples() -> list[Path]:
    """The messages of the mappings' test cases."""
    return sorted(SAMPLES.glob("*.hl7"))


@cache
def corpus_outcomes() -> Sequence[Outcome]:
    """What becomes of each message of the corpus, on the sample site."""
    return _outcomes(corpus(), CORPUS)


@cache
def sample_outcomes() -> Sequence[Outcome]:
    """What becomes of each sample."""
    return _outcomes(samples(), SAMPLES)


def _outcomes(files: Sequence[Path], root: Path) -> Sequence[Outcome]:
    bench = Bench.of(ROOT, None, None)
    return [_outcome(bench, message, root) for file in files for message in read_messages(str(file))]


def _outcome(bench: Bench, message: Message, root: Path) -> Outcome:
    with contextlib.redirect_stderr(io.StringIO()) as said:
        begin = time.perf_counter()
        mapped = bench.map(message, None)
        seconds = time.perf_counter() - begin
    bundle = None if mapped is None or mapped.parked is not None else mapped.bundle
    label = message.label.removeprefix(f"{root}/")
    return Outcome(label, event(message.data), len(message.data), seconds, bundle, said.getvalue())


def event(data: bytes) -> str:
    """MSH-9 as ``ORU^R01``, read without the parser that is on trial; empty where the bytes begin with no MSH."""
    data = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not data.startswith(b"MSH"):
        return ""
    fields = data.split(b"\r", 1)[0].split(data[3:4])
    parts = fields[8].split(fields[1][:1]) if len(fields) > 8 else []
    return "^".join(part.decode("latin-1") for part in parts[:2])
