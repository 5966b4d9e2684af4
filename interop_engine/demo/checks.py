"""What must be true at the hub and at the district hospital when the day is over, asked of their FHIR servers over HTTP."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from interop_engine.core.model import Resource
from interop_engine.demo import day
from interop_engine.demo.people import ANH, ANH_AGAIN, DUC, PHUC, Person
from interop_engine.fhir.bundle import decode
from interop_engine.hl7.message import Message, Segment


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must be true. ``detail`` says what was found where it is not."""

    what: str
    ok: bool
    detail: str = ""


class Records:
    """A FHIR server's resources, as anybody may read them."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def find(self, kind: str, **parameters: str) -> list[Resource]:
        """All resources that match."""
        answer = await self._client.get(kind, params={name.replace("_", "-"): value for name, value in parameters.items()})
        answer.raise_for_status()
        return [entry["resource"] for entry in decode(answer.content).get("entry", ())]

    async def history(self, resource: Resource) -> list[Resource]:
        """Its versions, oldest first."""
        answer = await self._client.get(f"{resource['resourceType']}/{resource['id']}/_history")
        answer.raise_for_status()
        return [entry["resource"] for entry in reversed(decode(answer.content)["entry"])]


async def check(hub_url: str, district_url: str, his: Sequence[Message]) -> list[Check]:
    """Every check, in the order of the day. ``his``: what the district hospital's HIS got, which only speaks HL7 v2."""
    async with httpx.AsyncClient(base_url=hub_url) as hub_client, httpx.AsyncClient(base_url=district_url) as district_client:
        hub, district = Records(hub_client), Records(district_client)
        return [
            *await _origins(hub),
            *await _patients(hub),
            *await _merged(hub),
            *await _orders(hub),
            *await _laboratory("the hub", hub),
            *await _imaging(hub),
            *await _laboratory("the district hospital", district),
            *await _district(district),
            *await _once("the hub", hub),
            *await _once("the district hospital", district),
            *_messages(his),
        ]


async def _origins(hub: Records) -> list[Check]:
    expected = sum(step.receivers.get("hub") == day.DELIVERED and step.arrivals == 1 for step in day.steps())
    found = len(await hub.find("Provenance"))
    return [Check("Each message that reached the hub has its Provenance, once", found == expected, f"{found} of {expected}")]


async def _patients(hub: Records) -> list[Check]:
    found = {person.number: await hub.find("Patient", identifier=person.number) for person in (ANH, DUC, ANH_AGAIN, PHUC)}
    counts = {number: len(patients) for number, patients in found.items()}
    named = [name.get("text") for patients in found.values() for patient in patients for name in patient.get("name", ())]
    duc = await _only(hub, "Patient", identifier=DUC.number)
    return [
        Check("One Patient for each of the hospital's numbers", set(counts.values()) == {1}, str(counts)),
        Check("Names keep their diacritics", named == [p.name for p in (ANH, DUC, ANH_AGAIN, PHUC)], str(named)),
        Check(
            "A birth of which only the year is known stays a year", duc.get("birthDate") == DUC.birth, str(duc.get("birthDate"))
        ),
    ]


async def _merged(hub: Records) -> list[Check]:
    survivor, retired = [await _only(hub, "Patient", identifier=person.number) for person in (ANH, ANH_AGAIN)]
    phones = [each.get("value") for each in survivor.get("telecom", ())]
    return [
        Check("The merged record is inactive", retired.get("active") is False, str(retired.get("active"))),
        Check("…and is replaced by the other", _links(retired) == {("replaced-by", _of(survivor))}, str(_links(retired))),
        Check("…which replaces it", ("replaces", _of(retired)) in _links(survivor), str(_links(survivor))),
        Check("The new telephone number has arrived", phones == ["0900000555"], str(phones)),
    ]


async def _orders(hub: Records) -> list[Check]:
    found = {number: await hub.find("ServiceRequest", identifier=number) for number in ("YL-1001", "YL-1002", "YC-2001")}
    counts = {number: len(requests) for number, requests in found.items()}
    scan = await _only(hub, "ServiceRequest", identifier="YC-2001")
    return [
        Check("Three orders, each once, though two names are used for each", set(counts.values()) == {1}, str(counts)),
        Check("The order for the CT is completed", scan.get("status") == "completed", str(scan.get("status"))),
        Check("…and still says what was ordered", _code(scan) == "CTNGUC", _code(scan)),
    ]


async def _laboratory(where: str, records: Records) -> list[Check]:
    patient = await _only(records, "Patient", identifier=ANH.number)
    report = await _only(records, "DiagnosticReport", identifier="XN-5001")
    versions = [version["status"] for version in await records.history(report)] if report else []
    glucose = await _one_of(records, ANH, "GLU")
    creatinine = await _one_of(records, ANH, "CRE")
    titre = await _one_of(records, ANH, "ASLO")
    value = glucose.get("valueQuantity", {}).get("value")
    results = {each["reference"] for each in report.get("result", ())}
    return [
        Check(
            f"The report at {where}: preliminary, final, corrected",
            versions == ["preliminary", "final", "corrected"],
            str(versions),
        ),
        Check("…of the right patient", report.get("subject", {}).get("reference") == _of(patient)),
        Check("…with all three results, though the correction named two", len(results) == 3, str(len(results))),
        Check("Glucose is 5.20, not 5.2", str(value) == "5.20", str(value)),
        Check("…and final", glucose.get("status") == "final", str(glucose.get("status"))),
        Check("Creatinine is corrected to 98", _value(creatinine) == ("corrected", "98"), str(_value(creatinine))),
        Check(
            "A titre of 1:128 is a ratio",
            str(titre.get("valueRatio", {}).get("denominator", {}).get("value")) == "128",
            str(titre),
        ),
    ]


