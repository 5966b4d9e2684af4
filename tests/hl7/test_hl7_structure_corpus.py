"""The group parser on messages that nobody of the project wrote, and on any order of segments."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interop_engine.core.errors import ParseError
from interop_engine.hl7 import dictionary
from interop_engine.hl7.dictionary import GroupDef
from interop_engine.hl7.message import Message, parse
from interop_engine.hl7.structure import group
from tests.support.needs import require

CORPUS = Path(__file__).parents[2].parent / "shared" / "corpus"


def messages() -> list[tuple[str, Message]]:
    """All that parse, by file name."""
    found = []
    for path in sorted(CORPUS.rglob("*.hl7")):
        try:
            found.append((path.name, parse(path.read_bytes(), charset="utf-8")))
        except ParseError:
            continue  # some are there to be refused; that is the parser's own test
    return found


def test_every_result_order_and_admission_is_grouped() -> None:
    """Every ORU, ORM, OML and ADT of the corpus has a structure, and each of its segments is in the tree exactly once."""
    require(CORPUS.is_dir(), "the corpus of public messages beside the project")
    seen = 0
    for name, message in messages():
        if message.message_code not in ("ORU", "ORM", "OML", "ADT") or not message.trigger_event:
            continue
        structure = dictionary.structure(
            dictionary.structure_for(message.message_code, message.trigger_event, message.structure_name)
        )
        assert structure is not None, name
        root, findings = group(message, structure)
        kept = sorted(segment.index for each in root.walk() for found in each.segments.values() for segment in found)
        assert kept == list(range(len(message.segments))), name
        assert all("[" in finding.path for finding in findings), name
        seen += 1
    assert seen > 60


@pytest.mark.parametrize("code", ["ORU", "ORM", "OML", "ADT"])
def test_conforming_messages_are_grouped_without_a_word(code: str) -> None:
    """Most public messages conform; the parser finds fault with few of them."""
    require(CORPUS.is_dir(), "the corpus of public messages beside the project")
    total = faulty = 0
    for _, message in messages():
        if message.message_code != code or not message.trigger_event:
            continue
        structure = dictionary.structure(dictionary.structure_for(code, message.trigger_event, message.structure_name))
        assert structure is not None
        total += 1
        faulty += bool(group(message, structure)[1])
    assert total > 0
    assert faulty <= total * 0.4


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(dictionary.structures()), st.data())
def test_nothing_is_ever_lost(name: str, data: st.DataObject) -> None:
    """Whatever stands in whatever order: each segment is in the tree once, in order, and each group begins somewhere."""
    structure = dictionary.structure(name)
    assert structure is not None
    likely = [*sorted(_names(structure)), "ZZZ", "OBX", "NTE", "SPM"]
    names = data.draw(st.lists(st.sampled_from(likely), max_size=30))
    lines = ["MSH|^~\\&|A|B|||2026||ORU^R01|1|P|2.5", *(f"{each}|1" for each in names)]
    message = parse("\r".join(lines).encode())
    root, findings = group(message, structure)
    kept = [segment.index for each in root.walk() for found in each.segments.values() for segment in found]
    assert sorted(kept) == list(range(len(message.segments)))
    for each in root.walk():
        assert all(found == sorted(found, key=lambda segment: segment.index) for found in each.segments.values())
        assert each is root or each.segments or each.groups
    assert len({finding.path for finding in findings}) == len(findings)


def _names(structure: GroupDef) -> set[str]:
    own = {child.name for child in structure.children if not isinstance(child, GroupDef) and len(child.name) == 3}
    return own.union(*(_names(child) for child in structure.groups())) - {"MSH"}
