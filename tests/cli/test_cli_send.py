"""``send``: the MLLP client, against receivers that behave and receivers that do not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from interop_engine.cli.app import app
from interop_engine.hl7.ack import acknowledge
from interop_engine.hl7.framing import Decoder, Frame, frame
from interop_engine.hl7.message import parse
from tests.support.certificates import Authority
from tests.support.mllp import Channel, listening

Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
AT = datetime(2026, 3, 2, tzinfo=UTC)


def message(control_id: str) -> bytes:
    """A synthetic message, with the line ends of an editor."""
    return f"MSH|^~\\&|LIS|BV|ENGINE|BV|20260302||ADT^A04|{control_id}|P|2.5\nPID|1||BN1^^^BV^MR||Nguyễn^Ánh\n".encode()


@asynccontextmanager
async def receiver(answer: Answer) -> AsyncIterator[tuple[str, list[bytes]]]:
    """An MLLP receiver that answers each frame with ``answer``; gives its address and what it got."""
    got: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = Decoder(max_frame=1_000_000)
        while data := await reader.read(65_536):
            for event in decoder.feed(data):
                assert isinstance(event, Frame)
                got.append(event.data)
                await answer(event.data, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}", got


def ack(data: bytes, code: str, control_id: str | None = None) -> bytes:
    """A framed acknowledgement; ``control_id`` in place of the message's own makes a stale one."""
    if control_id is not None:
        data = data.replace(parse(data).control_id.encode(), control_id.encode())
    return frame(acknowledge(parse(data), code, control_id="A1", at=AT))  # type: ignore[arg-type]


async def accept(data: bytes, writer: asyncio.StreamWriter) -> None:
    """Answer AA."""
    writer.write(ack(data, "AA"))


