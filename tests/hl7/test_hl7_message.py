"""Parsing: what is well-formed survives byte for byte, what is not survives as it stands."""

from __future__ import annotations

import gc
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interop_engine.core.errors import CharsetError, ParseError
from interop_engine.hl7.message import UNNAMED, Delimiters, Value, escape, parse, unescape

HEADER = "MSH|^~\\&|LIS|24001^1.2.3^ISO|HIS|24001|20240131070000+0700||ORU^R01^ORU_R01|Q1|P|2.5.1"
STANDARD = Delimiters()

names = st.from_regex(r"\A[A-Z][A-Z0-9]{2}\Z").filter(lambda name: name not in {"MSH", "FHS", "BHS"})
contents = st.text(st.characters(exclude_characters="\r\n\ufeff", exclude_categories=["Cs"]), max_size=40)
segments = st.lists(st.builds("{}|{}".format, names, contents), max_size=12)


def message(*lines: str, header: str = HEADER) -> bytes:
    """A well-formed message."""
    return "".join(f"{line}\r" for line in (header, *lines)).encode()


@given(segments)
def test_parse_then_encode_is_identity(lines: list[str]) -> None:
    """What is well-formed comes back byte for byte, whatever stands in it."""
    data = message(*lines)
    assert parse(data).encode() == data


@given(segments)
def test_segments_are_counted(lines: list[str]) -> None:
    """``index`` counts all segments, ``number`` those of a name; ``all`` and ``first`` find them in order."""
    parsed = parse(message(*lines))
    assert [segment.text for segment in parsed.segments[1:]] == lines
    assert [segment.index for segment in parsed.segments] == list(range(len(lines) + 1))
    for name in {line[:3] for line in lines}:
        found = parsed.all(name)
        assert [segment.number for segment in found] == list(range(1, len(found) + 1))
        assert parsed.first(name) is found[0]


@given(st.binary(max_size=300))
def test_any_bytes_parse_or_raise_parse_error(data: bytes) -> None:
    """Bytes are a message or a ParseError, behind a header too; nothing else is raised."""
    for attempt in (data, HEADER.encode() + b"\r" + data, b"MSH" + data):
        try:
            parse(attempt)
        except ParseError:
            continue


