"""HL7 v2 made of bundles: its receiver gets the whole report each time, though a bundle says only what has changed."""

from __future__ import annotations

from pathlib import Path

from interop_engine.demo.his import ReceivingSystem
from interop_engine.hl7.message import Message, parse
from interop_engine.journal.base import MessageState, Selection
from tests.support.node import Node, make_site, running
from tests.support.texts import admission, result, text

BACK = """\
channel: to-his
source:
  exchange: {as: hub, kinds: [lab, imaging, order, patient]}
deliver:
  - name: his
    file: {folder: to-his, send: oru_from_bundle, application: HIS, facility: "24017"}
"""


def way_back(folder: Path, channel: str = BACK) -> Path:
    """The sample site whose hub only speaks HL7 v2."""
    site = make_site(folder, receivers=())
    (site / "channels" / "to-his.yaml").write_text(channel, encoding="utf-8")
    return site


def arrived(node: Node) -> list[Message]:
    """What the receiver has, in the order it came."""
    return [parse(file.read_bytes()) for file in sorted((node.folder / "to-his").glob("*.hl7"))]


def panel(control_id: str, *, glucose: str, at: str, status: str = "F") -> bytes:
    """Two results of one report, of which the second never changes."""
    return text(
        result(control_id, at=at).decode().split("\r")[0],
        "PID|1||BN001^^^BV24001^MR||Nguyễn^An^Văn||19800511|M",
        "ORC|RE|A17^HIS|F17^LAB",
        "OBR|1|A17^HIS|F17^LAB|SH^Sinh hoá^99LIS|||20261121080000+0700|||||||||||||||20261121083000+0700||CH|F",
        f"OBX|1|NM|GLU^Glucose^99LIS||{glucose}|mmol/L|||||{status}",
        "OBX|2|NM|CRE^Creatinine^99LIS||88|umol/L|||||F",
    )


async def test_a_delta_becomes_the_whole_report(tmp_path: Path) -> None:
    """The second bundle names one result only: patient, order, report and the other result come from what was kept."""
    async with running(way_back(tmp_path)) as node:
        await node.send("lab-results", panel("M1", glucose="5.20", at="20261121083000+0700"))
        await node.settled()
        await node.send("lab-results", panel("M2", glucose="5.60", at="20261121093000+0700", status="C"))
        await node.settled()
        first, second = arrived(node)
        for message in (first, second):
            assert message.all("PID")[0].raw(5).startswith("Nguyễn^An^Văn")
            assert message.all("OBR")[0].raw(2) == "A17^HIS"
        values = [[(obx.raw(3).split("^")[0], obx.raw(5), obx.raw(11)) for obx in each.all("OBX")] for each in (first, second)]
        assert values == [[("GLU", "5.20", "F"), ("CRE", "88", "F")], [("GLU", "5.60", "C"), ("CRE", "88", "F")]]
        assert first.control_id != second.control_id


async def test_what_is_no_result_is_filtered_and_says_so(tmp_path: Path) -> None:
    """An admission holds nothing of which ORU^R01 could be made."""
    async with running(way_back(tmp_path)) as node:
        await node.send("patients", admission("P1", patient="BN001"))
        await node.settled()
        (row,) = await node.runtime.journal.search(Selection(channel="to-his", limit=5))
    assert (row.state, row.code) == (MessageState.FILTERED, "nothing-to-send")
    assert "oru_from_bundle" in row.why


async def test_the_receivers_ack_settles_the_delivery(tmp_path: Path) -> None:
    """Over MLLP: the HIS says AA to ORU^R01, and the delivery is done."""
    async with ReceivingSystem() as his:
        to = f"mllp: {{connect: '{his.address}', send: oru_from_bundle, application: HIS}}"
        channel = BACK.replace('file: {folder: to-his, send: oru_from_bundle, application: HIS, facility: "24017"}', to)
        async with running(way_back(tmp_path, channel)) as node:
            await node.send("lab-results", panel("M1", glucose="5.20", at="20261121083000+0700"))
            await node.settled()
            (row,) = await node.runtime.journal.search(Selection(channel="to-his", limit=5))
        (delivery,) = row.deliveries
        assert (row.state, delivery.state.value) == (MessageState.TRANSFORMED, "delivered")
        (message,) = his.received
        assert (message.message_code, message.trigger_event, message.msh.raw(5)) == ("ORU", "R01", "HIS")


