"""Character sets: MSH-18 (HL7 table 0211), names a channel may give, and the legacy ones of Vietnam.

``codec`` is a name this file knows how to decode and encode: a Python codec, or one of ``hl7.vietnamese``. Text in a character
set that writes tones as combining marks (windows-1258, tcvn3) is composed (NFC) after decoding and taken apart before encoding.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from interop_engine.core.errors import CharsetError
from interop_engine.hl7 import vietnamese

DEFAULT = "utf-8"

_FIRST = (b"M", b"B", b"F")  # of MSH, BHS and FHS
_BYTE_ORDERS = (  # how a message begins whose character set is not a superset of ASCII, and what follows from that
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    *((first + b"\x00\x00\x00", "utf-32-le") for first in _FIRST),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    *((b"\x00\x00\x00" + first, "utf-32-be") for first in _FIRST),
    (b"\xff\xfe", "utf-16-le"),
    *((first + b"\x00", "utf-16-le") for first in _FIRST),
    (b"\xfe\xff", "utf-16-be"),
    *((b"\x00" + first, "utf-16-be") for first in _FIRST),
)
_WIDE = frozenset({"utf-16", "utf-32"})
_HEADER_WITHIN = 64  # bytes from the start in which MSH must begin: a BOM and some blank lines

_COMBINING = frozenset({"cp1258", "tcvn3"})  # tones may be characters of their own
_CLUSTER = re.compile(r".[\u0300-\u036f]*", re.DOTALL)  # a letter and its marks
_TONES = frozenset("\u0300\u0301\u0303\u0309\u0323")


def _names() -> dict[str, str]:
    """Every name we know, upper case with letters and digits only → codec."""
    names = {"ASCII": "ascii", "USASCII": "ascii", "ISOIR6": "ascii", "7BIT": "ascii"}
    for part in (*range(1, 12), 13, 14, 15, 16):
        names |= dict.fromkeys((f"8859{part}", f"ISO8859{part}"), f"iso8859-{part}")
    latin = {"LATIN1": 1, "LATIN2": 2, "L1": 1, "ISOIR100": 1, "ISOIR101": 2, "ISOIR109": 3, "ISOIR110": 4, "ISOIR144": 5}
    latin |= {"ISOIR127": 6, "ISOIR126": 7, "ISOIR138": 8, "ISOIR148": 9, "ISOIR166": 11, "LATIN9": 15}
    names |= {name: f"iso8859-{part}" for name, part in latin.items()}
    for page in (874, *range(1250, 1259)):
        names |= dict.fromkeys((f"WINDOWS{page}", f"CP{page}", f"WIN{page}"), f"cp{page}")
    names |= dict.fromkeys(("UTF8", "UNICODEUTF8", "UNICODE", "ISOIR192", "ISO10646", "65001"), "utf-8")
    names |= dict.fromkeys(("UTF16", "UNICODEUTF16"), "utf-16")
    names |= dict.fromkeys(("UTF32", "UNICODEUTF32"), "utf-32")
    names |= dict.fromkeys(("GB180302000", "GB18030"), "gb18030") | {"GB2312": "gb18030", "GBK": "gb18030", "BIG5": "big5"}
    names |= dict.fromkeys(("KSX1001", "KSC5601", "EUCKR", "ISOIR149"), "euc-kr")
    names |= {"SHIFTJIS": "shift_jis", "SJIS": "shift_jis", "EUCJP": "euc-jp", "ISOIR14": "shift_jis", "ISOIR13": "shift_jis"}
    names |= dict.fromkeys(("ISOIR87", "ISOIR159", "ISO2022JP", "JISX0208"), "iso2022_jp_ext")
    names |= {
        "TCVN3": "tcvn3",
        "ABC": "tcvn3",
        "TCVN5712": "tcvn3",
        "VISCII": "viscii",
        "VPS": "vps",
        "VNI": "vni",
        "VNIWIN": "vni",
        "KOI8R": "koi8-r",
    }
    return names


_NAMES = _names()
_NOT_NAME = re.compile(r"[^A-Z0-9]")


@lru_cache(maxsize=256)
def codec_of(name: str) -> str | None:
    """The codec of a character set's name as people write it (``UNICODE UTF-8``, ``8859/1``, ``windows-1258``), or None."""
    return _NAMES.get(_NOT_NAME.sub("", name.upper()))


def wide_codec(data: bytes) -> str:
    """The codec of a message, a batch or a file in UTF-16 or UTF-32, as its first bytes prove it; '' for all other sets."""
    return next((codec for start, codec in _BYTE_ORDERS if data.startswith(start)), "")


