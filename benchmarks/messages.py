"""The message that all benchmarks use: a synthetic ORU^R01 with 20 numeric OBX, about 2 kB, different on each call."""

from __future__ import annotations

_ANALYTES = (
    ("2345-7", "Glucose", "mmol/L", "5.20", "3.9-6.4"),
    ("3094-0", "Urea", "mmol/L", "4.6", "2.5-7.5"),
    ("2160-0", "Creatinine", "umol/L", "78", "53-100"),
    ("2951-2", "Sodium", "mmol/L", "139", "135-145"),
    ("2823-3", "Potassium", "mmol/L", "4.05", "3.5-5.1"),
)
_HOME = "12 Lê Lợi^^Huế^^49000^VN||0912345678"
_REST = "20261121071500+0700|||||||20261121073000+0700|SER|BS01^Trần^Thị Bình||||||20261121082500+0700||LAB|F"


def oru(number: int, *, patients: int = 200, observations: int = 20) -> bytes:
    """Message ``number``: its own order, of one of ``patients`` patients; every value as a LIS writes it."""
    patient = f"BN{number % patients:06d}"
    person = f"{79_000_000_000 + number % patients:012d}"
    lines = [
        f"MSH|^~\\&|LIS|BV24001|HIE|HUB|20261121083000+0700||ORU^R01^ORU_R01|BENCH{number:08d}|P|2.5|||AL|NE||UNICODE UTF-8",
        f"PID|1||{patient}^^^BV24001^MR~{person}^^^CCCD^NI||Nguyễn^Văn An^^^^^L||19800115|M|||{_HOME}",
        "PV1|1|O|K01^P101^G02^BV24001||||BS01^Trần^Thị Bình",
        f"ORC|RE|A{number:08d}^HIS|F{number:08d}^LIS||CM||||20261121070000+0700|||BS01^Trần^Thị Bình",
        f"OBR|1|A{number:08d}^HIS|F{number:08d}^LIS|SH01^Sinh hoá máu^99LAB|||{_REST}",
    ]
    for n in range(observations):
        code, name, unit, value, range_ = _ANALYTES[n % len(_ANALYTES)]
        lines.append(
            f"OBX|{n + 1}|NM|{code}^{name}^LN^L{n:03d}^{name} {n}^99LAB|{n + 1}|{value}|{unit}^{unit}^UCUM|{range_}|N|||F"
            "|||20261121082000+0700||KTV07^Lê^Văn Cường"
        )
    return ("\r".join(lines) + "\r").encode()
