"""A message goes all the way: real sockets, a real journal, the sample site's mappings."""

from __future__ import annotations

from pathlib import Path

import pytest

from interop_engine.core.errors import ItemRefused
from interop_engine.journal.base import MessageState, NewMessage, Selection, Stored
from interop_engine.journal.sqlite import SqliteJournal
from tests.support.node import make_site, resources, running
from tests.support.texts import admission, merge, order, result, text


async def test_a_result_arrives_once_whole_and_with_its_digits(tmp_path: Path) -> None:
    """AA after the commit; then one bundle at the hub, with 5.20 as it was written."""
    async with running(make_site(tmp_path)) as node:
        (answer,) = await node.send("lab-results", result("M1"))
        assert (answer.code, answer.control_id) == ("AA", "M1")
        await node.settled()
        (bundle,) = node.bundles("hub")
        kinds = sorted({entry["resource"]["resourceType"] for entry in bundle["entry"]})
        assert kinds == ["DiagnosticReport", "Observation", "Patient", "Provenance", "ServiceRequest"]
        (file,) = (tmp_path / "to-hub").glob("*.json")
        assert b'"value":5.20' in file.read_bytes()


async def test_the_hospital_that_asked_gets_it_too(tmp_path: Path) -> None:
    """By rule: the order names the district hospital, the table of facilities knows it."""
    async with running(make_site(tmp_path)) as node:
        await node.send("lab-results", result("M1", requester="24017"), result("M2", order="A18", filler="F18"))
        await node.settled()
        assert len(node.bundles("hub")) == 2
        assert len(node.bundles("24017")) == 1


async def test_an_original_goes_as_it_came(tmp_path: Path) -> None:
    """``send: original``: the exchange carries the HL7 v2 byte for byte, beside the bundle for the hub."""
    folder = make_site(tmp_path)
    lab = folder / "channels" / "lab-results.yaml"
    text_ = lab.read_text(encoding="utf-8").replace("{to: =hub, kind: lab}", "{to: =hub, kind: lab, send: original}")
    lab.write_text(text_, encoding="utf-8")
    receiver = folder / "channels" / "to-hub.yaml"
    more = "accept: [ORU^R01]\notherwise: reject\n"
    receiver.write_text(
        more + receiver.read_text(encoding="utf-8").replace("{folder: to-hub}", "{folder: to-hub, send: original}")
    )
    async with running(folder) as node:
        await node.send("lab-results", result("M1"))
        await node.settled()
    (file,) = (folder / "to-hub").iterdir()
    assert (file.suffix, file.read_bytes()) == (".hl7", result("M1"))


async def test_a_duplicate_is_answered_and_sent_no_more(tmp_path: Path) -> None:
    """The same bytes under the same MSH-10: the very same ACK, one delivery, two arrivals noted."""
    async with running(make_site(tmp_path)) as node:
        first, second = await node.send("lab-results", result("M1"), result("M1"))
        assert first == second
        await node.settled()
        assert len(node.bundles("hub")) == 1
        (row,) = await node.runtime.journal.search(Selection(channel="lab-results"))
        assert row.arrivals == 2


async def test_the_same_content_under_another_id_changes_nothing(tmp_path: Path) -> None:
    """A resend with a new MSH-10 is processed, and finds that the hub has all of it."""
    async with running(make_site(tmp_path)) as node:
        await node.send("lab-results", result("M1"), result("M2"))
        await node.settled()
        assert len(node.bundles("hub")) == 1
        newest, _ = await node.runtime.journal.search(Selection(channel="lab-results"))
        assert (newest.state, newest.code) == (MessageState.FILTERED, "unchanged")


async def test_a_late_preliminary_is_stale(tmp_path: Path) -> None:
    """The final was sent; an older preliminary is journaled, not delivered, and said so."""
    async with running(make_site(tmp_path)) as node:
        final = result("M1", status="F", at="20261121090000+0700")
        late = result("M2", status="P", value="9.9", at="20261121080000+0700")
        await node.send("lab-results", final, late)
        await node.settled()
        assert len(node.bundles("hub")) == 1
        newest, _ = await node.runtime.journal.search(Selection(channel="lab-results"))
        assert (newest.state, newest.code) == (MessageState.FILTERED, "stale")


async def test_a_correction_writes_the_same_resources(tmp_path: Path) -> None:
    """Same ids, new status and value; the patient and the order are not written again."""
    async with running(make_site(tmp_path)) as node:
        await node.send(
            "lab-results",
            result("M1", status="F", at="20261121090000+0700"),
            result("M2", status="C", value="5.30", at="20261121093000+0700"),
        )
        await node.settled()
        first, second = node.bundles("hub")
        assert [each["id"] for each in resources(first, "Observation")] == [
            each["id"] for each in resources(second, "Observation")
        ]
        assert [each["status"] for each in resources(second, "DiagnosticReport")] == ["corrected"]
        assert resources(second, "Patient") == []


