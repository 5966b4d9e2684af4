"""The people of the demonstration. All are made up: no such province, card or number exists (``999``, ``ZZ``)."""

from __future__ import annotations

from dataclasses import dataclass

FACILITY = "24001"
DISTRICT = "24017"
NOBODY = "24031"  # a facility the table knows and nobody has connected
AUTHORITY = "BV24001"


@dataclass(frozen=True, slots=True)
class Person:
    """A patient as the HIS knows them. ``number`` is the hospital's own; ``birth`` is yyyymmdd or a part of it."""

    number: str
    family: str
    middle: str
    given: str
    sex: str
    birth: str
    cccd: str
    bhyt: str
    street: str = "12 Phố Mẫu"
    phone: str = "0900000000"

    @property
    def name(self) -> str:
        """As it is said: family name first."""
        return " ".join(part for part in (self.family, self.middle, self.given) if part)


ANH = Person("BN0000101", "Nguyễn", "Thị Hồng", "Ánh", "F", "19850312", "999185000101", "ZZ4990000000101", phone="0900000101")
DUC = Person("BN0000102", "Trần", "Văn", "Đức", "M", "1962", "999062000102", "ZZ4990000000102", street="7 Ngõ Thử Nghiệm")
ANH_AGAIN = Person("BN0000199", "Nguyễn", "Thị Hồng", "Ánh", "F", "19850312", "999185000101", "ZZ4990000000101")
PHUC = Person("BN0000103", "Lê", "Hoàng", "Phúc", "M", "20190901", "999219000103", "ZZ4990000000103", street="3 Đường Ví Dụ")
