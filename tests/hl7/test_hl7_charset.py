"""Character sets: what is declared decides, and a name is never mangled."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interop_engine.core.errors import CharsetError
from interop_engine.hl7.charset import codec_of, decode, encode
from interop_engine.hl7.message import parse

NAME = "NGUYỄN THỊ HƯỜNG ẵẫạỹđ"
VIETNAMESE = (
    "".join(
        unicodedata.normalize("NFC", letter + tone)
        for letter in "aăâeêioôơuưyAĂÂEÊIOÔƠUƯY"
        for tone in ("", "\u0300", "\u0301", "\u0303", "\u0309", "\u0323")
    )
    + "đĐ"
)


def message(charset: str, name: bytes = b"X") -> bytes:
    """A message that declares a character set, with these bytes in PID-5."""
    return f"MSH|^~\\&|A|B|C|D|20240101||ADT^A01|1|P|2.5||||||{charset}\rPID|1||||".encode() + name + b"\r"


def patient(data: bytes, charset: str | None = None) -> str:
    """PID-5 as it is read."""
    value = parse(data, charset=charset).segments[1].value(5)
    assert value is not None
    return value.text


@pytest.mark.parametrize(
    ("declared", "codec"),
    [
        *(("ASCII", "ascii"), ("ISO IR6", "ascii"), ("8859/1", "iso8859-1"), ("8859/9", "iso8859-9"), ("8859/15", "iso8859-15")),
        *(("UNICODE", "utf-8"), ("UNICODE UTF-8", "utf-8"), ("utf-8", "utf-8"), ("UTF8", "utf-8")),
        *(("GB 18030-2000", "gb18030"), ("BIG-5", "big5"), ("KS X 1001", "euc-kr"), ("ISO IR87", "iso2022_jp_ext")),
        *(("windows-1258", "cp1258"), ("WINDOWS-1252", "cp1252"), ("latin-1", "iso8859-1"), ("ISO-8859-1", "iso8859-1")),
        *(("tcvn3", "tcvn3"), ("VISCII", "viscii"), ("ISO_IR 192", "utf-8"), ("UNICODE UTF-16", "utf-16")),
        *(("KLINGON", None), ("rot13", None), ("unicode_escape", None), ("8859/12", None)),
    ],
)
def test_names(declared: str, codec: str | None) -> None:
    """HL7 table 0211 and the names people write; a Python codec that is no character set is not one."""
    assert codec_of(declared) == codec


@pytest.mark.parametrize("codec", ["cp1258", "tcvn3", "viscii", "vps", "vni", "utf-8"])
def test_vietnamese_survives(codec: str) -> None:
    """Every letter with every tone goes out and comes back composed; the ABC fonts of TCVN3 included."""
    assert decode(encode(VIETNAMESE, codec), codec) == VIETNAMESE


@given(st.lists(st.sampled_from([b for b in range(256) if not 0x80 <= b <= 0x9F]), max_size=60).map(bytes))
def test_windows_1258_is_composed(data: bytes) -> None:
    """Base letter and combining tone become one letter; what is decoded can be encoded and decoded again."""
    text = decode(data, "cp1258")
    assert text == unicodedata.normalize("NFC", text)
    assert decode(encode(text, "cp1258"), "cp1258") == text


def test_windows_1258_golden() -> None:
    """``ễ`` is ``ê`` (EA) and the combining tilde (DE)."""
    assert decode(b"Nguy\xea\xden", "cp1258") == "Nguyễn"
    assert encode("Nguyễn", "cp1258") == b"Nguy\xea\xden"


@pytest.mark.parametrize(
    ("codec", "data"),
    [
        ("tcvn3", "NguyÔn ThÞ H\xadêng"),
        ("viscii", "Nguy\xadn Th\xb8 H\xdf\xb6ng"),
        ("vps", "Nguy\xcdn Th\xce H\xdc\xa9ng"),
        ("vni", "Nguyeãn Thò Höôøng"),
        ("vni", "NguyeÃn Thò HöôØng"),
    ],
)
def test_legacy_golden(codec: str, data: str) -> None:
    """Names as the old systems of hospitals hold them."""
    assert decode(data.encode("latin-1"), codec) == "Nguyễn Thị Hường"


@pytest.mark.parametrize(("codec", "data"), [("vps", b"A\x91"), ("vni", b"q\xf9"), ("vni", b"a\xdf"), ("vni", b"o\xea")])
def test_a_byte_that_a_legacy_set_lacks(codec: str, data: bytes) -> None:
    """An undefined byte, and a mark after a letter that cannot carry it, are errors at that byte."""
    with pytest.raises(CharsetError) as raised:
        decode(data, codec)
    assert raised.value.offset == 1


@pytest.mark.parametrize("declared", ["UNICODE UTF-8", "windows-1258", "VISCII", "VPS", "VNI", "TCVN3", "GB18030"])
def test_the_declared_charset_decides(declared: str) -> None:
    """MSH-18 is believed, and the message encodes to the same bytes again."""
    codec = codec_of(declared)
    assert codec is not None
    data = message(declared, encode(NAME, codec))
    assert patient(data) == NAME
    assert parse(data).encode() == data


def test_the_channel_overrides() -> None:
    """A channel's charset wins over a wrong declaration."""
    assert patient(message("8859/1", NAME.encode()), "utf-8") == NAME
    assert patient(message("", "Müller".encode("latin-1")), "latin-1") == "Müller"


