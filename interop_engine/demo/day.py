"""A day in the life of the sample hospital, as data: what each system sends, and how it must end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from interop_engine.demo import messages
from interop_engine.demo.fhir_server import Fault
from interop_engine.demo.messages import Panel, Result, Stamp
from interop_engine.demo.people import ANH, ANH_AGAIN, DISTRICT, DUC, NOBODY, PHUC, Person

DATE = "20260302"
DELIVERED = "delivered"
HUB_ONLY = {"hub": DELIVERED}
HUB_AND_DISTRICT = {"hub": DELIVERED, DISTRICT: DELIVERED}
PORT_OF = {"lab-results": "LAB_PORT", "imaging-results": "IMAGING_PORT", "orders": "ORDERS_PORT", "patients": "PATIENTS_PORT"}


@dataclass(frozen=True, slots=True)
class Step:
    """One message of the day. ``receivers`` are those it must reach, and how; ``fault`` befalls the hub's server before it."""

    at: str
    system: str
    channel: str
    what: str
    data: bytes
    control_id: str
    ack: str = "AA"
    state: str = "transformed"
    code: str = ""
    receivers: Mapping[str, str] = field(default_factory=dict)
    arrivals: int = 1
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class _Sender:
    system: str
    channel: str

    def step(self, at: str, what: str, data: bytes, **more: object) -> Step:
        control_id = data.split(b"|")[9].decode("ascii") if data.startswith(b"MSH") else ""
        return Step(at, self.system, self.channel, what, data, control_id, **more)  # type: ignore[arg-type]


_REGISTRATION = _Sender("HIS", "patients")
_ORDERS = _Sender("HIS", "orders")
_LAB = _Sender("LIS", "lab-results")
_IMAGING = _Sender("RIS", "imaging-results")


def _stamp(control_id: str, at: str, processing: str = "P") -> Stamp:
    return Stamp(control_id, f"{DATE}{at.replace(':', '')}", processing)


def _time(at: str) -> str:
    return f"{DATE}{at.replace(':', '')}"


# --- The laboratory ----------------------------------------------------------------------------------------------------

GLUCOSE = Result("NM", "GLU^Glucose^99LIS", "5.20", "mmol/L", "3.90-6.40", "N")
CREATININE = Result("NM", "CRE^Creatinine^99LIS", "88", "umol/L", "53-97", "N")
CHEMISTRY = Panel(
    "YL-1001",
    "XN-5001",
    "SH^Sinh hoá máu^99LIS",
    _time("07:30"),
    _time("08:30"),
    "P",
    (replace(GLUCOSE, status="P"), replace(CREATININE, status="P")),
    specimen="SER^Huyết thanh^99LIS",
    asked_by=DISTRICT,
)
CHEMISTRY_FINAL = replace(
    CHEMISTRY,
    reported=_time("09:30"),
    status="F",
    results=(
        replace(GLUCOSE, notes=("Lấy máu lúc đói.", "Mẫu đạt yêu cầu.")),
        CREATININE,
        Result("NM", "CRP^Protein phản ứng C^99LIS", "<5", "mg/L", "<5", "N"),
    ),
)
CHEMISTRY_CORRECTED = replace(
    CHEMISTRY,
    reported=_time("10:30"),
    status="C",
    results=(GLUCOSE, replace(CREATININE, value="98", flag="H", status="C", notes=("Đã hiệu chuẩn lại máy.",))),
)
SEROLOGY = Panel(
    "YL-1002",
    "XN-5002",
    "MD^Miễn dịch^99LIS",
    _time("07:30"),
    _time("09:30"),
    "F",
    (
        Result("CWE", "HBSAG^HBsAg^99LIS", "NEG^Âm tính^99LIS", flag="N"),
        Result("SN", "ASLO^Kháng thể ASLO^99LIS", "^1^:^128"),
        Result("TX", "KL^Kết luận^99LIS", messages.text("Chưa thấy bất thường.\nĐề nghị theo dõi thêm.")),
    ),
    specimen="SER^Huyết thanh^99LIS",
    asked_by=DISTRICT,
)


