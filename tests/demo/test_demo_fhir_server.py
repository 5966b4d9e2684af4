"""The stand-in FHIR server, over real HTTP: what a hospital's or hub's server must do with our bundles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from interop_engine.demo.fhir_server import Fault, FhirServer
from interop_engine.fhir.bundle import decode, encode

Json = dict[str, Any]
SYSTEM = "https://example.org/mrn"


@pytest.fixture
async def server() -> AsyncIterator[FhirServer]:
    """A server that checks references, on a free port."""
    async with FhirServer(referential=True) as running:
        yield running


@pytest.fixture
async def client(server: FhirServer) -> AsyncIterator[httpx.AsyncClient]:
    """A client whose base is the server's."""
    async with httpx.AsyncClient(base_url=server.url, timeout=5) as running:
        yield running


def patient(identity: str = "p1", number: str = "BN1", **more: Any) -> Json:
    """A patient with one number."""
    return {"resourceType": "Patient", "id": identity, "identifier": [{"system": SYSTEM, "value": number}], **more}


def report(identity: str = "r1", subject: str = "Patient/p1", **more: Any) -> Json:
    """A report of that patient."""
    code = {"coding": [{"system": "http://loinc.org", "code": "718-7"}]}
    return {
        "resourceType": "DiagnosticReport",
        "id": identity,
        "status": "final",
        "code": code,
        "subject": {"reference": subject},
        **more,
    }


def entry(method: str, url: str, resource: Json | None = None, full_url: str = "", **request: str) -> Json:
    """An entry of a bundle."""
    made: Json = {"request": {"method": method, "url": url, **request}}
    return made | ({"resource": resource} if resource else {}) | ({"fullUrl": full_url} if full_url else {})


def bundle(*entries: Json, kind: str = "transaction") -> Json:
    """A bundle of them."""
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


async def post(client: httpx.AsyncClient, content: Json) -> httpx.Response:
    """Post it to the base."""
    return await client.post("", json=content, headers={"content-type": "application/fhir+json"})


async def test_update_as_create_and_versions(client: httpx.AsyncClient) -> None:
    """PUT creates by the client's id, then makes versions; what changes nothing makes none."""
    first = await client.put("Patient/p1", json=patient())
    again = await client.put("Patient/p1", json=patient())
    changed = await client.put("Patient/p1", json=patient(gender="female"))
    assert (first.status_code, first.headers["etag"]) == (201, 'W/"1"')
    assert first.headers["location"].endswith("/fhir/Patient/p1/_history/1")
    assert (again.status_code, again.headers["etag"]) == (200, 'W/"1"')
    assert (changed.status_code, changed.headers["etag"]) == (200, 'W/"2"')
    assert (await client.get("Patient/p1/_history/1")).json().get("gender") is None
    history = (await client.get("Patient/p1/_history")).json()
    assert [each["resource"]["meta"]["versionId"] for each in history["entry"]] == ["2", "1"]


async def test_decimals_keep_their_digits(server: FhirServer, client: httpx.AsyncClient) -> None:
    """5.20 comes back as 5.20, not as 5.2."""
    observation = b'{"resourceType":"Observation","id":"o1","valueQuantity":{"value":5.20}}'
    await client.put("Observation/o1", content=observation)
    assert b'"value":5.20}' in (await client.get("Observation/o1")).content
    assert b"5.20" in encode(server.store.all("Observation")[0])


async def test_transaction_in_any_order(client: httpx.AsyncClient) -> None:
    """References inside a transaction resolve whatever order the entries stand in; each entry has its answer."""
    answer = await post(client, bundle(entry("PUT", "DiagnosticReport/r1", report()), entry("PUT", "Patient/p1", patient())))
    assert answer.status_code == 200
    body = answer.json()
    assert body["type"] == "transaction-response"
    assert [each["response"]["status"] for each in body["entry"]] == ["201 Created", "201 Created"]
    assert body["entry"][0]["response"]["location"] == "DiagnosticReport/r1/_history/1"


async def test_rollback(server: FhirServer, client: httpx.AsyncClient) -> None:
    """One entry refused: nothing of the transaction was done, updates of earlier versions included."""
    await client.put("Patient/p1", json=patient())
    answer = await post(
        client,
        bundle(
            entry("PUT", "Patient/p1", patient(gender="male")),
            entry("PUT", "Patient/p2", patient("p2")),
            entry("PUT", "DiagnosticReport/r1", report(subject="Patient/nobody")),
        ),
    )
    assert answer.status_code == 422
    assert answer.json()["resourceType"] == "OperationOutcome"
    assert "Patient/nobody" in answer.json()["issue"][0]["diagnostics"]
    assert len(server.store.versions("Patient", "p1")) == 1
    assert server.store.current("Patient", "p2") is None
    assert server.store.all("DiagnosticReport") == []


