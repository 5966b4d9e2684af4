"""A small site of one channel and one mapping, its messages, and its journal, for tests of the command line."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from typer.testing import CliRunner, Result

from interop_engine.cli.app import app
from interop_engine.config.loader import load
from interop_engine.config.site import Site
from interop_engine.core.model import digest, new_id
from interop_engine.journal import open_journal
from interop_engine.journal.base import NewMessage

ENGINE = 'site: Bệnh viện mẫu\nfacility: "24001"\ntimezone: Asia/Ho_Chi_Minh\n'
CHANNEL = """channel: patients
source:
  mllp: {listen: 127.0.0.1:2575}
accept: [ADT^A04]
otherwise: reject
patient: {authority: BV24001, type: MR}
mapping: adt
deliver:
  - name: folder
    file: {folder: var/out}
"""
MAPPING = """mapping: adt
message: ADT_A01
events: [A04]
resources:
  patient:
    resource: Patient
    key: PID-3 | own_number
    set:
      identifier: PID-3
      name: PID-5
      birthDate: PID-7
"""
CASES = """cases_for: adt
cases:
  - name: a registration
    input: registration.hl7
    expect:
      - Bundle.entry.resource.ofType(Patient).birthDate = @1980-01-31
    golden: registration.json
"""
MESSAGE = (
    "MSH|^~\\&|HIS|24001|ENGINE|24001|20260302080000||ADT^A04^ADT_A01|{0}|P|2.5\nPID|1||BN001^^^BV24001^MR||Nguyễn^Ánh||{1}|F\n"
)


def run(*arguments: object) -> Result:
    """A verb; whatever it is given, it never ends in a traceback."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def small_site(folder: Path) -> Path:
    """The site in a folder, with one case and the message beside it."""
    files = {
        "engine.yaml": ENGINE,
        "channels/patients.yaml": CHANNEL,
        "mappings/adt.yaml": MAPPING,
        "mappings/cases/adt.yaml": CASES,
        "mappings/cases/registration.hl7": MESSAGE.format("C1", "19800131"),
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def messages(folder: Path, *birth_dates: str) -> Path:
    """A file of messages, one for each birth date."""
    path = folder / "messages.hl7"
    path.write_text("".join(MESSAGE.format(f"C{n}", date) for n, date in enumerate(birth_dates)), encoding="utf-8")
    return path


def journaled(site: Path, *birth_dates: str) -> list[str]:
    """Messages in the site's journal, as its channel would have taken them, with its configuration; their ids."""
    return asyncio.run(_accept(load(site), birth_dates))


async def _accept(site: Site, birth_dates: tuple[str, ...]) -> list[str]:
    journal = open_journal(site.root / "var" / "journal.db")
    await journal.open()
    await journal.keep_config(site.digest, site.snapshot)
    ids = []
    for number, date in enumerate(birth_dates):
        data = MESSAGE.format(f"J{number}", date).replace("\n", "\r").encode()
        message = NewMessage(
            id=new_id(),
            channel="patients",
            data=data,
            media="hl7v2",
            received_at=datetime.now(UTC),
            peer="10.0.0.1:40000",
            control_id=f"J{number}",
            message_type="ADT^A04",
            digest=digest(data),
            lanes=("BN001",),
            config=site.digest,
        )
        ids.append((await journal.accept(message)).id)
    await journal.close()
    return ids