def _laboratory(control_id: str, at: str, *panels: Panel, person: Person = ANH, processing: str = "P") -> bytes:
    return messages.results("LIS", person, _stamp(control_id, at, processing), panels)


# --- Imaging -----------------------------------------------------------------------------------------------------------

PDF = messages.pdf("Chest CT, patient BN0000102 - a made-up report")
FINDINGS = "Nhu mô phổi hai bên sáng đều.\nKhông thấy hình ảnh tràn dịch màng phổi."
CONCLUSION = "Hình ảnh CT ngực trong giới hạn bình thường."
CHEST_CT = Panel(
    "YC-2001",
    "CD-6001",
    "CTNGUC^Chụp CT ngực^99RIS",
    _time("09:00"),
    _time("10:00"),
    "F",
    (
        Result("TX", "GDT^Mô tả^99RIS", messages.text(FINDINGS)),
        Result("TX", "IMP^Kết luận^99RIS", messages.text(CONCLUSION)),
        Result("ED", "PDF^Bản in kết quả^99RIS", messages.document(PDF)),
    ),
    section="RAD",
    accession="CT-3001",
    study="1.2.826.0.1.3680043.8.498.3001",
)


# --- The day -----------------------------------------------------------------------------------------------------------


def steps() -> tuple[Step, ...]:
    """The day, in order."""
    return (*_morning(), *_results(), *_records(), *_trouble())


def _morning() -> tuple[Step, ...]:
    order = replace(CHEMISTRY, filler="", results=(), status="", reported="")
    serology = replace(SEROLOGY, filler="", results=(), status="", reported="")
    scan = replace(CHEST_CT, filler="", results=(), status="", reported="", reason="Ho kéo dài")
    return (
        _REGISTRATION.step(
            "07:00",
            f"{ANH.name} registers (ADT^A04)",
            messages.admission("A04", ANH, _stamp("HIS-0001", "07:00")),
            receivers=HUB_ONLY,
        ),
        _REGISTRATION.step(
            "07:05",
            f"{DUC.name} is admitted (ADT^A01)",
            messages.admission("A01", DUC, _stamp("HIS-0002", "07:05"), kind="I", visit="VN-9002"),
            receivers=HUB_ONLY,
        ),
        _ORDERS.step(
            "07:10",
            "Two laboratory orders (OML^O21)",
            messages.laboratory_order(ANH, _stamp("HIS-0003", "07:10"), (order, serology)),
            receivers=HUB_ONLY,
        ),
        _ORDERS.step(
            "07:20",
            "An order for a chest CT (ORM^O01)",
            messages.imaging_order(DUC, _stamp("HIS-0004", "07:20"), scan),
            receivers=HUB_ONLY,
        ),
    )


def _results() -> tuple[Step, ...]:
    preliminary = _laboratory("LIS-0001", "08:30", CHEMISTRY)
    late = replace(CHEMISTRY, reported=_time("08:45"))
    return (
        _LAB.step("08:30", "Chemistry, preliminary (ORU^R01)", preliminary, receivers=HUB_AND_DISTRICT),
        _LAB.step("08:31", "The same once more: the LIS missed the ACK", preliminary, receivers=HUB_AND_DISTRICT, arrivals=2),
        _LAB.step(
            "09:30",
            "Chemistry and serology, final",
            _laboratory("LIS-0002", "09:30", CHEMISTRY_FINAL, SEROLOGY),
            receivers=HUB_AND_DISTRICT,
        ),
        _LAB.step(
            "09:35",
            "A preliminary result, late, after the final",
            _laboratory("LIS-0003", "08:45", late),
            state="filtered",
            code="stale",
        ),
        _IMAGING.step(
            "10:00",
            "Chest CT, report and PDF; the hub says 503",
            messages.results("RIS", DUC, _stamp("RIS-0001", "10:00"), (CHEST_CT,), kind="I"),
            receivers=HUB_ONLY,
            fault=Fault("refuse", status=503, retry_after=1),
        ),
        _ORDERS.step(
            "10:05",
            "The CT order is completed: an ORC, no more (ORM^O01)",
            messages.order_status(DUC, _stamp("HIS-0009", "10:05"), "YC-2001", "CM"),
            receivers=HUB_ONLY,
        ),
        _LAB.step(
            "10:30",
            "Chemistry, corrected; the hub's answer is lost",
            _laboratory("LIS-0004", "10:30", CHEMISTRY_CORRECTED),
            receivers=HUB_AND_DISTRICT,
            fault=Fault("drop"),
        ),
    )


