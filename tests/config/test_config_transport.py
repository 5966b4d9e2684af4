"""``check`` on certificates, routes in clear, and where acknowledgements go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from interop_engine.config import loader
from tests.config.test_config_check import CHANNEL, ENGINE, site, told
from tests.support.certificates import Authority


def tls(certificate: str, key: str) -> str:
    """The channel over TLS."""
    return CHANNEL.replace(":2578}", f":2578, tls: {{certificate: {certificate}, key: {key}}}}}")


def test_a_pair_that_is_good_for_a_year(tmp_path: Path) -> None:
    """Nothing to say; what ``check`` passes, ``run`` loads."""
    root = site(tmp_path, channels__patients=tls(*Authority(tmp_path).sign("engine")))
    assert told(root) == ""
    assert loader.load(root, {}).channels[0].name == "patients"


def test_files_that_are_not_there(tmp_path: Path) -> None:
    """Each is named at its place; paths start at the site's folder."""
    (tmp_path / "other.pem").write_text("no certificate")
    assert told(site(tmp_path, channels__patients=tls("other.pem", "no.key"))) == (
        "channels/patients.yaml:3:53: C130 the file other.pem holds no certificate in PEM\n"
        "    help: a PEM file, from the site's folder\n"
        "channels/patients.yaml:3:69: C130 the file no.key is not there\n"
        "    help: a PEM file, from the site's folder"
    )


def test_a_key_of_another_certificate(tmp_path: Path) -> None:
    """Found before a peer finds it."""
    ca = Authority(tmp_path)
    ca.sign("engine")
    ca.sign("other")
    assert told(site(tmp_path, channels__patients=tls("engine.pem", "other.key"))) == (
        "channels/patients.yaml:3:70: C131 the private key is not that of the certificate\n"
        "    help: certificate and key are made together: name the two files of one pair"
    )


OAUTH = "{token_url: 'https://hub.example/token', client_id: a, private_key: KEY}"
FHIR = f"fhir: {{url: 'https://hub.example/fhir', auth: {{oauth: {OAUTH}}}}}"


def test_a_key_that_says_who_we_are(tmp_path: Path) -> None:
    """A key that is not there, or that does not sign as its option says, is found before the token server finds it."""
    Authority(tmp_path).sign("engine")
    for key, expected in (
        ("gone.key", "C130 the file gone.key cannot be read: No such file or directory"),
        ("engine.key", "C136 the key cannot say who we are: it is no private key in PEM that signs RS384"),
    ):
        channel = CHANNEL.replace("file: {folder: out}", FHIR.replace("KEY", key))
        (mistake,) = loader.check(site(tmp_path, channels__patients=channel), {})
        assert (f"{mistake.code} {mistake.message}", mistake.severity) == (expected, "error")


def test_a_kept_configuration_needs_no_certificates(tmp_path: Path) -> None:
    """Replaying through the configuration of another day works, though certificates are not kept with it."""
    Authority(tmp_path).sign("engine")
    site_ = loader.load(site(tmp_path, channels__patients=tls("engine.pem", "engine.key")), {})
    assert loader.rebuild(site_.snapshot, {}).digest == site_.digest


@pytest.mark.parametrize(("days", "word", "severity"), [(-1, "ended on", "error"), (20, "ends on", "warning")])
def test_the_end_of_a_certificate(tmp_path: Path, days: int, word: str, severity: str) -> None:
    """One that has ended is an error, one that ends within 30 days a warning."""
    Authority(tmp_path).sign("engine", days=days)
    (mistake,) = loader.check(site(tmp_path, channels__patients=tls("engine.pem", "engine.key")), {})
    day = (datetime.now(UTC) + timedelta(days=days)).date()
    assert (mistake.code, mistake.severity) == ("C132", severity)
    assert mistake.message == f"the certificate of engine.pem {word} {day}"


@pytest.mark.parametrize(
    ("was", "now", "warned"),
    [
        ("127.0.0.1:2578", "0.0.0.0:2578", True),
        ("127.0.0.1:2578", "'[::1]:2578'", False),
        ("127.0.0.1:2578", "0.0.0.0:2578, allow: [10.20.0.0/16]", False),
        ("file: {folder: out}", "mllp: {connect: 10.20.0.5:2575}", True),
        ("file: {folder: out}", "mllp: {connect: 10.20.0.5:2575, tls: {}}", False),
        ("file: {folder: out}", "mllp: {connect: localhost:2575}", False),
        ("file: {folder: out}", "fhir: {url: 'http://hub.example/fhir'}", True),
        ("file: {folder: out}", "fhir: {url: 'http://127.0.0.1:8080/fhir'}", False),
        ("file: {folder: out}", "fhir: {url: 'https://hub.example/fhir'}", False),
    ],
)
def test_patient_data_in_clear(tmp_path: Path, was: str, now: str, warned: bool) -> None:
    """A route off the machine without TLS is a warning; a source that lists its senders' networks is not."""
    found = loader.check(site(tmp_path, channels__patients=CHANNEL.replace(was, now)), {})
    assert [(each.code, each.severity) for each in found] == ([("C133", "warning")] if warned else [])