async def test_a_replay_says_what_is_true_now(tmp_path: Path) -> None:
    """A replay of the first bundle after the second brings nothing old back."""
    async with running(way_back(tmp_path)) as node:
        await node.send("lab-results", panel("M1", glucose="5.20", at="20261121083000+0700"))
        await node.settled()
        await node.send("lab-results", panel("M2", glucose="5.60", at="20261121093000+0700", status="C"))
        await node.settled()
        rows = await node.runtime.journal.search(Selection(channel="to-his", limit=5))
        oldest = min(rows, key=lambda row: row.received_at)
        await node.runtime.journal.replay(oldest.id)
        await node.settled()
        values = [[obx.raw(5) for obx in message.all("OBX")] for message in arrived(node)]
    assert values[:2] == [["5.20", "88"], ["5.60", "88"]]
    assert all(later == ["5.60", "88"] for later in values[2:])


async def test_an_original_is_put_right_for_one_receiver(tmp_path: Path) -> None:
    """``send: NAME`` of a mapping with message: and to:, beside a receiver that gets the bytes as they came."""
    site = make_site(tmp_path)
    mapping = "mapping: for_his\nmessage: ORU_R01\nto: ORU_R01\nlens: ['MSH-5 := =HIS']\n"
    (site / "mappings" / "for_his.yaml").write_text(mapping, encoding="utf-8")
    lab = site / "channels" / "lab-results.yaml"
    more = "  - {name: his, file: {folder: his, send: for_his}}\n  - {name: copy, file: {folder: copy, send: original}}\n"
    lab.write_text(lab.read_text(encoding="utf-8") + more, encoding="utf-8")
    sent = panel("M1", glucose="5.20", at="20261121083000+0700")
    async with running(site) as node:
        await node.send("lab-results", sent)
        await node.settled()
    (copy,), (his,) = (list((site / folder).iterdir()) for folder in ("copy", "his"))
    assert copy.read_bytes() == sent
    fields = sent.split(b"|", 5)
    assert his.read_bytes() == b"|".join([*fields[:4], b"HIS", fields[5]])


async def test_a_receiver_that_came_later_is_told_what_it_lacks(tmp_path: Path) -> None:
    """It knows nothing of before: a result without its patient parks, and a replay of what had come mends it."""
    record = BACK.replace("name: his", "name: record").replace(', send: oru_from_bundle, application: HIS, facility: "24017"', "")
    site = way_back(tmp_path, record.replace("folder: to-his", "folder: record"))
    async with running(site) as node:
        await node.send("lab-results", panel("M1", glucose="5.20", at="20261121083000+0700"))
        await node.settled()
        (before,) = await node.runtime.journal.search(Selection(channel="to-his", limit=5))
    (site / "channels" / "to-his.yaml").write_text(BACK, encoding="utf-8")
    async with running(site) as node:
        await node.send("lab-results", panel("M2", glucose="5.60", at="20261121093000+0700", status="C"))
        await node.settled()
        (parked,) = await node.runtime.journal.search(Selection(channel="to-his", states=("parked",), limit=5))
        assert (parked.code, "neither in the bundle nor in what came before it" in parked.why) == ("101", True)
        for row in (before, parked):
            await node.runtime.journal.replay(row.id, only="his")
            await node.settled()
        values = [[obx.raw(5) for obx in message.all("OBX")] for message in arrived(node)]
    assert values == [["5.20", "88"], ["5.60", "88"]]