def test_undeclared_is_utf_8() -> None:
    """Without MSH-18 the bytes are UTF-8, and Latin-1 bytes are an error rather than a mangled name."""
    assert patient(message("", NAME.encode())) == NAME
    data = message("", "Müller".encode("latin-1"))
    with pytest.raises(CharsetError) as raised:
        parse(data)
    assert raised.value.offset == data.index(b"\xfc")


@pytest.mark.parametrize(("declared", "name"), [("UNICODE UTF-8", b"M\xfcller"), ("ASCII", "ễ".encode()), ("GB18030", b"A\xff")])
def test_an_invalid_byte_is_named_by_offset(declared: str, name: bytes) -> None:
    """The error names the byte's offset in the message, and nothing of the content around it."""
    data = message(declared, name)
    with pytest.raises(CharsetError, match=r"^Byte \d+ \(0x[0-9A-F]{2}\) is not valid [a-z0-9-]+\.$") as raised:
        parse(data)
    assert data[raised.value.offset] >= 0x80
    assert raised.value.offset >= data.index(name)


def test_an_unknown_charset_is_named_by_offset() -> None:
    """A name that nobody knows is an error at MSH-18, where a byte depends on it."""
    data = message("KLINGON", "Vũ".encode())
    with pytest.raises(CharsetError) as raised:
        parse(data)
    assert data[raised.value.offset :].startswith(b"KLINGON")


def test_an_unknown_charset_makes_no_difference_to_ascii() -> None:
    """Every byte means the same in all sets a message may be in: it is read, and that is said at MSH-18."""
    parsed = parse(message("KLINGON", b"VU"))
    assert (parsed.segments[1].raw(5), parsed.charset) == ("VU", "ascii")
    assert [(finding.code, finding.path) for finding in parsed.oddities] == [("charset-unknown", "MSH[1]-18")]
    assert parse(message("ASCII", b"VU")).oddities == ()


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le"])
@pytest.mark.parametrize("bom", ["\ufeff", ""])
def test_wide_characters_are_seen(codec: str, bom: str) -> None:
    """UTF-16 and UTF-32 show in the first bytes, declared or not."""
    data = (bom + message("", NAME.encode()).decode()).encode(codec)
    parsed = parse(data)
    assert (parsed.charset, parsed.segments[1].fields[5]) == (codec, NAME)


def test_utf_16_declared_of_what_is_not() -> None:
    """A header in single bytes cannot be UTF-16: that is said."""
    with pytest.raises(CharsetError, match="UTF-16"):
        parse(message("UNICODE UTF-16"))


def test_delimiter_bytes_inside_letters() -> None:
    """Trail bytes that equal ``|``, ``^``, ``~`` or the backslash split nothing: text is decoded before fields are split."""
    name = "表十申"  # 0x5C as the second byte of the first in Shift JIS
    data = message("SHIFT_JIS", name.encode("shift_jis"))
    assert patient(data) == name
    chinese = next(c for c in map(chr, range(0x4E00, 0x9FFF)) if c.encode("gb18030")[-1:] == b"|")
    assert patient(message("GB18030", f"{chinese}x".encode("gb18030"))) == f"{chinese}x"


def test_japanese_beside_ascii() -> None:
    """``ASCII~ISO IR87``: shift states end with the segment."""
    name = "山田^太郎"
    data = message("ASCII~ISO IR87", name.encode("iso2022_jp"))
    assert parse(data).segments[1].fields[5] == name
    broken = message("ASCII~ISO IR87", b"\x1b$B;3ED") + b"NV1|\x80\r"
    with pytest.raises(CharsetError) as raised:
        parse(broken)
    assert raised.value.offset == broken.index(b"\x80")


def test_a_character_without_a_place() -> None:
    """Encoding never replaces unless asked to."""
    with pytest.raises(CharsetError):
        encode("漢", "iso8859-1")
    assert encode("漢", "iso8859-1", "replace") == b"?"
    assert encode("漢ễ", "cp1258", "replace") == b"?\xea\xde"