@pytest.mark.parametrize("ending", ["\r", "\n", "\r\n", "\n\r"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("before", ["", "\ufeff", "\r\n\r\n", " \n"])
def test_line_ends_bom_and_blank_lines_do_not_matter(ending: str, last: bool, before: str) -> None:
    """CR, LF and CRLF end segments, also the last one's absence, a BOM and blank lines before give the same message."""
    text = before + ending.join((HEADER, "PID|1", "OBX|1|ST")) + (ending if last else "")
    assert parse(text.encode()).encode() == message("PID|1", "OBX|1|ST")


def test_mixed_line_ends_keep_a_break_inside_a_field() -> None:
    """Where CR ends segments, an LF before what is no segment is content, before a segment it ends one."""
    parsed = parse(f"{HEADER}\rOBX|1|TX|||first\nsecond line\r\nNTE|1\nNTE|2\r".encode())
    assert [segment.text for segment in parsed.segments[1:]] == ["OBX|1|TX|||first\nsecond line", "NTE|1", "NTE|2"]


def test_control_characters_inside_do_not_split() -> None:
    """Only CR and LF end segments: NEL, VT, FF, FS, NUL and line separators are content."""
    line = "OBX|1|TX|||a\x0bb\x0cc\x1cd\x00e\x85f\u2028g"
    assert [segment.text for segment in parse(message(line)).segments] == [HEADER, line]


def test_fields_have_their_numbers() -> None:
    """``fields[n]`` is field n, in MSH too, where field 1 is the separator itself."""
    parsed = parse(message("PID|1||123"))
    assert parsed.msh.fields[:5] == ["MSH", "|", "^~\\&", "LIS", "24001^1.2.3^ISO"]
    assert parsed.segments[1].fields == ["PID", "1", "", "123"]
    assert parsed.segments[1].raw(99) == ""


def test_header_properties() -> None:
    """The header's values by name."""
    parsed = parse(message())
    assert (parsed.message_code, parsed.trigger_event, parsed.structure_name) == ("ORU", "R01", "ORU_R01")
    assert (parsed.control_id, parsed.processing_id, parsed.version) == ("Q1", "P", "2.5.1")
    assert (parsed.sending_application, parsed.sending_facility) == ("LIS", "24001")
    assert (parsed.charset, parsed.oddities) == ("utf-8", ())


@pytest.mark.parametrize(
    ("kind", "segments", "event"),
    [
        ("ADT", "EVN|A40|20260301\rPID|1", "A40"),
        ("ADT^A08", "EVN|A40|20260301\rPID|1", "A08"),
        ("ADT^", "PID|1", ""),
        ("ORU", "PID|1", "R01"),
        ("ORM", "PID|1", "O01"),
        ("SIU", "PID|1", ""),
    ],
)
def test_a_message_of_old_says_its_event_elsewhere(kind: str, segments: str, event: str) -> None:
    """Before 2.3.1 MSH-9 may be the code alone: the event is then that of EVN-1, or the one that the code is used for."""
    parsed = parse(f"MSH|^~\\&|LIS|24001|||20260301||{kind}|Q1|P|2.2\r{segments}\r".encode())
    assert parsed.trigger_event == event


def test_a_field_of_separators_alone_is_empty() -> None:
    """``|^^|`` says no more than ``||``; MSH-2, a component and the text of the segment stay as they are."""
    segment = parse(message("PID|1|^^|~|^&^|~A||^B|")).segments[1]
    assert segment.fields == ["PID", "1", "", "", "", "~A", "", "^B", ""]
    assert segment.text == "PID|1|^^|~|^&^|~A||^B|"
    assert parse(message()).msh.raw(2) == "^~\\&"


def test_a_lost_backslash_is_put_back() -> None:
    """``^~&`` is MSH-2 after a text that takes backslashes for its own: & divides all the same, and it is said."""
    parsed = parse(message("PID|1||1^^^A&1.2.3.4&ISO\\T\\").replace(b"^~\\&", b"^~&", 1))
    found = parsed.segments[1].value(3)
    assert found is not None
    assert (found.get(4, 2), found.get(4, 3)) == ("1.2.3.4", "ISO&")
    assert parsed.delimiters.encoding_characters == "^~\\&"
    assert [(each.code, each.path) for each in parsed.oddities] == [("encoding-characters", "MSH[1]-2")]


@pytest.mark.parametrize("written", ["CWE", "cwe", "CWE^^HL70125", " CWE "])
def test_the_type_of_a_value_is_a_word(written: str) -> None:
    """OBX-2, whatever stands around it."""
    assert parse(message(f"OBX|1|{written}|A")).segments[1].value_type == "CWE"


def test_encoding_characters_are_a_plain_value() -> None:
    """MSH-1 and MSH-2 are read as they stand, not split at the characters they declare."""
    (value,) = parse(message()).msh.repetitions(2)
    assert (value.text, value.whole, value.get(1), value.component(2)) == ("^~\\&", "^~\\&", "^~\\&", None)


def test_deleted_is_not_empty() -> None:
    """``""`` is a value that says "delete"; an empty field is no value."""
    pid = parse(message('PID|1||""||A^""^C')).segments[1]
    deleted = pid.value(3)
    assert deleted is not None
    assert (deleted.deleted, deleted.text, deleted.whole, deleted.get(1)) == (True, "", "", "")
    assert pid.value(2) is None
    name = pid.value(5)
    assert name is not None
    assert (name.get(2), name.deleted) == ("", False)
    given_name = name.component(2)
    assert given_name is not None
    assert given_name.deleted


def test_values_at_every_level() -> None:
    """Repetitions, components and sub-components, each by its number from 1."""
    pid = parse(message("PID|1||77^^^BV&1.2&ISO^MR~88^^^BYT||X")).segments[1]
    first, second = pid.repetitions(3)
    assert (first.text, first.get(4), first.get(4, 2), first.get(4, 3), first.get(5)) == ("77", "BV", "1.2", "ISO", "MR")
    assert (first.get(2), first.get(9), first.get(4, 9), first.get(1, 2)) == ("", "", "", "")
    assert second.raw == "88^^^BYT"
    authority = first.component(4)
    assert authority is not None
    assert (authority.text, authority.get(2), authority.whole) == ("BV", "1.2", "BV&1.2&ISO")
    sub = authority.component(3)
    assert sub is not None
    assert (sub.text, sub.component(1) and sub.get(1), sub.component(2)) == ("ISO", "ISO", None)
    assert first.component(2) is None
    primitive = pid.value(5)
    assert primitive is not None
    itself = primitive.component(1)
    assert itself is not None
    assert itself.text == "X"


def test_an_empty_repetition_keeps_its_place() -> None:
    """``A~~C`` has three repetitions, an empty field has none."""
    pid = parse(message("PID|1||A~~C|")).segments[1]
    assert [value.raw for value in pid.repetitions(3)] == ["A", "", "C"]
    assert pid.repetitions(4) == []
    assert pid.repetitions(40) == []


def test_stray_separators_survive_in_text() -> None:
    """``whole`` keeps separators that a sender forgot to escape."""
    value = Value("pH 7^4 & more\\T\\less", STANDARD)
    assert (value.whole, value.text) == ("pH 7^4 & more&less", "pH 7")


def test_values_are_composed() -> None:
    """Mapped text is in Unicode normal form C; the message keeps what was sent."""
    data = message("PID|1||||Nguye\u0302\u0303n")
    parsed = parse(data)
    value = parsed.segments[1].value(5)
    assert value is not None
    assert value.text == "Nguyễn"
    assert parsed.encode() == data


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("|^~\\&", Delimiters()),
        ("|^~\\&#", Delimiters(truncation="#")),
        ("$%!?*", Delimiters("$", "%", "!", "?", "*")),
        ("|^~\\", Delimiters(subcomponent="")),
        ("|^~", Delimiters(subcomponent="", escape="")),
        ("|^", Delimiters(subcomponent="", escape="", repetition="")),
    ],
)
def test_delimiters_are_the_senders(encoding: str, expected: Delimiters) -> None:
    """MSH-1 and MSH-2 decide, a short MSH-2 leaves delimiters out, 2.7 adds the truncation character."""
    separator = encoding[0]
    line = separator.join(("PID", "1", "", "a^b&c~d\\F\\"))
    parsed = parse(f"MSH{encoding}{separator}A\r{line}\r".encode())
    assert parsed.delimiters == expected
    assert parsed.delimiters.encoding_characters == encoding[1:]
    assert parsed.encode() == f"MSH{encoding}{separator}A\r{line}\r".encode()
    (first, *rest) = parsed.segments[1].repetitions(3)
    assert len(rest) == int(expected.repetition == "~")
    assert first.get(1) == ("a" if expected.component == "^" else first.whole)