def _records() -> tuple[Step, ...]:
    moved = replace(ANH, street="25 Phố Mẫu", phone="0900000555")
    return (
        _REGISTRATION.step(
            "11:00",
            f"{ANH.name} registers again, by mistake (ADT^A04)",
            messages.admission("A04", ANH_AGAIN, _stamp("HIS-0005", "11:00")),
            receivers=HUB_ONLY,
        ),
        _REGISTRATION.step(
            "11:20",
            "A new address and telephone (ADT^A08)",
            messages.admission("A08", moved, _stamp("HIS-0006", "11:20")),
            receivers=HUB_ONLY,
        ),
        _REGISTRATION.step(
            "11:40",
            "The two records are one person (ADT^A40)",
            messages.merge(moved, ANH_AGAIN, _stamp("HIS-0007", "11:40")),
            receivers=HUB_ONLY,
        ),
        _REGISTRATION.step(
            "11:50",
            "A ward still uses the merged number (ADT^A08)",
            messages.admission("A08", replace(ANH_AGAIN, street="25 Phố Mẫu"), _stamp("HIS-0010", "11:50")),
            receivers=HUB_ONLY,
        ),
    )


def _trouble() -> tuple[Step, ...]:
    unheard = replace(SEROLOGY, placer="", filler="XN-5003", asked_by=NOBODY, reported=_time("13:00"))
    twice = (replace(GLUCOSE, value="5.40"), replace(GLUCOSE, value="7.8"))
    ambiguous = replace(CHEMISTRY_CORRECTED, reported=_time("13:40"), results=twice)
    training = replace(CHEMISTRY_FINAL, placer="", filler="XN-5999")
    name = f"{PHUC.family}^{PHUC.given}".encode()
    mangled = _laboratory("LIS-0006", "13:20", unheard, person=PHUC).replace(name, name.decode().encode("cp1258", "replace"))
    return (
        _LAB.step(
            "13:00",
            f"Serology for {NOBODY}, which nobody has connected",
            _laboratory("LIS-0005", "13:00", unheard, person=PHUC),
            receivers={"hub": DELIVERED, NOBODY: "parked: unrouted"},
        ),
        _LAB.step("13:10", "Something that is not HL7", b"GET / HTTP/1.1\r\n\r\n", ack="AR", state="rejected", code="100"),
        _LAB.step("13:20", "A name that is not in its charset", mangled, ack="AE", state="rejected", code="102"),
        _REGISTRATION.step(
            "13:30",
            "A query, which nobody takes (QBP^Q22)",
            messages.query(PHUC, _stamp("HIS-0008", "13:30")),
            ack="AR",
            state="rejected",
            code="200",
        ),
        _LAB.step(
            "13:40",
            "A correction with one test twice, and two values",
            _laboratory("LIS-0008", "13:40", ambiguous),
            state="parked",
            code="205",
        ),
        _LAB.step(
            "13:50",
            "A trainee's result (MSH-11 is T)",
            _laboratory("LIS-0007", "13:50", training, processing="T"),
            state="filtered",
            code="training",
        ),
    )
