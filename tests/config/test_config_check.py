"""``check`` finds each mistake, at its line and column, with a help text a newcomer can act on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from interop_engine.config import loader
from interop_engine.core.codes import CODES
from interop_engine.core.errors import ConfigError

ENGINE = """\
site: Bệnh viện mẫu
facility: "24001"
timezone: Asia/Ho_Chi_Minh
"""
MAPPING = """\
mapping: adt
message: ADT_A01
resources:
  patient:
    resource: Patient
    key: PID-3 | own_number
    set:
      identifier: PID-3
      name: PID-5
"""
CHANNEL = """\
channel: patients
source:
  mllp: {listen: 127.0.0.1:2578}
accept: [ADT^A01]
otherwise: reject
mapping: adt
deliver:
  - name: out
    file: {folder: out}
"""
BACK = """\
channel: back
source: {exchange: {as: x, kinds: [lab]}}
deliver: [{name: his, mllp: {connect: 'h:1'}}]
"""

ONWARD = """\
channel: back
source: {exchange: {as: x, kinds: [lab]}}
deliver: [{name: on, exchange: {to: =hub, kind: lab}}]
"""


def site(root: Path, **files: str) -> Path:
    """A site that is right, but for the files given: names with ``__`` for ``/``, without ``.yaml``."""
    texts = {"engine": ENGINE, "channels__patients": CHANNEL, "mappings__adt": MAPPING, **files}
    for name, text in texts.items():
        path = root / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def told(root: Path, environment: dict[str, str] | None = None) -> str:
    """What ``check`` prints."""
    return "\n".join(str(mistake) for mistake in loader.check(root, environment or {}))


def test_a_right_site_has_no_mistakes(tmp_path: Path) -> None:
    """And what ``check`` passes, ``run`` loads."""
    root = site(tmp_path)
    assert told(root) == ""
    assert [channel.name for channel in loader.load(root, {}).channels] == ["patients"]


PLANTED = [
    (
        {"engine": "facility: x\nsite: y\ntimezone: Asia/Saigon2\n"},
        'engine.yaml:3:11: C103 timezone: "Asia/Saigon2" is no time zone of the IANA database; an example is Asia/Ho_Chi_Minh',
    ),
    (
        {"engine": "site: y\n"},
        """engine.yaml:1:1: C102 the key "facility" is missing
    help: This node's name on the exchange, the facility's code. For example facility: 24001""",
    ),
    (
        {"engine": ENGINE + "timezome: UTC\n"},
        'engine.yaml:4:1: C101 there is no key "timezome" here\n    help: did you mean "timezone"?',
    ),
    (
        {"engine": ENGINE + "naming: vncor\n"},
        'engine.yaml:4:9: C105 there is no naming profile "vncor"\n    help: did you mean "vncore"?',
    ),
    (
        {"engine": ENGINE + "exchange: {amqp: '${RABBITMQ_URL}'}\n"},
        "engine.yaml:4:18: C106 the variable RABBITMQ_URL is not set\n    help: set it, or give a default: ${RABBITMQ_URL:-…}",
    ),
    (
        {"engine": ENGINE + "status: {listen: 127.0.0.1:2578}\n"},
        "channels/patients.yaml:3:18: C110 port 2578 is taken already\n    help: by the status API",
    ),
    (
        {"channels__patients": CHANNEL.replace("mllp:", "mlpp:")},
        'channels/patients.yaml:3:3: C107 there is no connector "mlpp"\n    help: did you mean "mllp"?',
    ),
    (
        {"channels__patients": CHANNEL.replace("otherwise: reject\n", "")},
        """channels/patients.yaml:1:1: C112 the key "otherwise" is missing
    help: reject (AR) or ignore (AA, kept): never assumed""",
    ),
    (
        {"channels__patients": CHANNEL.replace("mapping: adt", "mapping: adr")},
        'channels/patients.yaml:6:10: C111 there is no mapping "adr"\n    help: did you mean "adt"?',
    ),
    (
        {"channels__patients": CHANNEL.replace("[ADT^A01]", "[ADT^A01, ORU^R01]")},
        "channels/patients.yaml:4:19: C113 no mapping of this channel takes ORU^R01\n    help: adt is for ADT_A01",
    ),
    (
        {"channels__patients": CHANNEL.replace("[ADT^A01]", "[ADT^*, ORU^*]")},
        "channels/patients.yaml:4:17: C113 no mapping of this channel takes ORU^*\n    help: adt is for ADT_A01",
    ),
    (
        {"channels__patients": CHANNEL.replace("[ADT^A01]", "[ADT^A*]")},
        'channels/patients.yaml:4:10: C103 accept.0: "ADT^A*" is no kind of message: * stands for the whole event, as in ADT^*',
    ),
    (
        {"channels__patients": CHANNEL + "duplicates: {key: PVV-2}\n"},
        'channels/patients.yaml:10:19: C121 there is no segment PVV\n    help: did you mean "PV2"?',
    ),
    (
        {"channels__patients": CHANNEL + "duplicates: {key: PV1-19, within: 0s}\n"},
        "channels/patients.yaml:10:35: C103 duplicates.within: ",
    ),
    (
        {"channels__patients": CHANNEL.replace("channel: patients", "channel: patients\nchannel: other")},
        'channels/patients.yaml:2:1: Y002 the key "channel" stands twice\n    help: it is also on line 1',
    ),
    (
        {"channels__two": CHANNEL},
        'channels/two.yaml:1:10: C109 two channels have the name "patients"\n    help: also in channels/patients.yaml',
    ),
    (
        {"channels__patients": CHANNEL + "    when: PVV-2 = 'I'\n"},
        'channels/patients.yaml:10:11: C121 there is no segment PVV\n    help: did you mean "PV2"?',
    ),
    (
        {"channels__patients": CHANNEL + "    when: PV1-99 = 'I'\n"},
        "channels/patients.yaml:10:11: C121 PV1 has no field 99",
    ),
    (
        {"channels__patients": CHANNEL + "    when: PV1-2 == 'I'\n"},
        'channels/patients.yaml:10:18: C120 not an expression: expected a path, a text in quotes or a function, found "="',
    ),
    (
        {"channels__patients": CHANNEL + "    when: matches(PV1-2, '(')\n"},
        "channels/patients.yaml:10:11: C123 not a pattern of RE2",
    ),
    (
        {"channels__patients": CHANNEL.replace("file: {folder: out}", "exchange: {to: PV1-3.4 | table(hospitals), kind: lab}")},
        'channels/patients.yaml:9:30: C122 there is no table "hospitals"',
    ),
    (
        {"channels__patients": CHANNEL + "    retry: {first: soon}\n"},
        'channels/patients.yaml:10:20: C103 deliver.0.retry.first: "soon" is no duration; write 500ms, 2s, 10m, 1h30m or 7d',
    ),
    (
        {"channels__patients": CHANNEL + "    retry: {first: 0s}\n"},
        "channels/patients.yaml:10:20: C103 deliver.0.retry.first: should be greater than 0",
    ),
    (
        {"channels__patients": CHANNEL + "    retry: {give_up: 0s}\n"},
        "channels/patients.yaml:10:22: C103 deliver.0.retry.give_up: should be greater than 0",
    ),
    (
        {"channels__patients": CHANNEL + "    retry: {first: 5m, up_to: 1m}\n"},
        "channels/patients.yaml:10:12: C103 deliver.0.retry: first is the shortest delay",
    ),
    (
        {"channels__patients": CHANNEL.replace("file: {folder: out}", "fhir: {url: 'https://h/fhir', timeouts: {read: 2h}}")},
        "channels/patients.yaml:9:45: C103 deliver.0.fhir.timeouts: together more than 12.5 minutes; no request may take longer",
    ),
    (
        {"channels__patients": CHANNEL.replace("file: {folder: out}", "fhir: {url: 'https://h/fhir', breaker: {first: 1m}}")},
        "channels/patients.yaml:9:44: C103 deliver.0.fhir.breaker: first is the shortest pause",
    ),
    (
        {"channels__patients": CHANNEL + "    on_parked: hold\norder: none\n"},
        "channels/patients.yaml:10:16: C142 on_parked: hold holds nothing: with order: none no message waits for another",
    ),
    (
        {"channels__patients": CHANNEL.replace("file: {folder: out}", "exchange: {to: =hub, kind: patient}")},
        'channels/patients.yaml:9:20: C115 nobody here receives patient as "hub"\n    help: such messages park as unrouted',
    ),
    (
        {"channels__patients": CHANNEL.replace("{folder: out}", "{folder: out, send: orignal}")},
        'channels/patients.yaml:9:31: C117 there is no mapping "orignal" that makes messages\n    help: did you mean "original"?',
    ),
    (
        {"channels__patients": CHANNEL.replace("file: {folder: out}", "mllp: {connect: 'h:1', send: bundle}")},
        "channels/patients.yaml:9:34: C118 MLLP carries HL7 v2, not bundles\n    help: send: original, or a mapping with to:",
    ),
    (
        {
            "channels__patients": CHANNEL.replace("{folder: out}", "{folder: out, send: oru}"),
            "mappings__oru": "mapping: oru\nto: ORU_R01\nset: {PATIENT_RESULT: {ORDER_OBSERVATION: {OBR-4: \"'X'\"}}}\n",
        },
        "channels/patients.yaml:9:31: C118 oru makes messages of bundles, this channel carries HL7 v2",
    ),
    (
        {
            "channels__patients": CHANNEL.replace("{folder: out}", "{folder: out, send: fix}"),
            "mappings__fix": "mapping: fix\nmessage: ORU_R01\nto: ORU_R01\nlens: [drop PID-19]\n",
        },
        "channels/patients.yaml:9:31: C118 fix is for ORU_R01, which this channel does not accept",
    ),
    (
        {
            "channels__back": BACK,
        },
        "channels/back.yaml:3:29: C118 this channel carries bundles, MLLP carries HL7 v2",
    ),
    (
        {
            "channels__back": BACK.replace("'h:1'", "'h:1', send: fix"),
            "mappings__fix": "mapping: fix\nmessage: ORU_R01\nto: ORU_R01\nlens: [drop PID-19]\n",
        },
        "channels/back.yaml:3:52: C118 fix puts HL7 v2 right, this channel carries bundles",
    ),
    (
        {"channels__back": ONWARD.replace("=hub", "ORC-21.10")},
        "channels/back.yaml:3:37: C119 this channel carries bundles, to: asks for fields of HL7 v2",
    ),
    (
        {"channels__back": ONWARD.replace("name: on,", "name: on, when: PV1-2 = 'I',")},
        "channels/back.yaml:3:28: C119 this channel carries bundles, when: asks for fields of HL7 v2",
    ),
    (
        {"channels__back": ONWARD + "filter: PV1-2 = 'I'\n"},
        "channels/back.yaml:4:9: C119 this channel carries bundles, filter: asks for fields of HL7 v2",
    ),
    (
        {"channels__back": ONWARD.replace("=hub", "=x")},
        """channels/back.yaml:3:37: C140 what is sent to "x" comes back to this channel
    help: it would go round for ever: send it to another name, or as another kind""",
    ),
    (
        {
            "channels__back": ONWARD,
            "channels__forth": ONWARD.replace("back", "forth").replace("x,", "hub,").replace("=hub", "=x"),
        },
        'channels/forth.yaml:3:37: C140 what is sent to "x" comes back to this channel',
    ),
    ({"channels__patients": CHANNEL + "dialect: sakura\n"}, 'channels/patients.yaml:10:10: C116 there is no dialect "sakura"'),
    (
        {"mappings__other": MAPPING.replace("mapping: adt", "mapping: other").replace("ADT_A01", "ADT_A05")},
        'mappings/other.yaml:1:10: C114 no channel uses the mapping "other"',
    ),
]


def test_a_mapping_that_cannot_be_read_is_told_alone(tmp_path: Path) -> None:
    """What nobody could read is not missed in the channels as well: one mistake, and not three."""
    found = told(site(tmp_path, mappings__adt="mapping: adt\nmessage: [ADT_A01\n"))
    assert [line.split()[1] for line in found.splitlines() if "help:" not in line] == ["Y001"]


@pytest.mark.parametrize(("files", "expected"), PLANTED)
def test_each_planted_mistake_is_told(tmp_path: Path, files: dict[str, str], expected: str) -> None:
    """File, line, column, code, what is wrong and what to do: exactly."""
    assert expected in told(site(tmp_path, **files))


def test_what_is_passed_on_to_another_name_or_kind_is_no_circle(tmp_path: Path) -> None:
    """Under its own name, what a channel does not receive does not come back to it."""
    for number, text in enumerate((ONWARD, ONWARD.replace("=hub, kind: lab", "=x, kind: imaging"))):
        assert "C140" not in told(site(tmp_path / str(number), channels__back=text))


def test_all_mistakes_of_all_files_at_once(tmp_path: Path) -> None:
    """Nobody mends one mistake to be shown the next."""
    files = {
        "engine": ENGINE + "naming: vncor\n",
        "channels__patients": CHANNEL.replace("otherwise: reject\n", "").replace("mllp:", "mlpp:"),
        "mappings__adt": MAPPING.replace("PID-5", "PID-555"),
    }
    found = {mistake.mark.file for mistake in loader.check(site(tmp_path, **files), {})}
    assert found == {"engine.yaml", "channels/patients.yaml", "mappings/adt.yaml"}


def test_run_refuses_what_check_refuses(tmp_path: Path) -> None:
    """``load`` raises with every error, and with errors only."""
    root = site(tmp_path, channels__patients=CHANNEL.replace("mapping: adt", "mapping: adr"))
    with pytest.raises(ConfigError) as caught:
        loader.load(root, {})
    assert [mistake.code for mistake in caught.value.mistakes] == ["C111"]


def test_a_folder_without_a_site(tmp_path: Path) -> None:
    """The first thing a newcomer meets: it says which verb makes a site."""
    assert "C100 there is no engine.yaml here" in told(tmp_path)


def test_a_secret_never_becomes_structure(tmp_path: Path) -> None:
    """A variable is filled in after parsing: YAML in its value stays text, and it is in no snapshot."""
    secret = "x}\nfacility: '666'"
    root = site(tmp_path, engine=ENGINE.replace("Bệnh viện mẫu", "'${SECRET}'"))
    loaded = loader.load(root, {"SECRET": secret})
    assert loaded.options.site == secret
    assert loaded.options.facility == "24001"
    assert secret not in loaded.snapshot


def test_a_secret_from_a_file(tmp_path: Path) -> None:
    """``${file:path}`` is relative to the site, and its last line break is not part of it."""
    (tmp_path / "name").write_text("Bệnh viện\n", encoding="utf-8")
    root = site(tmp_path, engine=ENGINE.replace("Bệnh viện mẫu", "'${file:name}'"))
    assert loader.load(root, {}).options.site == "Bệnh viện"


def test_the_digest_names_the_configuration(tmp_path: Path) -> None:
    """It changes with the files and with nothing else."""
    first = loader.load(site(tmp_path), {"UNUSED": "1"})
    assert loader.load(tmp_path, {}).digest == first.digest
    site(tmp_path, engine=ENGINE + "# a comment\n")
    assert loader.load(tmp_path, {}).digest != first.digest
    assert json.loads(first.snapshot)["channels/patients.yaml"] == CHANNEL


def test_every_code_of_a_channel_is_listed_and_planted() -> None:
    """C codes that nobody plants would never be noticed to have gone."""
    planted = {line.split()[1] for _, expected in PLANTED for line in expected.splitlines() if not line.startswith(" ")}
    carried = {f"C{number}" for number in range(130, 140)}  # test_config_transport
    agreed = {f"C{number}" for number in range(150, 156)}  # test_config_agreements
    elsewhere = {"C100", "C104", "C108", "C137", "C141", *carried, *agreed}
    assert {code for code in CODES if code.startswith("C")} <= planted | elsewhere


def test_a_site_without_channels(tmp_path: Path) -> None:
    """A site that does nothing is a mistake, not a silence."""
    (tmp_path / "engine.yaml").write_text(ENGINE, encoding="utf-8")
    assert "C108 the site has no channels" in told(tmp_path)
