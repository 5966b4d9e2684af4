"""The same bundle by Python written by hand for this very message: the lower bound that a mapping language is measured against.

It reads the message with ``str.split`` and writes dictionaries. It knows what the bench's sender does and no more: no escapes, no
repetitions but PID-3's, no check of a code, a date or a number, no loss ledger, no diagnostics. Ids are UUIDv5 of its own.
"""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

import msgspec

Json = dict[str, Any]

BASE = "http://hospital.example"
_FACILITY = f"{BASE}/facility/24001"
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
_AUTHORITIES = {"CCCD": "http://fhir.hl7.org.vn/core/sid/cccd"}
_SYSTEMS = {"LN": "http://loinc.org", "UCUM": "http://unitsofmeasure.org"}
_GENDERS = {"M": "male", "F": "female", "O": "other", "U": "unknown"}
_REPORT_STATUS = {"F": "final", "P": "preliminary", "C": "corrected", "X": "cancelled"}
_ORDER_STATUS = {"CM": "completed", "IP": "active", "CA": "revoked"}
_OBSERVATION_STATUS = {"F": "final", "P": "preliminary", "C": "corrected", "X": "cancelled"}
_INTERPRETATIONS = {"N": "Normal", "H": "High", "L": "Low", "A": "Abnormal", "HH": "Critical high", "LL": "Critical low"}
_NUMBERS = {"PLAC": "Placer Identifier", "FILL": "Filler Identifier"}

_encode = msgspec.json.Encoder(decimal_format="number").encode


def convert(data: bytes) -> bytes:
    """The bundle of an ORU^R01 of one order, without Provenance."""
    return _encode(content([line.split("|") for line in data.decode().split("\r") if line]))


def content(segments: list[list[str]]) -> Json:
    """The bundle of a message that is already in segments and fields."""
    first = {segment[0]: segment for segment in reversed(segments)}
    pid, orc, obr = first["PID"], first["ORC"], first["OBR"]
    numbers = [each.split("^") for each in pid[3].split("~")]
    patient = _id("Patient", numbers[0][0])
    order = _id("ServiceRequest", obr[2])
    report = _id("DiagnosticReport", obr[3] + obr[4])
    specimen = _id("Specimen", report)
    subject = {"reference": f"Patient/{patient}"}
    drawn = {"reference": f"Specimen/{specimen}"}
    coded, issued = _concept(obr[4]), _moment(obr[22])
    observations = [_observation(each, report, subject, drawn, issued) for each in segments if each[0] == "OBX"]
    resources: list[Json] = [
        _patient(patient, numbers, pid),
        _order(order, orc, obr, coded, subject),
        _report(report, obr, coded, subject, order, drawn, observations, first["MSH"][3]),
        {
            "resourceType": "Specimen",
            "id": specimen,
            "type": {"coding": [{"system": f"{_FACILITY}/codes/local", "code": obr[15]}]},
            "subject": subject,
            "receivedTime": _moment(obr[14]),
            "collection": {"collectedDateTime": _moment(obr[7])},
        },
        *observations,
    ]
    entries = []
    for resource in resources:
        local = f"{resource['resourceType']}/{resource['id']}"
        entries.append({"fullUrl": f"{BASE}/{local}", "resource": resource, "request": {"method": "PUT", "url": local}})
    return {"resourceType": "Bundle", "type": "transaction", "timestamp": "2026-11-21T01:30:00.000Z", "entry": entries}


def _patient(id_: str, numbers: list[list[str]], pid: list[str]) -> Json:
    name, address = pid[5].split("^"), pid[11].split("^")
    return {
        "resourceType": "Patient",
        "id": id_,
        "identifier": [
            {
                "type": {"coding": [{"system": f"{_TERMINOLOGY}/v2-0203", "code": number[4]}]},
                "system": _AUTHORITIES.get(number[3]) or f"{BASE}/authority/{number[3]}",
                "value": number[0],
            }
            for number in numbers
        ],
        "name": [{"use": "official", "text": f"{name[0]} {name[1]}", "family": name[0], "given": [name[1]]}],
        "telecom": [{"system": "phone", "value": pid[13], "use": "home"}],
        "gender": _GENDERS[pid[8]],
        "birthDate": f"{pid[7][:4]}-{pid[7][4:6]}-{pid[7][6:8]}",
        "address": [{"line": [address[0]], "city": address[2], "postalCode": address[4], "country": address[5]}],
    }