async def test_an_order_keeps_its_id_under_another_number(tmp_path: Path) -> None:
    """Ordered by placer number; the result names both numbers; a later one the filler number only: one ServiceRequest."""
    async with running(make_site(tmp_path)) as node:
        await node.send("orders", order("O1"))
        await node.settled()
        await node.send("lab-results", result("M1"))
        await node.settled()
        by_filler = result("M2", status="C", value="5.30", at="20261121093000+0700").replace(b"A17^HIS", b"")
        await node.send("lab-results", by_filler)
        await node.settled()
        ordered, *reported = node.bundles("hub")
        (request,) = resources(ordered, "ServiceRequest")
        for bundle in reported:
            (report,) = resources(bundle, "DiagnosticReport")
            assert report["basedOn"] == [{"reference": f"ServiceRequest/{request['id']}"}]


async def test_two_orders_under_one_pair_of_numbers_park(tmp_path: Path) -> None:
    """Its placer number names one known order, its filler number another: a person must look (204)."""
    async with running(make_site(tmp_path)) as node:
        await node.send("lab-results", result("M1", order="A1", filler="F1"), result("M2", order="A2", filler="F2"))
        await node.settled()
        await node.send("lab-results", result("M3", order="A1", filler="F2", at="20261121093000+0700"))
        await node.settled()
        newest, *_ = await node.runtime.journal.search(Selection(channel="lab-results"))
        assert (newest.state, newest.code) == (MessageState.PARKED, "204")


async def test_a_merge_retires_and_is_never_undone_by_an_update(tmp_path: Path) -> None:
    """A40: the survivor replaces, the other is inactive and replaced-by; a later A08 of the other does not re-activate it."""
    async with running(make_site(tmp_path)) as node:
        await node.send("patients", admission("P1", patient="BN001"), admission("P2", patient="BN009"))
        await node.send("patients", merge("P3", survivor="BN001", retired="BN009"))
        await node.send("patients", admission("P4", event="A08", patient="BN009", name="Trần^Văn Bê", at="20261121110000+0700"))
        await node.settled()
        state = {each["id"]: each for bundle in node.bundles("hub") for each in resources(bundle, "Patient")}
        assert len(state) == 2
        retired = next(each for each in state.values() if each["identifier"][0]["value"] == "BN009")
        survivor = next(each for each in state.values() if each["identifier"][0]["value"] == "BN001")
        assert retired["active"] is False
        assert retired["link"] == [{"other": {"reference": f"Patient/{survivor['id']}"}, "type": "replaced-by"}]
        assert survivor["link"] == [{"other": {"reference": f"Patient/{retired['id']}"}, "type": "replaces"}]
        assert retired["name"][0]["text"] == "Trần Văn Bê"


async def test_a_result_after_the_merge_goes_to_the_survivor(tmp_path: Path) -> None:
    """The LIS still uses the old number; the new result is found where the doctor looks."""
    async with running(make_site(tmp_path)) as node:
        await node.send("patients", admission("P1", patient="BN001"), admission("P2", patient="BN009"))
        await node.send("patients", merge("P3", survivor="BN001", retired="BN009"))
        await node.settled()
        await node.send("lab-results", result("M1", patient="BN009"))
        await node.settled()
        survivor = resources(node.bundles("hub")[0], "Patient")[0]["id"]
        (report,) = resources(node.bundles("hub")[-1], "DiagnosticReport")
        assert report["subject"] == {"reference": f"Patient/{survivor}"}


async def test_a_merge_into_itself_parks(tmp_path: Path) -> None:
    """Nothing is written that no later message could undo."""
    async with running(make_site(tmp_path)) as node:
        (answer,) = await node.send("patients", merge("P1", survivor="BN001", retired="BN001"))
        assert answer.code == "AA"
        await node.settled()
        (row,) = await node.runtime.journal.search(Selection(channel="patients"))
        assert row.state is MessageState.PARKED


async def test_what_nobody_receives_parks_at_its_sender(tmp_path: Path) -> None:
    """The hub is not connected: the delivery parks with the receiver's name, and a retry delivers it once it is."""
    folder = make_site(tmp_path, receivers=("24017",))
    async with running(folder) as node:
        await node.send("lab-results", result("M1"))
        await node.settled()
        (row,) = await node.runtime.journal.search(Selection(channel="lab-results"))
        (delivery,) = row.deliveries
        assert (delivery.state, delivery.code) == ("parked", "unrouted")
        assert "hub" in delivery.why
    async with running(make_site(tmp_path)) as node:
        await node.runtime.journal.retry(delivery.id)
        await node.settled()
        assert len(node.bundles("hub")) == 1


