"""MLLP clients and servers that nobody of the project wrote, from PyPI and npm, get and give the right answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import threading
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from interop_engine.connectors.base import Surroundings
from interop_engine.connectors.mllp_destination import MllpDestination, MllpDestinationOptions
from interop_engine.core.model import Delivered, Delivery, Park
from tests.support.mllp import Channel, code_and_id, listening, message, surroundings
from tests.support.needs import require

PEERS = Path(__file__).parents[1] / "peers"
NAME = "PID|1||77^^^BV24001^MR||NGUYỄN^VĂN A\r"
LARGE = message("large", NAME + "OBX|1|TX|||" + "ệ" * 100_000 + "\r")


@contextlib.asynccontextmanager
async def destination(place: str) -> AsyncIterator[MllpDestination]:
    """Our client, connected to a peer's server."""
    lent: Surroundings = surroundings()
    client = MllpDestination(MllpDestinationOptions.model_validate({"connect": place, "ack_timeout": "20s"}), lent)
    await client.open()
    try:
        yield client
    finally:
        await client.close()


def delivery(body: bytes) -> Delivery:
    """A delivery of these bytes."""
    return Delivery("d1", "m1", "lab", "his", (), body, "hl7v2")


def address(source: Any) -> tuple[str, int]:
    """Where our server listens."""
    host, _, port = source.health().place.rpartition(":")
    return host, int(port)


# --- PyPI: hl7 (python-hl7) ------------------------------------------------------------------------------------------------


async def test_python_hl7_blocking_client() -> None:
    """Its blocking client reads our answer in one go."""
    require(find_spec("hl7"), "the Python package hl7")
    from hl7.client import MLLPClient

    def send(host: str, port: int) -> list[bytes]:
        with MLLPClient(host, port) as client:
            return [client.send_message(message(number, NAME)) for number in range(3)]

    channel = Channel()
    async with listening(channel) as source:
        answers = await asyncio.to_thread(send, *address(source))
    assert [code_and_id(answer.strip(b"\x0b\x1c\r")) for answer in answers] == [("AA", "0"), ("AA", "1"), ("AA", "2")]
    assert [arrival.data for arrival in channel.arrivals] == [message(number, NAME) for number in range(3)]


async def test_python_hl7_asyncio_client() -> None:
    """Its asyncio client parses our answers."""
    require(find_spec("hl7"), "the Python package hl7")
    from hl7.mllp import open_hl7_connection

    async with listening(Channel()) as source:
        reader, writer = await open_hl7_connection(*address(source), encoding="utf-8")
        for number in range(3):
            writer.writemessage(_parsed(message(number, NAME)))
            await writer.drain()
            answer = await reader.readmessage()
            assert (str(answer.segment("MSA")[1]), str(answer.segment("MSA")[2])) == ("AA", str(number))
        writer.close()
        await writer.wait_closed()


async def test_python_hl7_asyncio_server() -> None:
    """Its asyncio server answers AA, and AR to what it was told to refuse."""
    require(find_spec("hl7"), "the Python package hl7")
    from hl7.mllp import start_hl7_server

    async def serve(reader: Any, writer: Any) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                received = await reader.readmessage()
                code = "AR" if str(received.segment("MSH")[10]) == "refused" else "AA"
                writer.writemessage(received.create_ack(code))
                await writer.drain()
        writer.close()

    server = await start_hl7_server(serve, "127.0.0.1", 0, encoding="utf-8", limit=1_000_000)
    async with destination("{}:{}".format(*server.sockets[0].getsockname())) as client:
        for number in range(3):
            assert await client.deliver(delivery(message(number, NAME))) == Delivered("AA")
        assert await client.deliver(delivery(LARGE)) == Delivered("AA")
        assert await client.deliver(delivery(message("refused"))) == Park("AR", "the receiver answered AR")
    server.close()


def _parsed(data: bytes) -> Any:
    from hl7 import parse

    return parse(data.decode())


# --- PyPI: hl7apy ------------------------------------------------------------------------------------------------------


async def test_hl7apy_server() -> None:
    """Its server closes the connection after each answer: the next message goes on a new one, at once."""
    require(find_spec("hl7apy"), "the Python package hl7apy")
    from hl7apy.mllp import AbstractHandler, MLLPServer
    from hl7apy.parser import parse_message

    class Handler(AbstractHandler):  # type: ignore[misc]
        def reply(self) -> str:
            received = parse_message(self.incoming_message, find_groups=False)
            control_id = received.msh.msh_10.to_er7()
            return f"\x0bMSH|^~\\&|HIS|24001|LIS|24001|20240131||ACK^R01^ACK|1|P|2.5.1\rMSA|AA|{control_id}\r\x1c\r"

    server = MLLPServer("127.0.0.1", 0, {"ORU^R01^ORU_R01": (Handler,)})
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    try:
        async with destination("{}:{}".format(*server.server_address)) as client:
            for number in range(5):
                assert await client.deliver(delivery(message(number, NAME))) == Delivered("AA")
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        serving.join()


# --- npm -----------------------------------------------------------------------------------------------------------------


def _node() -> str:
    node = shutil.which("node")
    require(node and (PEERS / "node_modules").is_dir(), "Node.js and the packages of tests/peers (./dev test installs them)")
    assert node is not None
    return node


@pytest.mark.node
@pytest.mark.parametrize("library", ["@medplum/hl7", "simple-hl7", "node-hl7-client"])
async def test_npm_client(library: str) -> None:
    """It sends to our server, on one connection, and reads every answer; what it sent arrived unharmed."""
    sent = [message(f"A{number}", NAME) for number in range(5)]
    channel = Channel()
    async with listening(channel) as source:
        command = (_node(), str(PEERS / "client.mjs"), library, str(address(source)[1]))
        client = await asyncio.create_subprocess_exec(*command, stdin=-1, stdout=-1)
        answers, _ = await client.communicate(json.dumps([data.decode() for data in sent]).encode())
    assert json.loads(answers) == [["AA", f"A{number}"] for number in range(5)]
    assert [arrival.data.rstrip(b"\r") for arrival in channel.arrivals] == [data.rstrip(b"\r") for data in sent]


@pytest.mark.node
@pytest.mark.parametrize("library", ["@medplum/hl7", "simple-hl7", "node-hl7-server"])
async def test_npm_server(library: str) -> None:
    """It answers our client, also where it repeats the answers of all earlier messages (node-hl7-server does)."""
    server = await asyncio.create_subprocess_exec(_node(), str(PEERS / "server.mjs"), library, stdin=-1, stdout=-1)
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        port = int(await server.stdout.readline())
        async with destination(f"127.0.0.1:{port}") as client:
            outcomes = [await client.deliver(delivery(message(f"A{number}", NAME))) for number in range(5)]
    finally:
        server.stdin.close()
        received = (await server.stdout.read()).decode().split()
        await server.wait()
    assert outcomes == [Delivered("AA")] * 5
    assert sorted(set(received)) == [f"A{number}" for number in range(5)]