async def send(*arguments: str) -> tuple[int, str, str]:
    """The verb, in a thread: it runs an event loop of its own."""
    result = await asyncio.to_thread(CliRunner().invoke, app, ["send", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A file with three messages."""
    path = tmp_path / "three.hl7"
    path.write_bytes(b"".join(message(f"C{number}") for number in range(3)))
    return str(path)


async def test_all_accepted_ends_with_0(file: str) -> None:
    """Each message of a file is sent by itself with CR line ends, in order on one connection; the summary counts them."""
    async with receiver(accept) as (address, got):
        code, stdout, _ = await send(address, file, "--json")
    summary = json.loads(stdout)
    assert (code, summary["messages"], summary["accepted"], summary["codes"]) == (0, 3, 3, {"AA": 3})
    assert [parse(data).control_id for data in got] == ["C0", "C1", "C2"]
    assert got[0] == message("C0").replace(b"\n", b"\r")


async def test_a_refusal_ends_with_1_and_is_shown(file: str) -> None:
    """AE is no acceptance; the table names the message, the code and the text."""

    async def refuse_one(data: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(ack(data, "AE" if b"|C1|" in data else "AA"))

    async with receiver(refuse_one) as (address, _):
        code, stdout, _ = await send(address, file)
    assert code == 1
    assert "answered AE" in stdout
    assert [line.split()[1:3] for line in stdout.splitlines() if "C1" in line] == [["C1", "AE"]]


async def test_a_stale_answer_is_skipped(file: str) -> None:
    """An acknowledgement whose MSA-2 is another's is not this message's; the right one after it is."""

    async def late(data: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(ack(data, "AR", "OLD") + ack(data, "AA"))

    async with receiver(late) as (address, _):
        code, stdout, _ = await send(address, file, "--json")
    assert (code, json.loads(stdout)["codes"]) == (0, {"AA": 3})


async def test_silence_and_a_closed_connection_are_no_answer(file: str) -> None:
    """Nothing within the time, or a connection closed: the message is not accepted, and the next goes over a new connection."""

    async def fall_silent(data: bytes, writer: asyncio.StreamWriter) -> None:
        if b"|C0|" in data:
            return
        if b"|C1|" in data:
            writer.close()
            return
        await accept(data, writer)

    async with receiver(fall_silent) as (address, _):
        code, stdout, _ = await send(address, file, "--json", "--timeout", "0.2")
    summary = json.loads(stdout)
    assert (code, summary["accepted"], summary["unanswered"]) == (1, 1, 2)
    assert [failure["text"] for failure in summary["failures"]] == [
        "No answer within 0.2 s.",
        "The connection was closed without an answer.",
    ]


async def test_nobody_listening_is_said_for_each_message(file: str) -> None:
    """A refused connection is an unanswered message, not a traceback."""
    server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    address = "127.0.0.1:" + str(server.sockets[0].getsockname()[1])
    server.close()
    await server.wait_closed()
    code, stdout, _ = await send(address, file, "--json")
    summary = json.loads(stdout)
    assert (code, summary["unanswered"]) == (1, 3)
    assert "refused" in summary["failures"][0]["text"].lower()
    assert (summary["p50"], summary["p99"]) == (None, None)
    assert "ACK p50" not in (await send(address, file))[1]


async def test_a_host_that_has_no_address_is_named(file: str) -> None:
    """A slip of the keyboard, or no name server: the resolver's words, not the number of its error."""
    code, stdout, _ = await send("nowhere.invalid:2575", file, "--json")
    text = json.loads(stdout)["failures"][0]["text"]
    assert (code, text.startswith("nowhere.invalid: "), "Unknown error" in text) == (1, True, False)


async def test_load_goes_over_several_connections_with_new_ids(file: str, tmp_path: Path) -> None:
    """--repeat, --connections and --new-ids: every message once, each with an MSH-10 of its own; the log has them all."""
    log = tmp_path / "log.jsonl"
    async with receiver(accept) as (address, got):
        code, _, _ = await send(address, file, "--repeat", "10", "--connections", "4", "--new-ids", "--log", str(log))
    ids = [parse(data).control_id for data in got]
    logged = [json.loads(line) for line in log.read_text().splitlines()]
    assert (code, len(ids), len(set(ids))) == (0, 30, 30)
    assert sorted(line["control_id"] for line in logged) == sorted(ids)
    assert {line["code"] for line in logged} == {"AA"}


async def test_a_rate_is_kept(file: str) -> None:
    """Twelve messages at 40 a second take at least the time of eleven gaps."""
    async with receiver(accept) as (address, _):
        _, stdout, _ = await send(address, file, "--repeat", "4", "--rate", "40", "--connections", "3", "--json")
    assert json.loads(stdout)["seconds"] >= 11 / 40


async def test_wrong_usage_and_missing_files_are_said(tmp_path: Path) -> None:
    """No traceback: a wrong address ends with 2, a missing file and an empty one with 1."""
    empty = tmp_path / "empty.hl7"
    empty.touch()
    code, _, stderr = await send("nowhere", str(empty))
    assert (code, "HOST:PORT" in stderr) == (2, True)
    code, _, stderr = await send("127.0.0.1:1", str(tmp_path / "none.hl7"))
    assert (code, "none.hl7: No such file or directory" in stderr) == (1, True)
    code, _, stderr = await send("127.0.0.1:1", str(empty))
    assert (code, "There is no message to send." in stderr) == (1, True)


async def test_over_tls(tmp_path: Path, file: str) -> None:
    """With the authority, and a certificate of our own where the receiver asks; without them it says why not."""
    authority = Authority(tmp_path / "tls")
    (certificate, key), (ours, our_key) = authority.sign("engine"), authority.sign("lab")
    async with listening(Channel(), tls={"certificate": certificate, "key": key, "client_ca": authority.file}) as source:
        place = source.health().place
        code, out, _ = await send(place, file, "--ca", authority.file, "--certificate", ours, "--key", our_key)
        assert (code, "accepted" in out) == (0, True)
        log = tmp_path / "log"
        code, _, _ = await send(place, file, "--tls", "--log", str(log))
        assert (code, "No TLS connection" in json.loads(log.read_text().splitlines()[0])["text"]) == (1, True)
    code, _, err = await send(place, file, "--ca", "no.pem")
    assert (code, "cannot be used: No such file" in err) == (1, True)
