"""How long a journal is written anew with other keys: from plain, and then with all keys changed.

    ./dev bench rekey [--messages 10000] [--folder DIR]

The journal is that of ``bench_journal``'s whole lives: two deliveries, three search keys and 22 sent resources a message.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import tempfile
import time
from pathlib import Path

from benchmarks.bench_journal import Life
from interop_engine.journal import open_journal
from interop_engine.journal.keys import Keys, read_keys
from interop_engine.journal.sqlite.rekeying import rekey

_WORKERS = 16


async def filled(path: Path, messages: int) -> None:
    """A journal in plain, of messages that were delivered."""
    journal = open_journal(path)
    await journal.open()
    await Life(journal, messages).run(_WORKERS)
    await journal.close()


def changed(path: Path, old: Keys | None, new: Keys, messages: int) -> None:
    """Write it anew, and print what that took."""
    size = path.stat().st_size
    copied = 0.0

    def progress(done: int, of: int) -> None:
        nonlocal copied
        if not copied and done >= of - messages:
            copied = time.perf_counter()

    began = time.perf_counter()
    before = asyncio.run(rekey(path, old, new, progress))
    elapsed = time.perf_counter() - began
    before.unlink()
    how = "from plain" if old is None else "other keys"
    print(
        f"{how}: {messages:,} messages in {elapsed:.1f} s, of which {copied - began:.1f} s to write and the rest to check"
        f"   {size / 1e6:,.0f} MB to {path.stat().st_size / 1e6:,.0f} MB"
    )


def _keys(file: Path) -> Keys:
    file.touch(0o600)
    file.write_text(f"bench {base64.b64encode(os.urandom(32)).decode()}\n", encoding="ascii")
    return read_keys(file)


def main(arguments: list[str]) -> None:
    """Fill a journal and change its keys twice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        path = Path(name) / "journal.db"
        asyncio.run(filled(path, options.messages))
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        first, second = _keys(Path(name) / "first"), _keys(Path(name) / "second")
        changed(path, None, first, options.messages)
        changed(path, first, second, options.messages)
