"""A canary in every field that can hold a patient's data, on every path that can go wrong: the journal has it, nothing else."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from interop_engine.hl7.framing import frame
from tests.support.hub import make_hub_site
from tests.support.node import PORTS
from tests.support.process import Engine, engine, free_port, until
from tests.support.texts import merge, msh, result, text

CANARY = "KANARI4711"
PATIENT = f"PID|1||BN{CANARY}^^^BV24001^MR||{CANARY}^Văn||19800115|M|||{CANARY}||{CANARY}"
_ENGINE = 'site: Test\nfacility: "24001"\ntimezone: Asia/Ho_Chi_Minh\nstatus: {listen: "127.0.0.1:${STATUS_PORT}"}\n'
_ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason#unknown"


def lab(control_id: str, *lines: str, patient: str = PATIENT, order: str = "", report: str = "F") -> bytes:
    """A result whose observations are ``lines``, every other field a canary too."""
    order = order or f"A{control_id}"
    observation = f"OBR|1|{order}^HIS|F{order}^LIS|GLU^{CANARY}^99LAB|||20261121071500+0700"
    return text(
        msh("ORU^R01^ORU_R01", f"{CANARY}-{control_id}"),
        patient,
        f"{observation}|||||||||||||||20261121083000+0700||LAB|{report}",
        *(lines or (f"OBX|1|TX|1^{CANARY}^99LAB||{CANARY}||||||F",)),
        f"NTE|1||{CANARY}",
    )


LAB = [
    f"GET /{CANARY} HTTP/1.1\r\n\r\n".encode(),
    lab("charset").replace("Văn".encode(), b"V\xff"),
    lab("type").replace(b"ORU^R01^ORU_R01", f"{CANARY}^A01".encode()),
    lab("event").replace(b"ORU^R01^ORU_R01", f"ORU^{CANARY}".encode()),
    lab("").replace(f"{CANARY}-|".encode(), b"|"),
    lab("processing").replace(b"|P|2.5", f"|{CANARY}|2.5".encode()),
    lab("version").replace(b"|P|2.5", f"|P|{CANARY}".encode()),
    lab("training").replace(b"|P|2.5", b"|T|2.5"),
    lab("nobody", patient=f"PID|1||||{CANARY}^An"),
    lab("alone", patient="").replace(b"OBR|", b"ZZZ|").replace(b"OBX|", b"ZZZ|"),
    lab("dates", patient=PATIENT.replace("19800115", CANARY).replace("|M|", f"|{CANARY}|")),
    lab("values", f"OBX|1|NM|1^X^99LAB||{CANARY}|{CANARY}|{CANARY}|{CANARY}|||F|||{CANARY}"),
    lab("kind", f"OBX|1|{CANARY}|1^X^99LAB||{CANARY}||||||F"),
    lab("status", f"OBX|1|TX|1^X^99LAB||x||||||{CANARY}"),
    lab("report", report=CANARY),
    lab("once", f"OBX|1|NM|1^X^99LAB||4|{CANARY}|||||F", order="AT"),
    lab("twice", f"OBX|1|NM|1^X^99LAB||5|{CANARY}|||||F", f"OBX|2|NM|1^X^99LAB||6|{CANARY}|||||F", order="AT"),
    lab("torn", f"OBX|1|TX|1^X^99LAB||one\r{CANARY} two||||||F", f"{CANARY}|three|four"),
    lab("torn and nobody", f"OBX|1|TX|1^X^99LAB||one\r{CANARY} two", patient="PID|1|||"),
    lab("document", f"OBX|1|ED|1^X^99LAB||^application^pdf^Base64^{CANARY}!!||||||F"),
    lab("delimiters").replace(b"|^~\\&|", b"|^~\\&#|").replace(b"NTE|1||", b"NTE|1||\\X4\\\\Z9\\"),
    lab("one", order="A1"),
    lab("two", order="A2"),
    lab("two orders in one").replace(b"Atwo orders in one^HIS|FAtwo orders in one^LIS", b"A1^HIS|FA2^LIS"),
    lab("one", order="A1-other content under the same MSH-10"),
    *(lab(f"hub{status}", order=f"HUB{status}") for status in (422, 400, 404, 412, 200, 201)),
    result("M-last"),
]
FILES = {f"{CANARY}^An.hl7": b"no message", f"b{CANARY}.hl7": lab("file"), f"c{CANARY}.hl7": b"x" * 2_000}
FOLDER = """\
channel: folder
source:
  file: {folder: in, every: 50ms, max_file: 1KB}
accept: [ADT^A01]
otherwise: reject
deliver:
  - name: out
    file: {folder: out, send: original}
"""
POSTED = """\
channel: posted
source:
  http: {listen: "127.0.0.1:${POSTED_PORT}", path: /hl7, json_path: hl7, max_body: 1KB}
accept: [ADT^A01]
otherwise: reject
deliver:
  - name: out
    file: {folder: out, send: original}
