"""What ``init`` writes: a site of one channel, with the sample's laboratory mapping and its test cases."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from interop_engine.core import yaml
from interop_engine.demo.sample import sample_site

if TYPE_CHECKING:
    from collections.abc import Iterator

_CASES = "mappings/cases/oru_r01_lab.yaml"
_FROM_SAMPLE = (
    "mappings/oru_r01_lab.yaml",
    "mappings/common.yaml",
    "mappings/tables/result-to-order.yaml",
    "mappings/terminology/lab-tests.csv",
)

_ENGINE = """\
# One node. `interop-engine schema engine` lists every key; docs/reference/connectors.md explains them.
site: A hospital                              # its name, for people
facility: "{facility}"                             # this node's name on the exchange: the facility's code
timezone: Asia/Ho_Chi_Minh                    # for senders that give no zone with a time
naming: vncore                                # assigning authority → system URI
base: https://hie.example.org                 # root of the URIs that this site makes: yours, before the first real message
journal: {{path: var/journal.db}}               # every message, and where it is; on a disk that is backed up
exchange: embedded                            # or {{amqp: "${{RABBITMQ_URL}}"}}: how nodes are joined
status: {{listen: 127.0.0.1:8080}}              # interop-engine status; /health/ready, /metrics
"""

_CHANNEL = """\
# One channel, in the order a message travels. After a change: interop-engine check.
channel: lab-results
title: Laboratory results, as FHIR bundles in a folder
source:
  mllp: {{listen: 127.0.0.1:2575}}              # 0.0.0.0:2575 for other machines, with allow: [10.20.0.0/16]
accept: [ORU^R01]                             # MSH-9
otherwise: reject                             # AR; ignore would say AA and keep the message as filtered
patient: {{authority: BV{facility}, type: MR}}       # which PID-3 is the hospital's own number
mapping: oru_r01_lab                          # mappings/oru_r01_lab.yaml
deliver:
  - name: folder
    file: {{folder: var/out}}
  # - name: hub                               # to another node, by its name on the exchange
  #   exchange: {{to: =hub, kind: lab}}
  # - name: record                            # to a FHIR R4 server
  #   fhir: {{url: "https://fhir.example.org/r4"}}
"""

_IGNORED = "var/\n"


def write(directory: Path, facility: str) -> Iterator[Path]:
    """Write the site; gives each file as it is written."""
    values = {"facility": facility}
    texts = {
        "engine.yaml": _ENGINE.format(**values),
        "channels/lab-results.yaml": _CHANNEL.format(**values),
        ".gitignore": _IGNORED,
    }
    sample = sample_site()
    texts[_CASES] = cases = _without_known((sample / _CASES).read_text(encoding="utf-8"))
    contents = {name: text.encode() for name, text in texts.items()}
    contents |= {name: (sample / name).read_bytes() for name in (*_FROM_SAMPLE, *_named_in(cases, sample))}
    for name, content in contents.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        yield path


def _without_known(cases: str) -> str:
    """The cases but for those with ``known:``, whose states name objects by the ids of the sample's facility."""
    start, *items = re.split(r"(?m)^(?=  - name:)", cases)
    return "".join((start, *(item for item in items if "\n    known:" not in item)))


def _named_in(cases: str, sample: Path) -> list[str]:
    """The messages and golden files that the cases name, without repeats."""
    folder = Path(_CASES).parent
    named = [
        str(folder / case[key]) for case in yaml.load(cases, _CASES).data["cases"] for key in ("input", "golden") if key in case
    ]
    return [name for name in dict.fromkeys(named) if (sample / name).is_file()]
