"""What an import of other definitions leaves behind at a broker, and the commands that take it away."""

from __future__ import annotations

import asyncio
import secrets
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from interop_engine.cli.app import app
from interop_engine.core.model import Delivered
from interop_engine.exchange import open_exchange
from interop_engine.exchange.base import Exchange, Parcel
from tests.support.broker import Broker

BEFORE = """\
facilities:
  hub: {queues: 1}
  "24001":
  "24017":
kinds: [lab, imaging]
agreements:
  - {from: ["24001", "24017"], to: hub, kinds: [lab, imaging]}
"""
AFTER = """\
facilities:
  hub: {queues: 2}
  "24001":
kinds: [lab, imaging]
agreements:
  - {from: "24001", to: hub, kinds: lab}
"""


def run(*arguments: object) -> str:
    """A verb of ``exchange``."""
    result = CliRunner().invoke(app, ["exchange", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


def definitions(folder: Path, agreements: str, *more: object) -> Path:
    """As the verb writes them."""
    folder.mkdir()
    (folder / "agreements.yaml").write_text(agreements, encoding="utf-8")
    file = folder / "definitions.json"
    file.write_text(run("definitions", folder, *more), encoding="utf-8")
    return file


def test_what_is_left_is_said_in_the_order_it_is_to_be_taken_away(tmp_path: Path) -> None:
    """Rights first, then what is delivered, then what would be lost; beside each what to see to."""
    before, after = definitions(tmp_path / "a", BEFORE), definitions(tmp_path / "b", AFTER)
    assert (
        run("changes", before, after)
        == """\
# To be run after rabbitmqctl import_definitions, in this order.

# No facilities any more: this ends their rights and their connections.
rabbitmqctl delete_user 24017

# Other rights than before: connections that are open keep the old ones. Their nodes connect again by themselves.
rabbitmqctl close_all_user_connections hub 'the agreements have changed'
rabbitmqctl close_all_user_connections 24001 'the agreements have changed'

# Another number of queues: only where they were drained before the import. What came since is in the new ones too;
# what came before can be read by nobody now, and is lost. See that they were empty before you import:
#   rabbitmqctl list_queues -p / name messages
rabbitmqctl delete_queue -p / interop.hub

# Of no facility any more: what waits there is lost. See what that is:
#   rabbitmqctl list_queues -p / name messages
rabbitmqctl delete_queue -p / interop.24017
rabbitmqctl delete_queue -p / interop.24017.receipts
"""
    )


def test_a_kind_that_is_no_longer_agreed_is_unbound(tmp_path: Path) -> None:
    """From the queue that stays; the broker would go on delivering it."""
    before = definitions(tmp_path / "a", BEFORE)
    after = definitions(tmp_path / "b", BEFORE.replace("kinds: [lab, imaging]}", "kinds: lab}"))
    expected = "rabbitmqadmin -V / delete binding source=interop destination_type=queue destination=interop.hub properties_key="
    assert [line for line in run("changes", before, after).splitlines() if "binding" in line] == [f"{expected}'imaging.*.hub.*'"]


def test_another_virtual_host_leaves_everything_behind(tmp_path: Path) -> None:
    """The users stay, and their rights on the old one are cleared."""
    before, after = definitions(tmp_path / "a", AFTER), definitions(tmp_path / "b", AFTER, "--vhost", "hie")
    lines = run("changes", before, after).splitlines()
    assert {"rabbitmqctl clear_permissions -p / hub", "rabbitmqctl clear_topic_permissions -p / hub"} <= {*lines}
    assert "rabbitmqctl delete_queue -p / interop.hub.1of2" in lines


def test_where_nothing_is_left_nothing_is_said(tmp_path: Path) -> None:
    """New facilities and agreements are all in the import."""
    more = AFTER.replace('"24001":\n', '"24001":\n  "24002":\n').replace('from: "24001"', 'from: ["24001", "24002"]')
    assert run("changes", definitions(tmp_path / "a", AFTER), definitions(tmp_path / "b", more)) == ""


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"users": 1}'])
def test_what_holds_no_definitions_is_refused(tmp_path: Path, text: str) -> None:
    """The file is named."""
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    result = CliRunner().invoke(app, ["exchange", "changes", *[str(tmp_path / "x.json")] * 2])
    assert (result.exit_code, "x.json holds no definitions" in result.output.replace("\n", " ")) == (1, True)


@pytest.mark.rabbitmq
@pytest.mark.timeout(400)  # ten rabbitmqctl, of which each starts an Erlang of its own
async def test_the_commands_do_what_they_say(tmp_path: Path, own_broker: Broker) -> None:
    """After them who is no facility cannot log in, narrowed rights count at once, and no old queue fills."""
    known = {name: secrets.token_hex(8) for name in ("hub", "24001", "24017")}
    passwords = tmp_path / "passwords"
    passwords.mkdir()
    for name, password in known.items():
        (passwords / name).write_text(password, encoding="utf-8")
    url: Callable[[str], str] = lambda name: f"amqp://{name}:{known[name]}@127.0.0.1:{own_broker.port}/"  # noqa: E731
    before = definitions(tmp_path / "a", BEFORE, "--passwords", passwords)
    after = definitions(tmp_path / "b", AFTER, "--passwords", passwords)
    own_broker.control("import_definitions", str(before))
    nodes = {name: open_exchange(url(name), declare=False) for name in ("24001", "24017")}
    for name, node in nodes.items():
        await node.open()
        for kind in ("lab", "imaging"):
            assert await node.publish(Parcel(f"{name}-{kind}", name, "hub", kind, b"{}", "fhir")) == Delivered()
    own_broker.control("import_definitions", str(after))
    for line in run("changes", before, after).splitlines():
        if line.startswith("rabbitmqctl "):
            own_broker.control(*shlex.split(line)[1:])
    queues = own_broker.control("list_queues", "name").split()[1:]
    of_24001, of_hub = (
        ["interop.24001", "interop.24001.receipts"],
        ["interop.hub.0of2", "interop.hub.1of2", "interop.hub.receipts"],
    )
    assert sorted(queues) == [*of_24001, *of_hub]
    for name, kind, expected in (("24001", "lab", ""), ("24001", "imaging", "not-permitted"), ("24017", "lab", "exchange-down")):
        async with asyncio.timeout(30):
            while await answer(nodes[name], Parcel(kind, name, "hub", kind, b"{}", "fhir")) != expected:
                pass
    for node in nodes.values():
        await node.close()


async def answer(node: Exchange, parcel: Parcel) -> str:
    """The code of an attempt, empty once it is delivered; after a while, as the engine tries again."""
    await asyncio.sleep(0.02)
    return getattr(await node.publish(parcel), "code", "")
