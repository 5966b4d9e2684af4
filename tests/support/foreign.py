"""Messages as strangers write them: any structure the site maps, any groups and segments, other delimiters and line ends.

A value fits its data type more often than not; else it is junk. The dictionary of HL7 v2 gives the shapes.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from interop_engine.hl7 import dictionary
from interop_engine.hl7.dictionary import FieldDef, GroupDef

_DELIMITERS = ("|^~\\&", "|^~\\&#", "^!~\\&", "$%*?+", "#@~\\&", "|:;/,")
_MSH_2 = "\x02"  # stands for it until the delimiters are chosen
_ENDS = ("\r", "\n", "\r\n")
_JUNK = ("", '""', "~", "^^", "&", "a^b&c~d", "\\F\\", "\\X41\\", "\\", "<5", "20269999", "é", "Đỗ", "\x7f", "Y", "ZZZ", "0" * 80)
_TEXTS = ("A", "K", "7", "đường huyết", "GLU", "9 9", "12.50", "2026")
_DAYS = st.sampled_from(("2026", "202603", "20260301", "202603010830", "20260301083000+0700", "20260301083000.1234"))
_BY_TYPE = {
    "DTM": _DAYS,
    "TS": _DAYS,
    "DT": st.sampled_from(("20260301", "202603")),
    "NM": st.sampled_from(("5.20", "0", "-1", ".5", "1e9")),
    "SI": st.sampled_from(("1", "2")),
    "CX": st.sampled_from(("BN1^^^BV24001^MR", "BN2", "BN3^^^X&1.2.840.5&ISO^PI~079^^^CCCD^NI", "V1^^^^VN")),
    "EI": st.sampled_from(("F1^LIS", "P1", "X^^1.2.840.5^ISO", "^LIS")),
    "XPN": st.sampled_from(("Nguyễn^An^Văn", "A&B^C", "^An")),
    "XCN": st.sampled_from(("D1^Lê^Hoa", "^Lê^Hoa^^^BS", "D2")),
    "XAD": st.sampled_from(("1 Đường Mẫu^^Huế^^^VNM", "&Đường&7^^Huế^^^^H")),
    "XTN": st.sampled_from(("0901^PRN^PH", "^NET^Internet^a@b.example", "^^CP^^84^24^3825")),
    "PL": st.sampled_from(("W1^R2^B3^BV24001", "W1")),
}
_CODED = frozenset({"CWE", "CE", "CNE", "ID", "IS"})


@dataclass(frozen=True)
class Kind:
    """A type of message: MSH-9.1, MSH-9.2, structure."""

    code: str
    event: str
    structure: str


@st.composite
def _value(draw: st.DrawFn, field: FieldDef) -> str:
    if draw(st.integers(0, 5)) == 0:
        return draw(st.sampled_from(_JUNK))
    if field.datatype in _BY_TYPE:
        return draw(_BY_TYPE[field.datatype])
    if field.datatype in _CODED:
        return draw(st.sampled_from(("A", "F", "N", "NW", "I", "P", "GLU^Glucose^99LIS", "2345-7^^LN", "X^^HL70078", "Y^Có")))
    return draw(st.sampled_from(_TEXTS))


@st.composite
def _segment(draw: st.DrawFn, name: str) -> str:
    known = dictionary.segment(name)
    if known is None or not known.fields:
        return f"{name}|{draw(st.sampled_from(_TEXTS))}"
    last = max(known.fields)
    chosen = set(draw(st.lists(st.integers(1, last), max_size=8)))
    fields = [draw(_value(known.fields[n])) if n in known.fields and (n in chosen or n <= 5) else "" for n in range(1, last + 1)]
    if name == "OBX":
        fields[1] = draw(st.sampled_from(("NM", "ST", "TX", "CWE", "SN", "DT", "TM", "ED", "FT", "XX", "")))
    return f"{name}|{'|'.join(fields)}".rstrip("|")


@st.composite
def _group(draw: st.DrawFn, group: GroupDef, depth: int = 0) -> list[str]:
    lines: list[str] = []
    for child in group.children:
        times = draw(st.sampled_from((0, 1, 1, 2) if child.repeats and depth < 3 else (0, 1, 1, 1)))
        wanted = max(times, 1) if child.required else times if draw(st.booleans()) else 0
        for _ in range(wanted):
            if isinstance(child, GroupDef):
                lines += draw(_group(child, depth + 1))
            elif child.name != "MSH":
                lines.append(draw(_segment(child.name)))
    return lines[:40]


@st.composite
def foreign(draw: st.DrawFn, kinds: list[Kind]) -> bytes:
    """A message of one of these kinds, whole or disturbed, in any delimiters and line ends."""
    kind = draw(st.sampled_from(kinds))
    structure = dictionary.structure(kind.structure)
    assert structure is not None
    lines = draw(_group(structure))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(lines)))
        match draw(st.sampled_from(("lose", "double", "swap", "z", "blank"))):
            case "lose":
                del lines[at : at + 1]
            case "double":
                lines[at:at] = lines[at : at + 1]
            case "swap":
                lines.reverse()
            case "z":
                lines.insert(at, f"Z{draw(st.sampled_from('AQ9'))}1|{draw(st.sampled_from(_JUNK))}")
            case "blank":
                lines.insert(at, "")
    version = draw(st.sampled_from(("2.1", "2.3", "2.5.1", "2.8", "")))
    type_ = draw(st.sampled_from((f"{kind.code}^{kind.event}", f"{kind.code}^{kind.event}^{kind.structure}")))
    header = f"MSH|{_MSH_2}|LIS|24001|HUB|HUB|20260301083000||{type_}|M1|P|{version}"
    delimiters = draw(st.sampled_from(_DELIMITERS))
    text = draw(st.sampled_from(_ENDS)).join([header, *lines]).translate(str.maketrans("|^~\\&", delimiters[:5]))
    return text.replace(_MSH_2, delimiters[1:]).encode()
