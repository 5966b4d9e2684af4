"""What ``init`` writes: a site of one channel, with the sample's laboratory mapping and its test cases."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from interop_engine.config.loader import load
from interop_engine.core import yaml
from interop_engine.demo.sample import sample_site

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from interop_engine.config.site import Site

_FIRST = "oru_r01_lab"
_NAMED = re.compile(r"\b(?:table|translate)\(([\w-]+)\)")

_ENGINE = """\
# One node. `interop-engine schema engine` lists every key; docs/reference/connectors.md explains them.
site: A hospital                              # its name, for people
facility: "{facility}"                             # this node's name on the exchange: the facility's code
timezone: Asia/Ho_Chi_Minh                    # for senders that give no zone with a time
naming: vncore                                # assigning authority → system URI
base: https://hie.example.org                 # root of the URIs that this site makes: yours, before the first real message
journal:
  path: var/journal.db                        # every message, and where it is; on a disk that is backed up
  keep: {{days: 90}}                            # what is done is removed then; size: 50GB would limit the file
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
    """Write a site of one channel; gives each file as it is written."""
    channel = {"channels/lab-results.yaml": _CHANNEL.format(facility=facility).encode()}
    yield from write_files(
        directory, site_files(facility) | channel | builtin_files(load(sample_site(), compiled=False), [_FIRST])
    )


def site_files(facility: str) -> dict[str, bytes]:
    """What every site has, name → content."""
    return {"engine.yaml": _ENGINE.format(facility=facility).encode(), ".gitignore": _IGNORED.encode()}


def builtin_files(sample: Site, names: Sequence[str], *, cases: bool = True) -> dict[str, bytes]:
    """Mappings of the sample with all they stand on: what they extend, fragments, tables, concept maps, test cases."""
    files: dict[str, None] = {}
    for name in names:
        files |= dict.fromkeys(_standing_on(sample, name))
    contents = {name: (sample.root / name).read_bytes() for name in files}
    for name in names if cases else ():
        file = f"mappings/cases/{name}.yaml"
        if (sample.root / file).is_file():
            text = _without_known((sample.root / file).read_text(encoding="utf-8"))
            contents[file] = text.encode()
            contents |= {each: (sample.root / each).read_bytes() for each in _named_in(file, text, sample.root)}
    return contents


def write_files(directory: Path, contents: Mapping[str, bytes]) -> Iterator[Path]:
    """Write files into a site's folder, but for those that are there; gives each that was written."""
    for name, content in contents.items():
        path = directory / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            yield path


def _standing_on(sample: Site, name: str) -> Iterator[str]:
    """The files of a mapping: its own, those it extends, those of its fragments; then the tables and maps they name."""
    programs = sample.library.programs
    files = []
    while name:
        program = programs[name]
        files += [program.mark.file, *(fragment.mark.file for fragment in program.fragments.values())]
        name = program.extends
    yield from files
    for file in files:
        for table in _NAMED.findall((sample.root / file).read_text(encoding="utf-8")):
            known = (f"mappings/tables/{table}.yaml", f"mappings/terminology/{table}.csv", f"mappings/terminology/{table}.json")
            yield from (path for path in known if (sample.root / path).is_file())


def _without_known(cases: str) -> str:
    """The cases but for those with ``known:``, whose states name objects by the ids of the sample's facility."""
    start, *items = re.split(r"(?m)^(?=  - name:)", cases)
    return "".join((start, *(item for item in items if "\n    known:" not in item)))


def _named_in(file: str, cases: str, sample: Path) -> list[str]:
    """The messages and golden files that the cases name, without repeats."""
    folder = Path(file).parent
    named = [
        str(folder / case[key]) for case in yaml.load(cases, file).data["cases"] for key in ("input", "golden") if key in case
    ]
    return [name for name in dict.fromkeys(named) if not name.startswith("MSH") and (sample / name).is_file()]
