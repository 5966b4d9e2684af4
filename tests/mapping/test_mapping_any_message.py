"""Whatever arrives: a draft or a reason, in valid FHIR, and the same every time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interop_engine.fhir.schema import validate
from interop_engine.hl7.message import Message, parse
from interop_engine.mapping.context import Scope, naming
from interop_engine.mapping.program import Library, load

if TYPE_CHECKING:
    from interop_engine.mapping.draft import Draft

ROOT = Path(__file__).parents[2] / "mappings"
SAMPLES = sorted((ROOT / "cases" / "samples").glob("*.hl7"))
NAMES = naming(base="http://h.example")
# What of a bundle the parts cannot promise: a sender may put an end before a start, or a relative without a name.
ABOUT_SEVERAL_FIELDS = ("per-1", "pat-1")
PIECES = ['""', "", "~", "^", "&", "^^^", "~~x", "a^b&c~d^e", "\\F\\", "\\X41\\", "\\", "<5", "20269999", "ED", "NM", "é", "\x7f"]


@pytest.fixture(scope="module")
def library() -> Library:
    """The sample site's mappings."""
    files = [path for path in ROOT.rglob("*.*") if path.is_file() and "cases" not in path.parts]
    found = load({str(path.relative_to(ROOT.parent)): path.read_text("utf-8") for path in files}, NAMES)
    assert found.mistakes == ()
    return found


def drafts(library: Library, message: Message) -> list[Draft]:
    """What every mapping that fits makes of a message."""
    scope = Scope("24001", "http://h.example", "Asia/Ho_Chi_Minh", NAMES, tables=library.tables, terminology=library.terminology)
    return [program.build(program.identify(message, scope)) for program in library.fitting(message)]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A sample message with segments lost, doubled and moved, and fields overwritten."""
    lines = draw(st.sampled_from(SAMPLES)).read_text("utf-8").replace("\n", "\r").strip("\r").split("\r")
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(1, len(lines) - 1)) if len(lines) > 1 else 0
        change = draw(st.sampled_from(["lose", "double", "move", "overwrite", "overwrite"]))
        if change == "lose" and len(lines) > 2:
            del lines[at]
        elif change == "double":
            lines.insert(at, lines[at])
        elif change == "move":
            lines.append(lines.pop(at) if at else lines[0].replace("MSH", "ZZZ"))
        elif at:
            fields = lines[at].split("|")
            fields[draw(st.integers(1, max(1, len(fields) - 1))) % len(fields) or -1] = draw(st.sampled_from(PIECES))
            lines[at] = "|".join(fields)
    return "\r".join(lines).encode()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=damaged())
def test_any_message_gives_valid_resources_or_a_reason(library: Library, data: bytes) -> None:
    """No fault of our own, no resource that FHIR forbids, no reason without a code of HL7 table 0357."""
    message = parse(data)
    for draft in drafts(library, message):
        if draft.park is not None:
            assert draft.park.code.isdecimal()
            continue
        for item in draft.resources:
            content = {name: value for name, value in item.content.items() if value is not None}
            issues = [issue for issue in validate(content) if not issue.message.startswith(ABOUT_SEVERAL_FIELDS)]
            assert issues == []
    assert drafts(library, message) == drafts(library, parse(data))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_reasons_and_findings_hold_no_content(library: Library, sample: Path) -> None:
    """They may be logged: places and names of the language only."""
    message = parse(sample.read_bytes().replace(b"\n", b"\r"))
    pid = message.first("PID")
    secrets = [part for n in (3, 5, 11, 13) for part in (pid.raw(n) if pid else "").replace("~", "^").split("^") if len(part) > 3]
    for draft in drafts(library, message):
        said = " ".join([*(str(finding) for finding in draft.findings), *draft.unread, str(draft.park)])
        assert [secret for secret in secrets if secret in said] == []
