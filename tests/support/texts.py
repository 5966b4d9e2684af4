"""Short synthetic messages for tests of the engine; the demonstration has the long ones."""

from __future__ import annotations

PATIENT = "PID|1||{0}^^^BV24001^MR||Nguyễn^Văn An||19800115|M"


def msh(type_: str, control_id: str, *, at: str = "20261121083000+0700", processing: str = "P") -> str:
    """A header as the hospital's systems write it."""
    return f"MSH|^~\\&|LIS|BV24001|HIE|HUB|{at}||{type_}|{control_id}|{processing}|2.5||||||UNICODE UTF-8"


def text(*segments: str) -> bytes:
    """Segments as a message."""
    return ("\r".join(segments) + "\r").encode()


def result(
    control_id: str,
    *,
    patient: str = "BN001",
    order: str = "A17",
    filler: str = "F17",
    status: str = "F",
    value: str = "5.20",
    at: str = "20261121083000+0700",
    requester: str = "",
) -> bytes:
    """A glucose result of one order; ``at`` is MSH-7 and OBR-22, ``requester`` the asking facility's code."""
    return text(
        msh("ORU^R01^ORU_R01", control_id, at=at),
        PATIENT.format(patient),
        f"ORC|RE|{order}^HIS|{filler}^LIS||CM||||{at}" + (f"||||||||||||^^^^^^^^^{requester}" if requester else ""),
        f"OBR|1|{order}^HIS|{filler}^LIS|GLU^Glucose^99LAB|||20261121071500+0700|||||||||||||||{at}||LAB|{status}",
        f"OBX|1|NM|2345-7^Glucose^LN||{value}|mmol/L^mmol/L^UCUM|3.9-6.4|N|||{status}|||20261121082000+0700",
    )


def order(control_id: str, *, control: str = "NW", placer: str = "A17", at: str = "20261121080000+0700") -> bytes:
    """A laboratory order."""
    return text(
        msh("OML^O21^OML_O21", control_id, at=at),
        PATIENT.format("BN001"),
        f"ORC|{control}|{placer}^HIS|||||||{at}",
        f"OBR|1|{placer}^HIS||GLU^Glucose^99LAB",
    )


def admission(
    control_id: str, *, event: str = "A04", patient: str = "BN001", name: str = "Nguyễn^Văn An", at: str = "20261121080000+0700"
) -> bytes:
    """A registration or an update."""
    return text(
        msh(f"ADT^{event}^ADT_A01", control_id, at=at),
        f"EVN|{event}|{at}",
        f"PID|1||{patient}^^^BV24001^MR||{name}||19800115|M",
        "PV1|1|O",
    )


def merge(control_id: str, *, survivor: str, retired: str, at: str = "20261121100000+0700") -> bytes:
    """A merge of two patients."""
    return text(
        msh("ADT^A40^ADT_A39", control_id, at=at),
        f"EVN|A40|{at}",
        f"PID|1||{survivor}^^^BV24001^MR||Nguyễn^Văn An||19800115|M",
        f"MRG|{retired}^^^BV24001^MR",
    )