def test_acknowledgements_name_destinations(tmp_path: Path) -> None:
    """Those waited for, and the one that application acknowledgements go to, are destinations of the channel."""
    channel = CHANNEL.replace("{listen: 127.0.0.1:2578}", "{listen: 127.0.0.1:2578, ack_destinations: [our], ack_to: hub}")
    assert told(site(tmp_path, channels__patients=channel)) == (
        'channels/patients.yaml:3:53: C134 the channel has no destination "our"\n'
        '    help: did you mean "out"?\n'
        'channels/patients.yaml:3:67: C134 the channel has no destination "hub"\n'
        "    help: one of out"
    )
    assert told(site(tmp_path, channels__patients=channel.replace("[our]", "[out]").replace("hub", "out"))) == (
        "channels/patients.yaml:3:67: C135 acknowledgements cannot go to out, which is file\n    help: they go over mllp"
    )


def test_what_the_how_to_shows(tmp_path: Path) -> None:
    """Each channel shown is one: its options are there and fit together."""
    page = (Path(__file__).parents[2] / "docs/how-to/acknowledge-and-secure.md").read_text(encoding="utf-8")
    shown = [block.partition("```")[0] for block in page.split("```yaml\n")[1:]]
    ca = Authority(tmp_path / "tls", "hospital-ca")
    ca.sign("engine")
    environment = {"LAB_TOKEN": "x", "RIS_PASSWORD": "y"}
    for block in shown:
        rest = "" if "deliver:" in block else "deliver:\n  - name: out\n    file: {folder: out}\n"
        other = "  - name: record\n    file: {folder: record}\n" if "deliver:" in block else ""
        source = "" if "source:" in block else "source: {mllp: {listen: 127.0.0.1:2575}}\n"
        channel = f"channel: patients\naccept: [ADT^A01]\notherwise: reject\nmapping: adt\n{source}{block}{other}{rest}"
        assert {each.code for each in loader.check(site(tmp_path, channels__patients=channel), environment)} <= {"C133"}
    assert len(shown) == 5


_BROKER = "exchange: {{amqp: '{url}'{more}}}\n"


@pytest.mark.parametrize(
    ("url", "more", "expected"),
    [
        ("amqp://a:b@broker.example/", "", "engine.yaml:4:18: C138 plain amqp:// off this machine"),
        ("amqp://a:b@broker.example/", ", allow_plain: true", ""),
        ("amqps://broker.example/", "", "engine.yaml:4:18: C138 guest/guest on a broker that is not on this machine is refused"),
        ("amqp://127.0.0.1/", "", ""),
        ("amqps://a:b@broker.example/", "", ""),
        ("amqps://a:b@broker.example/", ", tls: {ca_file: none.pem}", "C130 the file none.pem cannot be read"),
        (
            "amqps://24010:secret@broker.example/",
            ", declare: false",
            "engine.yaml:4:18: C139 with declare: false the broker lets 24001",
        ),
        ("amqp://127.0.0.1/", ", declare: false", "engine.yaml:4:18: C139 with declare: false the broker lets 24001"),
        ("amqps://24001:secret@broker.example/", ", declare: false", ""),
        ("amqps://24010:secret@broker.example/", "", ""),
        ("amqp://127.0.0.1/", ", tls: {ca_file: ''}", "C138 tls: is given for a broker that is reached without it"),
    ],
)
def test_how_the_broker_is_reached(tmp_path: Path, url: str, more: str, expected: str) -> None:
    """What ``run`` would refuse, ``check`` finds; the URL, which holds a password, is not repeated."""
    found = told(site(tmp_path, engine=ENGINE + _BROKER.format(url=url, more=more)))
    assert expected in found if expected else "C13" not in found
    assert "a:b" not in found
    assert "secret" not in found


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("postgresql://u:a@db.example/journal", True),
        ("postgresql://u:a@127.0.0.1,db.example:5433/journal?sslmode=prefer", True),
        ("postgresql:///journal?host=db.example", True),
        ("postgresql://u:a@db.example/journal?sslmode=verify-full", False),
        ("postgresql://u:a@db.example/journal?sslmode=disable", False),
        ("postgresql://u:a@127.0.0.1:5432,[::1]:5433/journal", False),
        ("postgresql:///journal?host=/run/postgresql", False),
    ],
)
def test_how_the_journal_is_reached(tmp_path: Path, url: str, warned: bool) -> None:
    """Beyond this machine without TLS, and without a word that there is none, is a warning; no password is repeated."""
    found = loader.check(site(tmp_path, engine=ENGINE + f"journal: {{postgres: '{url}'}}\n"), {})
    told_of = [(each.code, each.severity) for each in found if each.mark.file == "engine.yaml"]
    assert told_of == ([("C133", "warning")] if warned else [])
    assert "u:a" not in "".join(map(str, found))


def test_a_source_that_every_node_reads(tmp_path: Path) -> None:
    """On a shared journal a source that goes to get its messages is told of."""
    channel = CHANNEL.replace("mllp: {listen: 127.0.0.1:2578}", "file: {folder: in}")
    assert channel != CHANNEL
    for journal, expected in (("{postgres: postgresql://127.0.0.1/journal}", ["C141"]), ("{path: j.db}", [])):
        found = loader.check(site(tmp_path, engine=ENGINE + f"journal: {journal}\n", channels__patients=channel), {})
        assert [each.code for each in found] == expected
