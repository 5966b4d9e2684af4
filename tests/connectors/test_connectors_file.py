"""Folders as a source and as a destination."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from interop_engine.connectors.file import FileDestination, FileDestinationOptions, FileSource, FileSourceOptions
from interop_engine.core.model import Accept, Delivered, Delivery, Retry, Unavailable
from interop_engine.hl7 import batch
from tests.support.mllp import Channel, message, reply_to, surroundings


def file_source(root: Path, **options: object) -> FileSource:
    """A source that looks when it is told to."""
    given = {"folder": "in", "every": "10ms", "settle": 1e-6, **options}
    return FileSource(FileSourceOptions.model_validate(given), surroundings(str(root)))


async def looks(source: FileSource, accept: Accept, count: int = 2) -> None:
    """Look at the folder, a number of times."""
    for _ in range(count):
        await source._look(accept)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of incoming files, with where they go."""
    for name in ("done", "failed"):
        (tmp_path / "in" / name).mkdir(parents=True)
    return tmp_path / "in"


def names(folder: Path) -> list[str]:
    """The files in it."""
    return sorted(path.name for path in folder.iterdir() if path.is_file())


async def test_a_file_is_taken_and_moved(folder: Path) -> None:
    """After the commit the file stands in ``done``; its name is the peer."""
    channel = Channel()
    (folder / "a.hl7").write_bytes(message("A1"))
    await looks(file_source(folder.parent), channel.accept)
    assert [(arrival.data, arrival.peer) for arrival in channel.arrivals] == [(message("A1"), "a.hl7")]
    assert (names(folder), names(folder / "done"), names(folder / "failed")) == ([], ["a.hl7"], [])


async def test_a_file_being_written_waits(folder: Path) -> None:
    """Only a file that two looks in a row find unchanged is taken."""
    channel, source = Channel(), file_source(folder.parent)
    (folder / "a.hl7").write_bytes(message("A1")[:20])
    await looks(source, channel.accept, 1)
    (folder / "a.hl7").write_bytes(message("A1"))
    await looks(source, channel.accept, 1)
    assert channel.arrivals == []
    await looks(source, channel.accept, 1)
    assert [arrival.data for arrival in channel.arrivals] == [message("A1")]


async def test_what_is_not_a_finished_file_is_left(folder: Path) -> None:
    """Hidden names, names of unfinished files, links, folders and other patterns stay where they are."""
    for name in (".a.hl7", "a.hl7.tmp", "a.part", "a.txt"):
        (folder / name).write_bytes(message("A1"))
    (folder / "link.hl7").symlink_to(folder / "a.txt")
    (folder / "folder.hl7").mkdir()
    channel = Channel()
    await looks(file_source(folder.parent, pattern="*"), channel.accept)
    assert [arrival.peer for arrival in channel.arrivals] == ["a.txt"]
    assert names(folder) == [".a.hl7", "a.hl7.tmp", "a.part"]
    assert (folder / "link.hl7").is_symlink()


async def test_oldest_first(folder: Path) -> None:
    """Files are taken in the order of their times."""
    for age, name in ((3, "b.hl7"), (2, "c.hl7"), (1, "a.hl7")):
        (folder / name).write_bytes(message(name))
        os.utime(folder / name, (1_700_000_000 - age, 1_700_000_000 - age))
    channel = Channel()
    await looks(file_source(folder.parent), channel.accept)
    assert [arrival.peer for arrival in channel.arrivals] == ["b.hl7", "c.hl7", "a.hl7"]


async def test_a_batch_is_split(folder: Path) -> None:
    """Each message of a batch is an arrival of its own."""
    (folder / "a.hl7").write_bytes(b"BHS|^~\\&\n" + message("A1") + message("A2") + b"BTS|2\n")
    channel = Channel()
    await looks(file_source(folder.parent), channel.accept)
    assert [arrival.data for arrival in channel.arrivals] == [message("A1"), message("A2")]