async def test_batch_is_each_by_itself(server: FhirServer, client: httpx.AsyncClient) -> None:
    """In a batch the good entries are done and the bad ones say why."""
    entries = (entry("PUT", "Patient/p1", patient()), entry("PUT", "DiagnosticReport/r1", report(subject="Patient/nobody")))
    answer = await post(client, bundle(*entries, kind="batch"))
    assert answer.status_code == 200
    good, bad = answer.json()["entry"]
    assert good["response"]["status"] == "201 Created"
    assert bad["response"]["status"] == "422"
    assert bad["response"]["outcome"]["resourceType"] == "OperationOutcome"
    assert server.store.types() == ["Patient"]


async def test_conditional_update(server: FhirServer, client: httpx.AsyncClient) -> None:
    """``PUT Type?identifier=``: creates where none matches, updates the one that does, refuses where several do."""
    anonymous = {key: value for key, value in patient().items() if key != "id"}
    url = f"Patient?identifier={SYSTEM}|BN1"
    first = await post(client, bundle(entry("PUT", url, anonymous, "urn:uuid:1")))
    second = await post(client, bundle(entry("PUT", url, anonymous | {"gender": "female"}, "urn:uuid:1")))
    assert first.json()["entry"][0]["response"]["status"] == "201 Created"
    assert second.json()["entry"][0]["response"]["status"] == "200 OK"
    (held,) = server.store.all("Patient")
    assert held["gender"] == "female"
    await client.put("Patient/other", json=patient("other"))
    several = await client.put(url, json=anonymous)
    assert several.status_code == 412


async def test_placeholders_become_ids(server: FhirServer, client: httpx.AsyncClient) -> None:
    """``urn:uuid`` references become the ids that the server gave; one that leads nowhere is refused."""
    anonymous = {key: value for key, value in patient().items() if key != "id"}
    entries = (
        entry("POST", "DiagnosticReport", report(subject="urn:uuid:a"), "urn:uuid:b"),
        entry("PUT", f"Patient?identifier={SYSTEM}|BN1", anonymous, "urn:uuid:a"),
    )
    assert (await post(client, bundle(*entries))).status_code == 200
    (held,), (made,) = server.store.all("Patient"), server.store.all("DiagnosticReport")
    assert made["subject"]["reference"] == f"Patient/{held['id']}"
    assert (await post(client, bundle(entry("POST", "DiagnosticReport", report(subject="urn:uuid:x"))))).status_code == 400


async def test_conditional_create(server: FhirServer, client: httpx.AsyncClient) -> None:
    """``If-None-Exist`` creates once, alone and in a transaction."""
    criteria = f"identifier={SYSTEM}|BN1"
    one = await client.post("Patient", json=patient(), headers={"if-none-exist": criteria})
    two = await client.post("Patient", json=patient(), headers={"if-none-exist": criteria})
    three = await post(client, bundle(entry("POST", "Patient", patient(), ifNoneExist=criteria)))
    assert (one.status_code, two.status_code) == (201, 200)
    assert three.json()["entry"][0]["response"]["status"] == "200 OK"
    assert len(server.store.all("Patient")) == 1


async def test_delete(client: httpx.AsyncClient) -> None:
    """A deleted resource is gone (410), its history is not, and it can come back."""
    await client.put("Patient/p1", json=patient())
    assert (await client.delete("Patient/p1")).status_code == 204
    assert (await client.get("Patient/p1")).status_code == 410
    assert (await client.put("Patient/p1", json=patient())).status_code == 201
    assert (await client.get("Patient/p1/_history")).json()["total"] == 3


async def test_if_match(client: httpx.AsyncClient) -> None:
    """An update of a version that is no longer the last is refused."""
    await client.put("Patient/p1", json=patient())
    stale = await client.put("Patient/p1", json=patient(gender="male"), headers={"if-match": 'W/"7"'})
    right = await client.put("Patient/p1", json=patient(gender="male"), headers={"if-match": 'W/"1"'})
    assert (stale.status_code, right.status_code) == (412, 200)


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("_id=r1", ["r1"]),
        ("_id=r1,r2", ["r1", "r2"]),
        ("subject=Patient/p1", ["r1"]),
        ("patient=p2", ["r2"]),
        ("subject:Patient=p1", ["r1"]),
        ("code=http://loinc.org|718-7", ["r1", "r2"]),
        ("code=718-7&patient=p2", ["r2"]),
        ("code=|718-7", []),
        ("status=preliminary", []),
        ("_count=1", ["r1"]),
    ],
)
async def test_search(client: httpx.AsyncClient, query: str, ids: list[str]) -> None:
    """Search by id, reference and token; parameters are and-ed, commas or-ed; by GET and by POST _search."""
    for number in ("1", "2"):
        await client.put(f"Patient/p{number}", json=patient(f"p{number}", f"BN{number}"))
        await client.put(f"DiagnosticReport/r{number}", json=report(f"r{number}", f"Patient/p{number}"))
    by_get = (await client.get(f"DiagnosticReport?{query}")).json()
    by_post = (
        await client.post(
            "DiagnosticReport/_search", content=query, headers={"content-type": "application/x-www-form-urlencoded"}
        )
    ).json()
    assert [each["resource"]["id"] for each in by_get.get("entry", [])] == ids
    assert by_post == by_get