def _order(id_: str, orc: list[str], obr: list[str], coded: Json, subject: Json) -> Json:
    doctor = obr[16].split("^")
    return {
        "resourceType": "ServiceRequest",
        "id": id_,
        "identifier": [_number("PLAC", obr[2]), _number("FILL", obr[3])],
        "status": _ORDER_STATUS[orc[5]],
        "intent": "order",
        "code": coded,
        "subject": subject,
        "authoredOn": _moment(orc[9]),
        "requester": _performer("Practitioner", "staff", doctor[0], f"{doctor[1]} {doctor[2]}"),
    }


def _report(
    id_: str, obr: list[str], coded: Json, subject: Json, order: str, specimen: Json, observations: list[Json], facility: str
) -> Json:
    return {
        "resourceType": "DiagnosticReport",
        "id": id_,
        "identifier": [_number("FILL", obr[3])],
        "basedOn": [{"reference": f"ServiceRequest/{order}"}],
        "status": _REPORT_STATUS[obr[25]],
        "category": [{"coding": [{"system": f"{_TERMINOLOGY}/v2-0074", "code": obr[24]}]}],
        "code": coded,
        "subject": subject,
        "effectiveDateTime": _moment(obr[7]),
        "issued": _moment(obr[22]),
        "performer": [_performer("Organization", "organization", facility, facility)],
        "specimen": [specimen],
        "result": [{"reference": f"Observation/{each['id']}"} for each in observations],
    }


def _observation(obx: list[str], report: str, subject: Json, specimen: Json, issued: str) -> Json:
    unit, performer = _unit(obx[6]), obx[16].split("^")
    low, high = obx[7].split("-")
    return {
        "resourceType": "Observation",
        "id": _id("Observation", report + obx[3] + obx[4]),
        "status": _OBSERVATION_STATUS[obx[11]],
        "category": [{"coding": [{"system": f"{_TERMINOLOGY}/observation-category", "code": "laboratory"}]}],
        "code": _concept(obx[3]),
        "subject": subject,
        "effectiveDateTime": _moment(obx[14]),
        "issued": issued,
        "performer": [_performer("Practitioner", "staff", performer[0], f"{performer[1]} {performer[2]}")],
        "valueQuantity": {"value": Decimal(obx[5]), **unit},
        "interpretation": [
            {
                "coding": [
                    {
                        "system": f"{_TERMINOLOGY}/v3-ObservationInterpretation",
                        "code": obx[8],
                        "display": _INTERPRETATIONS[obx[8]],
                    }
                ]
            }
        ],
        "specimen": specimen,
        "referenceRange": [
            {"low": {"value": Decimal(low), **unit}, "high": {"value": Decimal(high), **unit}, "text": obx[7]},
        ],
    }


def _id(type_: str, key: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{_FACILITY}/{type_}/{key}"))


def _moment(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}T{text[8:10]}:{text[10:12]}:{text[12:14]}{text[14:17]}:{text[17:]}"


def _number(kind: str, text: str) -> Json:
    value, authority = text.split("^")
    type_ = {"coding": [{"system": f"{_TERMINOLOGY}/v2-0203", "code": kind, "display": _NUMBERS[kind]}]}
    return {"type": type_, "system": f"{BASE}/authority/{authority}", "value": value}


def _concept(text: str) -> Json:
    parts = text.split("^")
    codings = [
        {"system": _SYSTEMS.get(system) or f"{_FACILITY}/codes/{system}", "code": code, "display": display}
        for code, display, system in zip(parts[0::3], parts[1::3], parts[2::3], strict=True)
    ]
    return {"coding": codings, "text": parts[1]}


def _unit(text: str) -> Json:
    code, unit, system = text.split("^")
    return {"unit": unit, "system": _SYSTEMS[system], "code": code}


def _performer(type_: str, register: str, number: str, display: str) -> Json:
    return {"type": type_, "identifier": {"system": f"{_FACILITY}/{register}", "value": number}, "display": display}