def charset_of(data: bytes, override: str | None = None) -> str:
    """The codec a message is in: the channel's word, else what its first bytes prove, else MSH-18, else UTF-8.

    A name that nobody knows makes no difference where every byte is ASCII, which all sets but the wide ones include. Raises
    CharsetError where it does make one, or where UTF-16 is said of a message that is not.
    """
    wide = wide_codec(data)
    if override is None and wide:
        return wide
    name, offset = (override, 0) if override is not None else _declared(data)
    if not name or name == '""':
        return DEFAULT
    codec = codec_of(name)
    if codec is None:
        if override is None and data.isascii():
            return "ascii"
        raise CharsetError("The declared character set is not known.", offset)
    if codec not in _WIDE:
        return codec
    if not wide.startswith(codec):
        raise CharsetError(f"The declared character set is {codec.upper()}, the bytes are not.", offset)
    return wide


def _declared(data: bytes) -> tuple[str, int]:
    """MSH-18 and where it stands. Of several, the first, unless another is a Japanese set that includes ASCII."""
    start = data.find(b"MSH", 0, _HEADER_WITHIN)
    if start < 0:
        return "", 0
    end = data.find(b"\r", start)
    newline = data.find(b"\n", start, end if end >= 0 else len(data))
    end = newline if newline >= 0 else end
    header = data[start : end if end >= 0 else len(data)]
    fields = header.split(header[3:4], 18) if len(header) > 3 else []
    if len(fields) < 18 or not fields[17]:
        return "", 0
    offset = start + len(b"|".join(fields[:17])) + 1
    repetition = fields[1][1:2]
    names = [part.decode("latin-1") for part in (fields[17].split(repetition) if repetition else [fields[17]])]
    japanese = next((name for name in names[1:] if codec_of(name) == "iso2022_jp_ext"), "")
    return japanese or names[0], offset


def decode(data: bytes, codec: str) -> str:
    """Text of bytes. Raises CharsetError naming the first byte that is not valid; a byte order mark is skipped."""
    try:
        if codec in vietnamese.CODECS:
            return vietnamese.decode(data, codec)
        if codec.startswith("iso2022"):
            return _decode_lines(data, codec)
        text = data.decode(codec)
    except UnicodeDecodeError as error:
        byte = data[error.start]
        raise CharsetError(f"Byte {error.start} (0x{byte:02X}) is not valid {codec}.", error.start) from None
    if codec == "cp1258" and not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return text.removeprefix("\ufeff") if text.startswith("\ufeff") else text


def _decode_lines(data: bytes, codec: str) -> str:
    """As ``decode`` where shift states end with the segment: each begins in ASCII again."""
    texts, offset = [], 0
    for line in re.split(rb"(?<=[\r\n])", data):
        try:
            texts.append(line.decode(codec))
        except UnicodeDecodeError as error:
            error.start += offset
            raise
        offset += len(line)
    return "".join(texts)


def encode(text: str, codec: str, errors: str = "strict") -> bytes:
    """Bytes of text. Raises CharsetError where a character has no place in the character set (offset in characters)."""
    try:
        return _encode(text, codec, "strict")
    except UnicodeEncodeError as error:
        if codec in _COMBINING:
            text = "".join(c if _has(c, codec) else _apart(c) for c in _CLUSTER.findall(text))
        elif errors == "strict":
            raise CharsetError(f"A character is not in {codec}.", error.start) from None
    try:
        return _encode(text, codec, errors)
    except UnicodeEncodeError as error:
        raise CharsetError(f"A character is not in {codec}.", error.start) from None


def _encode(text: str, codec: str, errors: str) -> bytes:
    if codec in vietnamese.CODECS:
        return vietnamese.encode(text, codec, errors)
    return text.encode(codec, errors)


def _has(cluster: str, codec: str) -> bool:
    try:
        _encode(cluster, codec, "strict")
    except UnicodeEncodeError:
        return False
    return True


def _apart(cluster: str) -> str:
    """``ế`` → ``ê`` and a combining acute: base letter and tone."""
    marks = unicodedata.normalize("NFD", cluster)
    tones = "".join(mark for mark in marks if mark in _TONES)
    return unicodedata.normalize("NFC", "".join(mark for mark in marks if mark not in _TONES)) + tones


def decode_hexadecimal(digits: str, codec: str) -> str | None:
    r"""Text of an ``\Xhh..\`` escape, None where it is not valid in the message's character set."""
    try:
        return decode(bytes.fromhex(digits), codec)
    except CharsetError:
        return None