async def test_search_by_identifier(client: httpx.AsyncClient) -> None:
    """An identifier is found with its system, not with another's."""
    await client.put("Patient/p1", json=patient())
    assert (await client.get("Patient", params={"identifier": f"{SYSTEM}|BN1"})).json()["total"] == 1
    assert (await client.get("Patient", params={"identifier": "BN1"})).json()["total"] == 1
    assert (await client.get("Patient", params={"identifier": f"{SYSTEM}|"})).json()["total"] == 1
    assert (await client.get("Patient", params={"identifier": "other|BN1"})).json()["total"] == 0


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("PUT", "Patient/p2", encode(patient("p1")), 400),  # the id of the URL and of the resource differ
        ("PUT", "Patient/p1", encode(report("p1")), 400),  # another type
        ("PUT", "Patient/p1", b"{", 400),
        ("PUT", "Patient/p_1", encode(patient("p_1")), 400),  # not an id
        ("PUT", "Unknown/1", b"{}", 404),
        ("GET", "Patient/nobody", b"", 404),
        ("GET", "Patient/nobody/_history", b"", 404),
        ("GET", "Patient?name=x", b"", 400),  # a parameter it does not search by
        ("PATCH", "Patient/p1", b"{}", 405),
        ("POST", "", b'{"resourceType":"Bundle","type":"collection"}', 400),
        ("POST", "", encode(bundle(entry("PUT", "Patient/p1", patient()), entry("PUT", "Patient/p1", patient()))), 400),
        ("POST", "", encode(bundle(entry("PUT", "Patient/p2", patient()))), 400),
    ],
)
async def test_refusals(
    server: FhirServer, client: httpx.AsyncClient, method: str, path: str, content: bytes, status: int
) -> None:
    """What is wrong is refused with an OperationOutcome, and nothing is kept."""
    answer = await client.request(method, path, content=content)
    assert answer.status_code == status
    assert decode(answer.content)["resourceType"] == "OperationOutcome"
    assert server.store.types() == []


async def test_metadata(client: httpx.AsyncClient) -> None:
    """The server says that it is R4."""
    assert (await client.get("metadata")).json()["fhirVersion"] == "4.0.1"


async def test_refuse_fault(server: FhirServer, client: httpx.AsyncClient) -> None:
    """Told to refuse, it does so as often as said, with Retry-After, and does nothing else."""
    server.fail(Fault("refuse", times=2, status=503, retry_after=1), Fault("refuse", status=422))
    answers = [await client.put("Patient/p1", json=patient()) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [503, 503, 422, 201]
    assert answers[0].headers["retry-after"] == "1"
    assert [(each.status, each.fault) for each in server.log] == [(503, "refuse"), (503, "refuse"), (422, "refuse"), (201, "")]


async def test_drop_fault(server: FhirServer, client: httpx.AsyncClient) -> None:
    """Told to drop, it does what was asked and closes the connection before the answer."""
    server.fail(Fault("drop"))
    with pytest.raises(httpx.RemoteProtocolError):
        await client.put("Patient/p1", json=patient())
    assert server.store.current("Patient", "p1") is not None
    assert (await client.put("Patient/p1", json=patient())).status_code == 200


async def test_stall_fault(server: FhirServer, client: httpx.AsyncClient) -> None:
    """Told to stall, it answers nobody until released, then closes."""
    server.fail(Fault("stall"))
    with pytest.raises(httpx.ReadTimeout):
        await client.put("Patient/p1", json=patient(), timeout=0.05)
    assert (await client.put("Patient/p1", json=patient())).status_code == 201
    server.release()
    server.fail(Fault("stall"))
    stalled = asyncio.create_task(client.put("Patient/p2", json=patient("p2")))
    await server.until_stalled()
    server.release()
    with pytest.raises(httpx.RemoteProtocolError):
        await stalled
    assert server.store.current("Patient", "p2") is None


async def test_log(server: FhirServer, client: httpx.AsyncClient) -> None:
    """Each request is written down with what it carried and what it was answered."""
    await post(client, bundle(entry("PUT", "Patient/p1", patient())))
    await client.get("Patient/p1")
    assert [(each.method, each.path, each.status, each.entries) for each in server.log] == [
        ("POST", "/fhir/", 200, 1),
        ("GET", "/fhir/Patient/p1", 200, 0),
    ]


async def test_stop_is_harmless_twice() -> None:
    """A server can be stopped with open connections, twice, and started again with what it held."""
    server = FhirServer()
    await server.start()
    async with httpx.AsyncClient(base_url=server.url) as client:
        await client.put("Patient/p1", json=patient())
        await server.stop()
        await server.stop()
    await server.start()
    async with httpx.AsyncClient(base_url=server.url) as client:
        assert (await client.get("Patient/p1")).status_code == 200
    await server.stop()
