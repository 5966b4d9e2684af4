"""Vietnam's character sets from before Unicode, as old hospital systems still send them.

TCVN3 (TCVN 5712:1993, "ABC"), VISCII (RFC 1456) and VPS have a byte for each letter. VNI writes a vowel and after it a mark for
circumflex, breve and tone together. A byte that a set does not define is an error, never another letter.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from itertools import product

_ASCII = "".join(map(chr, range(128)))
_UNDEFINED = "\ufffe"  # what codecs.charmap_decode takes for it

TCVN3 = _ASCII + (
    "ÀẢÃÁẠẶẬÈẺẼÉẸỆÌỈĨÍỊÒỎÕÓỌỘỜỞỠỚỢÙỦŨ\xa0ĂÂÊÔƠƯĐăâêôơưđẰ\u0300\u0309\u0303\u0301\u0323àảãáạẲằẳẵắẴẮẦẨẪẤỀặầẩẫấậèỂẻẽ"
    "éẹềểễếệìỉỄẾỒĩíịòỔỏõóọồổỗốộờởỡớợùỖủũúụừửữứựỳỷỹýỵỐ"
)
VISCII = _ASCII.translate({0x02: "Ẳ", 0x05: "Ẵ", 0x06: "Ẫ", 0x14: "Ỷ", 0x19: "Ỹ", 0x1E: "Ỵ"}) + (
    "ẠẮẰẶẤẦẨẬẼẸẾỀỂỄỆỐỒỔỖỘỢỚỜỞỊỎỌỈỦŨỤỲÕắằặấầẩậẽẹếềểễệốồổỗỠƠộờởịỰỨỪỬơớƯÀÁÂÃẢĂẳẵÈÉÊẺÌÍĨỳĐứÒÓÔạỷừửÙÚỹỵÝỡưàáâãảăữẫèéêẻìíĩỉđựòóôõỏọụùúũủýợỮ"
)
_VPS_LOW = {0x02: "Ạ", 0x03: "Ậ", 0x04: "Ặ", 0x05: "Ẹ", 0x06: "Ệ", 0x10: "Ị", 0x11: "Ọ", 0x12: "Ộ", 0x13: "Ợ", 0x14: "Ụ"}
_VPS_LOW |= {0x15: "Ự", 0x19: "Ỵ", 0x1C: "Ẫ", 0x1D: "Ữ"}
VPS = _ASCII.translate(_VPS_LOW) + (
    "ÀẢÃẤẦẨọỗĂếềểệẮẰẲẾ··ỀỂỄỐỒỔỖýỷỵỚỜỞ\xa0ắằẳẵặỠớÙờởỡŨỨợỪổỬỲỸÍÌộỈĨÓửữÒỎÕựầÁÂấẩẫậđẻÉÊẹỉễịỹƯỦồốÔỏơÈừứÚũưÝẺ·àáâãảạă·èéêẽìí·ĩẴĐòóôõ·Ơụùúủ·ỶẼỳ"
).replace("·", _UNDEFINED)

_TABLES = {"tcvn3": TCVN3, "viscii": VISCII, "vps": VPS}
_ENCODERS = {name: codecs.charmap_build(table) for name, table in _TABLES.items()}
CODECS = frozenset({*_TABLES, "vni"})

# --- VNI -----------------------------------------------------------------------------------------------------------------

_TONES = "\u0300\u0301\u0303\u0309\u0323"  # grave, acute, tilde, hook, dot
_MARKS = (  # vowels, what is added to them besides a tone, VNI's mark for that alone, its marks with each tone
    ("aeiouyôöAEIOUYÔÖ", "", "", "øùõûï"),
    ("aeoAEO", "\u0302", "â", "àáãåä"),
    ("aA", "\u0306", "ê", "èéüúë"),
)
_ALONE = {"ô": "ơ", "ö": "ư", "ñ": "đ", "æ": "ỉ", "ó": "ĩ", "ò": "ị", "î": "ỵ", "ì": "ì", "í": "í"}
_ALONE |= {legacy.upper(): letter.upper() for legacy, letter in _ALONE.items()}


def _vni() -> dict[str, str]:
    """Every letter as VNI writes it → as Unicode does. A mark is of its vowel's case, and read in either."""
    letters = dict(_ALONE)
    for vowels, added, mark, toned in _MARKS:
        for vowel, (legacy, tone) in product(vowels, [(mark, ""), *zip(toned, _TONES, strict=True)]):
            if legacy:
                letter = unicodedata.normalize("NFC", _ALONE.get(vowel, vowel) + added + tone)
                letters |= {vowel + legacy.upper(): letter, vowel + legacy: letter}
    return letters


_FROM_VNI = _vni()
_TO_VNI: dict[str, str] = {}
for _legacy, _letter in _FROM_VNI.items():
    if _letter not in _TO_VNI or _legacy.islower() or _legacy.isupper():
        _TO_VNI[_letter] = _legacy
_VNI_LETTER = re.compile("|".join(sorted(_FROM_VNI, key=len, reverse=True)))
_VNI_STRAY = re.compile("[\x80-\U0010ffff]")


def decode(data: bytes, codec: str) -> str:
    """Text, composed (NFC). Raises UnicodeDecodeError at a byte that the set does not define."""
    if codec == "vni":
        return _decode_vni(data)
    text = codecs.charmap_decode(data, "strict", _TABLES[codec])[0]
    return unicodedata.normalize("NFC", text)


def encode(text: str, codec: str, errors: str) -> bytes:
    """Bytes of composed text. Raises UnicodeEncodeError for a character that the set lacks, unless ``errors`` is replace."""
    if codec == "vni":
        for match in _VNI_STRAY.finditer(text):
            if match[0] not in _TO_VNI and errors == "strict":
                raise UnicodeEncodeError(codec, text, match.start(), match.end(), "no letter of VNI")
        return _VNI_STRAY.sub(lambda match: _TO_VNI.get(match[0], "?"), text).encode("latin-1")
    return codecs.charmap_encode(text, errors, _ENCODERS[codec])[0]


def _decode_vni(data: bytes) -> str:
    text = data.decode("latin-1")
    if text.isascii():
        return text
    stray = _VNI_STRAY.search(_VNI_LETTER.sub(lambda match: "-" * len(match[0]), text))
    if stray is not None:
        raise UnicodeDecodeError("vni", data, stray.start(), stray.end(), "no letter of VNI")
    return _VNI_LETTER.sub(lambda match: _FROM_VNI[match[0]], text)