async def test_a_batch_of_too_many_messages_is_refused_as_a_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One arrival with its fault, and nothing of it is taken."""
    monkeypatch.setattr(batch, "MOST_MESSAGES", 2)
    data = message("A1") + message("A2") + message("A3")
    (folder / "a.hl7").write_bytes(data)
    channel = Channel()
    await looks(file_source(folder.parent), channel.accept)
    assert [(arrival.data, "more than 2 messages" in arrival.fault) for arrival in channel.arrivals] == [(data, True)]


async def test_a_refused_file_is_set_aside(folder: Path) -> None:
    """A file of which a message was rejected stands in ``failed``."""
    (folder / "a.hl7").write_bytes(b"junk")
    (folder / "b.hl7").write_bytes(b"BHS|^~\\&\r" + message("A1") + b"MSH|\rPID|1\r")
    channel = Channel()
    await looks(file_source(folder.parent), channel.accept)
    assert names(folder / "failed") == ["a.hl7", "b.hl7"]
    assert len(channel.arrivals) == 3


async def test_a_file_too_large(folder: Path) -> None:
    """It is journaled by its beginning, with the fault, and set aside."""
    (folder / "a.hl7").write_bytes(message("A1", "NTE|1||" + "x" * 2000))
    channel = Channel()
    await looks(file_source(folder.parent, max_file="1KB"), channel.accept)
    (arrival,) = channel.arrivals
    assert "larger than 1000 bytes" in arrival.fault
    assert names(folder / "failed") == ["a.hl7"]


async def test_what_cannot_be_committed_stays(folder: Path) -> None:
    """While the journal cannot take it, the file stays; then it is taken, and nothing after it before it."""
    for name in ("a", "b"):
        (folder / f"{name}.hl7").write_bytes(message(name))
        os.utime(folder / f"{name}.hl7", (1_700_000_000, 1_700_000_000))
    channel, source = Channel(answer=lambda _: Unavailable("full")), file_source(folder.parent)
    await looks(source, channel.accept, 3)
    assert names(folder) == ["a.hl7", "b.hl7"]
    assert {arrival.peer for arrival in channel.arrivals} == {"a.hl7"}
    channel.answer = reply_to
    await looks(source, channel.accept)
    assert names(folder / "done") == ["a.hl7", "b.hl7"]


async def test_a_file_that_cannot_be_moved(folder: Path) -> None:
    """It is said, and the files behind it are taken all the same; later looks only move it."""
    for name in ("a", "b"):
        (folder / f"{name}.hl7").write_bytes(message(name))
        os.utime(folder / f"{name}.hl7", (1_700_000_000, 1_700_000_000))
    (folder / "done").rmdir()
    channel, source = Channel(), file_source(folder.parent)
    await looks(source, channel.accept, 1)
    for _ in range(3):
        with pytest.raises(FileNotFoundError, match="files cannot be moved to done"):
            await looks(source, channel.accept, 1)
    assert [arrival.peer for arrival in channel.arrivals] == ["a.hl7", "b.hl7"]
    (folder / "done").mkdir()
    await looks(source, channel.accept, 1)
    assert names(folder / "done") == ["a.hl7", "b.hl7"]
    assert len(channel.arrivals) == 2


async def test_a_file_that_is_written_again_is_another(folder: Path) -> None:
    """What was handed over and could not be moved is handed over again once its content is another."""
    (folder / "a.hl7").write_bytes(message("A1"))
    (folder / "done").rmdir()
    channel, source = Channel(), file_source(folder.parent)
    await looks(source, channel.accept, 1)
    with pytest.raises(FileNotFoundError):
        await looks(source, channel.accept, 1)
    (folder / "a.hl7").write_bytes(message("A2", "NTE|1"))
    (folder / "done").mkdir()
    await looks(source, channel.accept)
    assert [arrival.data for arrival in channel.arrivals] == [message("A1"), message("A2", "NTE|1")]


async def test_a_file_that_somebody_has_open_waits(folder: Path) -> None:
    """A writer that pauses is not done: while it has the file open, however long that is unchanged, it is not taken."""
    channel, source = Channel(), file_source(folder.parent)
    with (folder / "a.hl7").open("wb") as writer:
        writer.write(message("A1")[:20])
        writer.flush()
        await looks(source, channel.accept, 5)
        assert channel.arrivals == []
        writer.write(message("A1")[20:])
    await looks(source, channel.accept)
    assert [arrival.data for arrival in channel.arrivals] == [message("A1")]


async def test_a_file_settles(folder: Path) -> None:
    """On a network's file system nobody can tell who writes: there a file waits as long as the site says."""
    (folder / "a.hl7").write_bytes(message("A1"))
    channel = Channel()
    await looks(file_source(folder.parent, settle="1h"), channel.accept, 3)
    assert channel.arrivals == []