@pytest.mark.parametrize(
    "data",
    [b"", b"   ", b"GET / HTTP/1.1\r\n", b"PID|1\rMSH|^~\\&|\r", b"MSH", b"MSHA^~\\&", b"MSH||A", b"MSH|^^~&|A", b"MSH|AB\\&|A"],
)
def test_what_is_not_hl7(data: bytes) -> None:
    """No header, or one without usable delimiters, is a ParseError that repeats nothing of the content."""
    with pytest.raises(ParseError) as raised:
        parse(data)
    assert "HTTP" not in str(raised.value)


def test_a_bad_segment_name_is_kept_and_told() -> None:
    """A line without a segment name stays where it is, under a name of its own, and is listed by place."""
    data = message("PID|1", "pid|2", "a note that was cut", "OBXX|1", "Z|1", "ZPD|kept", "OBX")
    parsed = parse(data)
    assert [s.name for s in parsed.segments] == ["MSH", "PID", UNNAMED, UNNAMED, UNNAMED, UNNAMED, "ZPD", "OBX"]
    assert [finding.path for finding in parsed.oddities] == ["???[1]", "???[2]", "???[3]", "???[4]"]
    assert parsed.encode() == data
    assert "note" not in "".join(map(str, parsed.oddities))


def test_a_second_header_is_told() -> None:
    """Two messages that were glued together are noticed."""
    assert [finding.code for finding in parse(message(HEADER)).oddities] == ["second-header"]