async def _imaging(hub: Records) -> list[Check]:
    chemistry = await _only(hub, "DiagnosticReport", identifier="XN-5001")
    report = await _only(hub, "DiagnosticReport", identifier="CD-6001")
    ordered = {number: await _only(hub, "ServiceRequest", identifier=number) for number in ("YL-1001", "YC-2001")}
    documents = [base64.b64decode(each["data"]) for each in report.get("presentedForm", ()) if "data" in each]
    based = [each.get("reference") for each in report.get("basedOn", ())]
    return [
        Check("The laboratory's report is based on its order", _of(ordered["YL-1001"]) in str(chemistry.get("basedOn"))),
        Check("The radiology report is based on its order", based == [_of(ordered["YC-2001"])], str(based)),
        Check("…has its conclusion", report.get("conclusion") == day.CONCLUSION, str(report.get("conclusion"))),
        Check("…and its PDF, byte for byte", day.PDF in documents, f"{len(documents)} documents"),
    ]


async def _district(district: Records) -> list[Check]:
    patients = [patient["id"] for patient in await district.find("Patient")]
    reports = await district.find("DiagnosticReport")
    return [
        Check("The district hospital has only the patient it sent", len(patients) == 1, f"{len(patients)} patients"),
        Check("…and the two reports it asked for", len(reports) == 2, f"{len(reports)} reports"),
    ]


async def _once(where: str, records: Records) -> list[Check]:
    """Nothing is there twice: no business identifier, no result of a report, no late preliminary."""
    seen: Counter[tuple[str, str, str]] = Counter()
    for kind in ("Patient", "ServiceRequest", "DiagnosticReport"):
        for resource in await records.find(kind):
            own = {
                (each.get("system", ""), each.get("value", "")) for each in resource.get("identifier", ()) if not _national(each)
            }
            seen.update(
                (kind, system, value) for system, value in own if kind != "DiagnosticReport" or value.startswith("XN-500")
            )
    twice = [f"{kind} {value}" for (kind, _, value), count in seen.items() if count > 1]
    observations = await records.find("Observation")
    codes = Counter((each["subject"]["reference"], _code(each)) for each in observations)
    return [
        Check(f"Nothing is twice at {where}", not twice, ", ".join(twice)),
        Check("…and no result either", set(codes.values()) == {1}, f"{len(observations)} observations"),
    ]


def _messages(his: Sequence[Message]) -> list[Check]:
    """The way back: the same results as HL7 v2."""
    chemistry = [each for each in his if any(_text(obr, 3) == "XN-5001" for obr in each.all("OBR"))]
    statuses = [_text(each.all("OBR")[0], 25) for each in chemistry]
    last = {_text(obx, 3): _text(obx, 5) for obx in chemistry[-1].all("OBX")} if chemistry else {}
    names = {_text(pid, 5, 1) + " " + _text(pid, 5, 3) + " " + _text(pid, 5, 2) for each in his for pid in each.all("PID")}
    events = {f"{each.message_code}^{each.trigger_event}" for each in his}
    numbers = {_text(pid, 3) for each in his for pid in each.all("PID")}
    return [
        Check("The district's HIS, which only speaks HL7 v2, got ORU^R01", events == {"ORU^R01"}, str(events)),
        Check("…the chemistry preliminary, final and corrected", statuses == ["P", "F", "C"], str(statuses)),
        Check("…of the right patient each time, though only the first bundle named it", numbers == {ANH.number}, str(numbers)),
        Check("…with its diacritics", len(names) == 1 and {ANH.name} == {" ".join(n.split()) for n in names}, str(names)),
        Check("…and at last all three results: 5.20, 98, <5", list(last.values()) == ["5.20", "98", "<"], str(last)),
    ]


def _text(segment: Segment, field: int, component: int = 1) -> str:
    value = segment.value(field)
    return value.get(component) if value is not None else ""


def _national(identifier: Resource) -> bool:
    """National numbers are not keys: a person registered twice has them twice."""
    return any(str(identifier.get("value", "")) in (person.cccd, person.bhyt) for person in (ANH, DUC, PHUC))


async def _only(records: Records, kind: str, **parameters: str) -> Resource:
    """The one that matches; an empty one where there is none or there are several, so that its checks fail."""
    found = await records.find(kind, **parameters)
    return found[0] if len(found) == 1 else {}


async def _one_of(records: Records, person: Person, code: str) -> Resource:
    patient = await _only(records, "Patient", identifier=person.number)
    return await _only(records, "Observation", subject=_of(patient), code=code)


def _of(resource: Resource) -> str:
    return f"{resource.get('resourceType', 'nothing')}/{resource.get('id', '')}"


def _links(patient: Resource) -> set[tuple[str, str]]:
    return {(link.get("type", ""), link.get("other", {}).get("reference", "")) for link in patient.get("link", ())}


def _value(observation: Resource) -> tuple[str, str]:
    return observation.get("status", ""), str(observation.get("valueQuantity", {}).get("value"))


def _code(observation: Resource) -> str:
    codings: Iterable[dict[str, Any]] = observation.get("code", {}).get("coding", ())
    return "|".join(sorted(coding.get("code", "") for coding in codings))


def failed(checks: Sequence[Check]) -> list[Check]:
    """Those that are not true."""
    return [each for each in checks if not each.ok]