async def test_done_may_be_on_another_file_system(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is copied there, whole and durable, before it is removed here."""
    rename = Path.rename

    def across(path: Path, target: Path) -> Path:
        if path.parent != target.parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", across)
    (folder / "a.hl7").write_bytes(message("A1"))
    channel = Channel()
    await looks(file_source(folder.parent), channel.accept)
    assert (names(folder), names(folder / "done")) == ([], ["a.hl7"])
    assert (folder / "done" / "a.hl7").read_bytes() == message("A1")


async def test_a_pattern_is_of_any_case(folder: Path) -> None:
    """UP.HL7 from a Windows machine is what *.hl7 means."""
    (folder / "UP.HL7").write_bytes(message("A1"))
    channel = Channel()
    await looks(file_source(folder.parent), channel.accept)
    assert names(folder / "done") == ["UP.HL7"]


async def test_a_name_that_was_there_before(folder: Path) -> None:
    """A second file of the same name does not replace the first in ``done``."""
    channel, source = Channel(), file_source(folder.parent)
    for number in (1, 2):
        (folder / "a.hl7").write_bytes(message(number))
        await looks(source, channel.accept)
    assert sorted(path.read_bytes() for path in (folder / "done").iterdir()) == [message(1), message(2)]


async def test_it_runs_and_stops(tmp_path: Path) -> None:
    """Started, it makes its folders and looks by itself; stopping lets the commit under way end; twice is harmless."""
    channel, source = Channel(), file_source(tmp_path)
    channel.gate.clear()
    await source.start(channel.accept)
    (tmp_path / "in" / "a.hl7").write_bytes(message("A1"))
    await channel.entered.acquire()
    stopping = asyncio.ensure_future(source.stop())
    await asyncio.sleep(0)
    assert not stopping.done()
    channel.gate.set()
    await stopping
    await source.stop()
    assert names(tmp_path / "in" / "done") == ["a.hl7"]
    assert source.health().place == str(tmp_path / "in")


def delivery(id_: str, media: str = "fhir", body: bytes = b"{}") -> Delivery:
    """A delivery with an id."""
    return Delivery(id_, "m1", "lab", "out", (), body, media)  # type: ignore[arg-type]


async def test_a_delivery_is_a_file(tmp_path: Path) -> None:
    """Named after the delivery, complete, and nothing else is left in the folder; a resend is the same file."""
    destination = FileDestination(FileDestinationOptions(folder="out"), surroundings(str(tmp_path)))
    await destination.open()
    assert await destination.deliver(delivery("d1")) == Delivered("d1.json")
    assert await destination.deliver(delivery("d1")) == Delivered("d1.json")
    assert await destination.deliver(delivery("d2", "hl7v2", message("A1"))) == Delivered("d2.hl7")
    await destination.close()
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == {"d1.json": b"{}", "d2.hl7": message("A1")}


async def test_a_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    """An id is only ever part of a name."""
    destination = FileDestination(FileDestinationOptions(folder="out"), surroundings(str(tmp_path)))
    assert await destination.deliver(delivery("../../etc/x")) == Delivered("______etc_x.json")
    assert names(tmp_path / "out") == ["______etc_x.json"]


async def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """Retry, with the reason in the health."""
    (tmp_path / "out").write_bytes(b"a file, not a folder")
    destination = FileDestination(FileDestinationOptions(folder="out"), surroundings(str(tmp_path)))
    outcome = await destination.deliver(delivery("d1"))
    assert isinstance(outcome, Retry)
    assert outcome.code == "file"
    assert destination.health().problem in outcome.why