"""
REQUESTS = [
    CANARY.encode() + b"\r\n\r\n",
    f"GET /{CANARY} HTTP/1.1\r\nHost: {CANARY}\r\n\r\n".encode(),
    f"POST /{CANARY} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode(),
    f"{CANARY} /hl7?{CANARY} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    b"POST /hl7 HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n" + CANARY.encode(),
    b"POST /hl7 HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n" + CANARY.encode() * 200,
]
PATIENTS = [merge(f"{CANARY}-self", survivor=f"BN{CANARY}", retired=f"BN{CANARY}")]
IMAGING = [lab("invalid").replace(b"||LAB|", b"||CT|")]
EXPECTED = {"100", "101", "102", "200", "201", "202", "203", "204", "205", "invalid-bundle", "training", "fhir-422", "fhir-412"}


class _Gossip(BaseHTTPRequestHandler):
    """A FHIR server that repeats what it was sent, wherever it can."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        status = next((int(body[place + 3 : place + 6]) for place in (body.find("HUB"),) if place >= 0), 200)
        issue = {"severity": "error", "code": "invalid", "diagnostics": f"{CANARY} {body}", "details": {"text": CANARY}}
        outcome = {"resourceType": "OperationOutcome", "issue": [{**issue, "expression": [CANARY]}]}
        count = body.count('"fullUrl"')
        done = {"resourceType": "Bundle", "type": "transaction-response", "entry": [{"response": {"status": "200"}}] * count}
        said = done if status == 200 and "HUB" not in body else outcome
        self.send_response(status, f"No {CANARY}")
        self.send_header("X-Patient", CANARY)
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def gossip() -> Iterator[str]:
    """Its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Gossip)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/fhir"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def exchange(port: int, *messages: bytes) -> None:
    """Send each message, after the answer to the one before."""
    for message in messages:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as peer:
            peer.sendall(frame(message))
            answer = b""
            while not answer.endswith(b"\x1c\r"):
                answer += peer.recv(65_536)


def break_off(port: int) -> None:
    """Frames that are none: never ended, never begun, one within the other."""
    for data in (b"\x0bMSH|^~\\&|" + CANARY.encode(), CANARY.encode() * 9, b"\x0bMSH|\x0bPID|" + CANARY.encode() + b"\x1c"):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as peer:
            peer.sendall(data)


def post(port: int) -> None:
    """Requests that are none, or go astray; each is answered with an error."""
    for data in REQUESTS:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as peer:
            peer.sendall(data)
            assert peer.recv(65_536).startswith(b"HTTP/1.1 4")


def seen(running: Engine, folder: Path) -> dict[str, str]:
    """Everything that an operator or a machine may see without asking for a message."""
    pages = {path: running.text(path) for path in ("/status", "/metrics", "/health/ready")}
    return {**pages, "log": (folder / "engine.log").read_text(encoding="utf-8")}


def test_patient_data_stays_in_the_journal(tmp_path: Path) -> None:
    """Not in the log at its most talkative, not in the metrics, not in the status; a restart over parked messages included."""
    ports = {name: str(free_port()) for name in PORTS}
    with gossip() as url:
        folder = make_hub_site(tmp_path / "site", url, engine=_ENGINE)
        imaging = folder / "mappings" / "oru_r01_radiology.yaml"
        rule = f"      category: =observation-category#imaging\n      dataAbsentReason: ='{_ABSENT}'\n"
        broken = imaging.read_text(encoding="utf-8").replace("      category: =observation-category#imaging\n", rule)
        imaging.write_text(broken, encoding="utf-8")
        for name, channel in (("folder", FOLDER), ("posted", POSTED)):
            (folder / "channels" / f"{name}.yaml").write_text(channel, encoding="utf-8")
        (folder / "in").mkdir()
        for name, content in FILES.items():
            (folder / "in" / name).write_bytes(content)
        ports["POSTED_PORT"] = str(free_port())
        with engine(folder, ports, "--log-level", "debug") as running:
            exchange(int(ports["LAB_PORT"]), *LAB)
            exchange(int(ports["PATIENTS_PORT"]), *PATIENTS)
            exchange(int(ports["IMAGING_PORT"]), *IMAGING)
            break_off(int(ports["LAB_PORT"]))
            post(int(ports["POSTED_PORT"]))
            failed = folder / "in" / "failed"
            until(lambda: len(list(failed.iterdir())) == len(FILES), "every file was looked at", 30)
            running.settled()
            until(lambda: _codes(running) >= EXPECTED, f"every path was taken; missing: {EXPECTED - _codes(running)}", 30)
            before = seen(running, folder)
            running.stop()
            running.start()
            after = seen(running, folder)
        everything = {**before, **{f"{name} after a restart": text_ for name, text_ in after.items()}}
    assert "message_parked" in everything["log"]
    assert "Invalid HTTP request" not in everything["log"]  # in uvicorn's words, between the lines of JSON
    assert {"message_rejected", "frame_cut", "request_refused", "junk_skipped"} <= _events(everything["log"])
    found = [(name, line) for name, text_ in everything.items() for line in text_.splitlines() if CANARY.lower() in line.lower()]
    assert found == []
    journal = b"".join(file.read_bytes() for file in (folder / "var").iterdir())
    assert CANARY.encode() in journal


def _events(log: str) -> set[str]:
    return {json.loads(line)["event_type"] for line in log.splitlines() if line.startswith("{")}


def _codes(running: Engine) -> set[str]:
    rows = running.get("/messages?limit=1000")
    return {row["code"] for row in rows} | {delivery["code"] for row in rows for delivery in row["deliveries"]}
