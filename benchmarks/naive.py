"""The pipeline one would write first: hl7apy parses, fhir.resources builds, checks and dumps. Measured beside ours."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

from fhir.resources.R4B.bundle import Bundle
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message


def convert(data: bytes) -> bytes:
    """The bundle of an ORU^R01: Patient, DiagnosticReport, an Observation for each OBX."""
    message = parse_message(data.decode(), validation_level=VALIDATION_LEVEL.TOLERANT, find_groups=True)
    result = message.oru_r01_patient_result
    pid = result.oru_r01_patient.pid
    patient_id = str(uuid.uuid5(uuid.NAMESPACE_URL, pid.pid_3[0].cx_1.to_er7()))
    resources: list[dict[str, Any]] = [
        {
            "resourceType": "Patient",
            "id": patient_id,
            "identifier": [{"value": cx.cx_1.to_er7()} for cx in pid.pid_3],
            "name": [{"family": pid.pid_5.xpn_1.to_er7(), "given": [pid.pid_5.xpn_2.to_er7()]}],
            "birthDate": f"{pid.pid_7.to_er7()[:4]}-{pid.pid_7.to_er7()[4:6]}-{pid.pid_7.to_er7()[6:8]}",
        }
    ]
    for order in result.oru_r01_order_observation:
        observations = [_observation(each.obx, patient_id) for each in order.oru_r01_observation]
        resources += [_report(order.obr, patient_id, observations), *observations]
    entries = [
        {
            "fullUrl": f"urn:uuid:{resource['id']}",
            "resource": resource,
            "request": {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"},
        }
        for resource in resources
    ]
    bundle = Bundle.model_validate({"resourceType": "Bundle", "type": "transaction", "entry": entries})
    return bundle.model_dump_json().encode()


def _report(obr: Any, patient_id: str, observations: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "resourceType": "DiagnosticReport",
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, obr.obr_3.ei_1.to_er7())),
        "status": "final",
        "code": {"coding": [{"code": obr.obr_4.ce_1.to_er7() or "x", "display": obr.obr_4.ce_2.to_er7() or "x"}]},
        "subject": {"reference": f"Patient/{patient_id}"},
        "result": [{"reference": f"Observation/{each['id']}"} for each in observations],
    }


def _observation(obx: Any, patient_id: str) -> dict[str, Any]:
    coded, unit = obx.obx_3, obx.obx_6
    return {
        "resourceType": "Observation",
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, obx.to_er7())),
        "status": "final",
        "code": {"coding": [{"code": coded.ce_1.to_er7(), "display": coded.ce_2.to_er7()}]},
        "subject": {"reference": f"Patient/{patient_id}"},
        "valueQuantity": {"value": Decimal(obx.obx_5.to_er7()), "unit": unit.ce_2.to_er7()},
        "referenceRange": [{"text": obx.obx_7.to_er7()}],
    }