async def test_a_mapping_failure_parks_with_its_reason(tmp_path: Path) -> None:
    """AA was said: the message is kept, parked, with the HL7 condition and the place, and replay takes it up again."""
    async with running(make_site(tmp_path)) as node:
        data = result("M1", status="Y")  # the laboratory knows no such order
        (answer,) = await node.send("lab-results", data)
        assert answer.code == "AA"
        await node.settled()
        (row,) = await node.runtime.journal.search(Selection(states=("parked",)))
        assert row.why
        again = await node.runtime.journal.replay(row.id)
        await node.settled()
        assert (await node.runtime.journal.show(again)).state is MessageState.PARKED
        assert (await node.runtime.journal.show(row.id)).state is MessageState.SUPERSEDED


@pytest.mark.parametrize(("data", "code"), [(b"GET / HTTP/1.1", "AR"), (text("MSH|^~\\&|A|B|C|D|||ADT^A01|X|P|2.5"), "AR")])
async def test_what_is_refused_is_kept(tmp_path: Path, data: bytes, code: str) -> None:
    """A rejected message is answered, searchable, and never delivered."""
    async with running(make_site(tmp_path)) as node:
        (answer,) = await node.send("lab-results", data)
        assert answer.code == code
        (row,) = await node.runtime.journal.search(Selection(states=("rejected",)))
        assert (await node.runtime.journal.content(row.id)).data == data


async def test_what_the_journal_cannot_hold_is_kept_as_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is answered once, instead of being offered again for ever."""
    accept = SqliteJournal.accept

    async def refuse(journal: SqliteJournal, message: NewMessage) -> Stored:
        if message.state is MessageState.RECEIVED:
            raise ItemRefused("too large")
        return await accept(journal, message)

    monkeypatch.setattr(SqliteJournal, "accept", refuse)
    async with running(make_site(tmp_path)) as node:
        data = result("M1")
        (answer,) = await node.send("lab-results", data)
        assert answer.code == "AE"
        (row,) = await node.runtime.journal.search(Selection(states=("rejected",)))
        assert row.why == "The journal cannot hold it: too large"
        assert (await node.runtime.journal.content(row.id)).data == data


async def test_what_is_made_and_cannot_be_held_parks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message waits for a person, and what comes after it does not wait for it."""

    async def refuse(*_: object) -> bool:
        raise ItemRefused("too large")

    monkeypatch.setattr(SqliteJournal, "forward", refuse)
    async with running(make_site(tmp_path)) as node:
        await node.send("lab-results", result("M1"), result("M2"))
        await node.settled()
        rows = await node.runtime.journal.search(Selection(states=("parked",)))
        assert [row.code for row in rows] == ["journal-refused"] * 2


async def test_an_item_that_may_be_anothers_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given back instead, and whoever has it without a doubt sends it, once."""
    doubts = [True]
    monkeypatch.setattr(SqliteJournal, "holds", lambda *_: not (doubts and doubts.pop()))
    async with running(make_site(tmp_path)) as node:
        await node.send("lab-results", result("M1"))
        await node.settled()
        assert len(node.bundles("hub")) == 1
    assert doubts == []


async def test_what_was_not_delivered_is_delivered_after_a_restart(tmp_path: Path) -> None:
    """Stopped with work in hand, started again: all of it arrives, once."""
    folder = make_site(tmp_path)
    numbers = range(40)
    messages = [result(f"M{n}", patient=f"BN{n % 5}", order=f"A{n}", filler=f"F{n}") for n in numbers]
    async with running(folder) as node:
        answers = await node.send("lab-results", *messages)
        assert {answer.code for answer in answers} == {"AA"}
    async with running(folder) as node:
        await node.settled()
        fillers = [resources(bundle, "DiagnosticReport")[0]["identifier"][0]["value"] for bundle in node.bundles("hub")]
        assert sorted(fillers) == sorted(f"F{n}" for n in numbers)


async def test_a_port_in_use_fails_one_channel_and_says_so(tmp_path: Path) -> None:
    """The other channels run; the status names the channel and the reason."""
    async with running(make_site(tmp_path / "a")) as other:
        taken = str(other.port("lab-results"))
        async with running(make_site(tmp_path / "b"), {"LAB_PORT": taken}) as node:
            states = {channel.name: (channel.state, channel.problem) for channel in node.runtime.channels}
            assert states["lab-results"][0] == "failed"
            assert "in use" in states["lab-results"][1]
            assert states["patients"][0] == "running"