def test_with_segments_gives_another_message() -> None:
    """Putting a message right leaves the received one as it was, and its bytes at hand."""
    received = parse(message("PID|1"))
    changed = received.with_segments([HEADER, "PID|2"])
    assert (changed.encode(), changed.raw) == (message("PID|2"), message("PID|1"))
    assert received.encode() == message("PID|1")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("\\F\\\\S\\\\T\\\\R\\\\E\\", "|^&~\\"),
        ("a\\.br\\b\\.sp+2\\c\\.sk+3\\d\\.in-4\\\\.ce\\e", "a\nb\n\nc   d\ne"),
        ("\\H\\bold\\N\\", "bold"),
        ("\\X0D0a\\\\XC3A9\\", "\r\né"),
        ("\\Xff\\", "\\Xff\\"),
        ("C:\\temp\\F\\x", "C:\\temp|x"),
        ("\\Zxx\\\\C1234\\\\M123456\\", "\\Zxx\\\\C1234\\\\M123456\\"),
        ("\\P\\ \\X0\\ \\.xx\\ \\.sp999\\", "\\P\\ \\X0\\ \\.xx\\ \\.sp999\\"),
        ("\\E\\F\\", "\\F\\"),
        ("\\", "\\"),
    ],
)
def test_escape_sequences(raw: str, expected: str) -> None:
    """Known sequences are resolved once, unknown ones and lone escape characters stand as they are."""
    assert unescape(raw, STANDARD) == expected


def test_hexadecimal_escapes_are_in_the_messages_charset() -> None:
    r"""``\XE9\`` is é in Latin-1 and nothing in UTF-8."""
    parsed = parse(f"{HEADER}||||||8859/1\rNTE|1||\\XE9\\\r".encode())
    value = parsed.segments[1].value(3)
    assert value is not None
    assert value.text == "é"


delimiters = st.builds(
    lambda five: Delimiters("|", *five),
    st.lists(st.sampled_from("^~\\&#$%!?*@"), min_size=5, max_size=5, unique=True),
)


@given(st.text(), delimiters)
def test_unescape_gives_back_what_was_escaped(text: str, d: Delimiters) -> None:
    """Any text may stand in a field: escaped it holds no delimiter and no control character, unescaped it is itself."""
    escaped = escape(text, d)
    assert unescape(escaped, d) == text
    assert not set(escaped) & {d.field, d.component, d.repetition, d.subcomponent, "\r", "\n", "\x0b", "\x1c"}


def test_without_an_escape_character_nothing_breaks_out() -> None:
    """Where a sender declares no escape character, delimiters and controls become question marks."""
    assert escape("a|b^c\rd", Delimiters(escape="", subcomponent="")) == "a?b?c?d"


@pytest.mark.parametrize(
    ("what", "build"),
    [
        ("segments", lambda n: message() + b"OBX|1\r" * (n // 6)),
        ("lines with LF", lambda n: message().replace(b"\r", b"\n") + b"OBX|1\n" * (n // 6)),
        ("blank lines", lambda n: message() + b"\n" * n),
        ("one field", lambda n: message() + b"OBX|1|ED|||" + b"A" * n),
        ("repetitions", lambda n: message() + b"OBX|1|ST|||" + b"~~~A" * (n // 4)),
        ("escapes", lambda n: message() + b"OBX|1|ST|||" + b"\\.br" * (n // 4)),
    ],
)
def test_time_grows_with_length_only(what: str, build: object) -> None:
    """Ten times the bytes take about ten times as long (a quadratic step would take a hundred)."""

    def seconds(size: int) -> float:
        data = build(size)  # type: ignore[operator]
        best = 1e9
        gc.disable()  # a collection looks at all that the test process holds, which is not the parser's time
        try:
            for _ in range(3):
                begun = time.process_time()
                segment = parse(data).segments[-1]
                _ = [value.whole for value in segment.repetitions(5)]
                best = min(best, time.process_time() - begun)
        finally:
            gc.enable()
        return best

    assert seconds(1_000_000) < 40 * max(seconds(100_000), 0.002), what


def test_charset_error_is_a_parse_error_with_an_offset() -> None:
    """A caller that answers ParseError answers CharsetError too."""
    with pytest.raises(CharsetError) as raised:
        parse(message("PID|1||||N") + b"\xff")
    assert raised.value.offset == len(message("PID|1||||N"))
    assert isinstance(raised.value, ParseError)
