"""Test cases of mappings, in YAML beside them: input, what is known, what is expected (mapping-language, "Tests").

Expectations are FHIRPath, of a mapping that makes messages conditions over HL7 v2 paths (``expectations``). A golden file is the
whole bundle, or the message, a line a segment; digests of mapping and configuration in a bundle are masked, so that it changes
only when the result does.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from interop_engine.config.reading import text_of
from interop_engine.core import yaml
from interop_engine.core.diagnostics import Mark, Mistake, near
from interop_engine.core.model import NOTHING_KNOWN, Known, Resource, Sent
from interop_engine.engine import expectations
from interop_engine.engine.single import DESTINATION, Formed, Mapped, form, map_message, read
from interop_engine.engine.transform import Parked
from interop_engine.fhir import bundle as bundles
from interop_engine.hl7.message import parse
from interop_engine.mapping.outbound.program import Envelope

if TYPE_CHECKING:
    from interop_engine.config.site import Site
    from interop_engine.mapping.outbound.compiler import Outbound

RECEIVED_AT = datetime(2026, 1, 1, tzinfo=UTC)
"""When the messages of all cases were received: a case reads no clock."""

_HEAD = ("cases_for", "channel", "cases")
_KEYS = ("name", "input", "known", "expect", "golden", "diagnostics", "parks")
_DIGEST = re.compile(r"(/(?:mapping/[^/\"]+|config)/)[0-9a-f]{16,64}")


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One case: it passed where there are no failures. Each failure is a text of one or several lines."""

    mapping: str
    name: str
    mark: Mark
    failures: tuple[str, ...] = ()
    updated: bool = False


@dataclass(frozen=True)
class Case:
    """One case as written. ``channel`` reads its message; without one it is read as it says itself."""

    mapping: str
    name: str
    mark: Mark
    folder: Path
    input: str
    channel: str = ""
    known: str = ""
    expect: tuple[str, ...] = ()
    golden: str = ""
    diagnostics: tuple[str, ...] | None = None
    parks: str = ""


@dataclass
class Cases:
    """All cases of a site, and what is wrong with their files."""

    cases: list[Case] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)


def load(site: Site) -> Cases:
    """Every case in ``mappings/**/*.yaml`` that says ``cases_for``."""
    found = Cases()
    names = {*site.library.programs, *site.library.outbound, *site.library.broken}
    for path in sorted((site.root / "mappings").rglob("*.yaml")):
        text = text_of(site.root, path)
        if isinstance(text, Mistake):
            found.mistakes.append(text)
        elif "cases_for" in text:
            _file(found, path, yaml.load(text, str(path.relative_to(site.root))), names, site)
    return found


def _file(found: Cases, path: Path, document: yaml.Document, names: AbstractSet[str], site: Site) -> None:
    found.mistakes += document.mistakes
    data = document.data
    if not isinstance(data, dict) or "cases_for" not in data:
        return
    mapping = str(data["cases_for"])
    if mapping not in names:
        hint = near(mapping, names)
        found.mistakes.append(Mistake("T101", f'there is no mapping "{mapping}"', document.mark(("cases_for",)), hint))
        return
    for key in set(data) - set(_HEAD):
        place = document.mark((key,), key=True)
        found.mistakes.append(Mistake("T103", f'there is no key "{key}" beside the cases', place, near(key, _HEAD)))
    channel = str(data.get("channel") or "")
    if channel and (mistake := _no_channel(site, channel, mapping, document.mark(("channel",)))) is not None:
        found.mistakes.append(mistake)
        channel = ""
    for index, item in enumerate(data.get("cases") or ()):
        case = item if isinstance(item, dict) else {}
        if _is_right(found, path, document, index, case):
            found.cases.append(_case(mapping, channel, document.mark(("cases", index)), path.parent, case))


def _no_channel(site: Site, name: str, mapping: str, mark: Mark) -> Mistake | None:
    """What is wrong with the channel of some cases."""
    channel = site.channel(name)
    if channel is None:
        names = [each.name for each in site.channels]
        hint = near(name, names) or f"channels without a mistake of their own: {', '.join(names)}"
        return Mistake("T105", f'there is no channel "{name}"', mark, hint)
    used = [*channel.programs, *(each.outbound.name for each in channel.destinations if each.outbound is not None)]
    if mapping not in used:
        hint = f"its mappings are: {', '.join(used)}"
        return Mistake("T105", f"the channel {name} does not use {mapping}", mark, hint)
    return None


def _is_right(found: Cases, path: Path, document: yaml.Document, index: int, case: Mapping[str, Any]) -> bool:
    """Whether it can be run; what is wrong with it is noted all the same."""
    for key in case:
        if key not in _KEYS:
            place = document.mark(("cases", index, key), key=True)
            hint = near(key, _KEYS) or f"keys: {', '.join(_KEYS)}"
            found.mistakes.append(Mistake("T103", f'there is no key "{key}" in a case', place, hint))
    if not case.get("name") or not case.get("input"):
        hint = "name: what the case shows, input: a file beside this one, or the message itself"
        found.mistakes.append(Mistake("T102", "a case has a name and an input", document.mark(("cases", index)), hint))
        return False
    for key in ("input", "known"):
        name = str(case.get(key) or "")
        if name and not name.startswith("MSH") and not (path.parent / name).is_file():
            hint = f"the path is from {path.parent.name}/, where the cases are"
            found.mistakes.append(Mistake("T104", f'there is no file "{name}"', document.mark(("cases", index, key)), hint))
    return True


def _case(mapping: str, channel: str, mark: Mark, folder: Path, item: Mapping[str, Any]) -> Case:
    diagnostics = item.get("diagnostics")
    return Case(
        mapping=mapping,
        name=item["name"],
        mark=mark,
        folder=folder,
        input=item["input"],
        channel=channel,
        known=item.get("known") or "",
        expect=tuple(item.get("expect") or ()),
        golden=item.get("golden") or "",
        diagnostics=tuple(diagnostics) if diagnostics is not None else None,
        parks=item.get("parks") or "",
    )


def run(case: Case, site: Site, *, update: bool = False) -> CaseResult:
    """Run one case; ``update`` writes its golden file anew."""
    if (outbound := site.library.outbound.get(case.mapping)) is not None:
        return _run_outbound(case, outbound, site, update=update)
    program = site.library.programs[case.mapping]
    channel = site.channel(case.channel)
    try:
        message = read(_input(case), channel)
        known = _known(case)
    except (OSError, ValueError, msgspec.DecodeError) as error:
        return CaseResult(case.mapping, case.name, case.mark, (f"cannot be read: {error}",))
    if isinstance(message, Parked):
        return _result(case, _parked(case, message))
    # As production does: a case that names no channel has the numbers and names of the first that uses the mapping.
    used_by = channel or next((each for each in site.channels if program.name in each.programs), None)
    scope = used_by.scope if used_by is not None else site.scope
    mapped = map_message(message, program, scope, received_at=RECEIVED_AT, known=known)
    failures = [
        *_parked(case, mapped.parked),
        *expectations.failures(case.expect, mapped.bundle or {}),
        *_diagnostics(case, mapped),
    ]
    made = golden_text(mapped.bundle) if mapped.bundle is not None else ""
    changed, difference = _golden(case, made, update=update)
    return _result(case, [*failures, *difference], updated=changed)


def _run_outbound(case: Case, outbound: Outbound, site: Site, *, update: bool) -> CaseResult:
    """A case of a mapping that makes a message: its input is a bundle or an original, its golden file a line a segment."""
    users = (c for c in site.channels if any(d.outbound is outbound for d in c.destinations))
    channel = site.channel(case.channel) or next(users, None)
    scope = channel.scope if channel is not None else site.scope
    try:
        formed = form(_input(case), outbound, scope, Envelope(case.name))
    except OSError as error:
        return CaseResult(case.mapping, case.name, case.mark, (f"cannot be read: {error}",))
    failures = [*_parked(case, formed.parked), *_diagnostics(case, formed)]
    if not formed.body:
        return _result(case, failures)
    failures += expectations.message_failures(case.expect, parse(formed.body), scope)
    changed, difference = _golden(case, formed.body.decode().replace("\r", "\n"), update=update)
    return _result(case, [*failures, *difference], updated=changed)


def _result(case: Case, failures: Sequence[str], *, updated: bool = False) -> CaseResult:
    return CaseResult(case.mapping, case.name, case.mark, tuple(failures), updated)


def _input(case: Case) -> bytes:
    if case.input.startswith("MSH"):
        return case.input.encode()
    return (case.folder / case.input).read_bytes()


def _known(case: Case) -> Known:
    if not case.known:
        return NOTHING_KNOWN
    data = json.loads((case.folder / case.known).read_text(encoding="utf-8"))
    sent = {}
    for item in data.get("sent", ()):
        content = msgspec.json.encode(item["content"]) if "content" in item else None
        state = Sent(DESTINATION, item["object"], item.get("digest", ""), item.get("version", ""), item.get("rank", 0), content)
        sent[DESTINATION, state.object] = state
    return Known("", sent, data.get("aliases", {}), data.get("merged", {}))


def _parked(case: Case, parked: Parked | None) -> list[str]:
    if parked is None:
        return [f"expected to park with {case.parks}, but it does not"] if case.parks else []
    if case.parks == parked.code:
        return []
    return [f"parks with {parked.code}: {parked.why}"]


def _diagnostics(case: Case, mapped: Mapped | Formed) -> list[str]:
    if case.diagnostics is None:
        return []
    said = [f"{finding.path} {finding.code}" for finding in mapped.findings]
    wanted = list(case.diagnostics)
    missing = [f"expected the diagnostic {text}" for text in wanted if text not in said]
    return missing + [f"complains: {finding}" for finding, text in zip(mapped.findings, said, strict=True) if text not in wanted]


def _golden(case: Case, made: str, *, update: bool) -> tuple[bool, list[str]]:
    if not case.golden or not made:
        return False, []
    path = case.folder / case.golden
    there = path.read_text(encoding="utf-8") if path.is_file() else ""
    if made == there:
        return False, []
    if update:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made, encoding="utf-8")
        return True, []
    lines = difflib.unified_diff(there.splitlines(), made.splitlines(), case.golden, "now", lineterm="", n=1)
    return False, ["what it makes differs from its golden file\n" + "\n".join(f"    {line}" for line in lines)]


def golden_text(bundle: Resource) -> str:
    """A bundle as a golden file holds it: indented, what follows from digests of mapping and configuration masked."""
    text = msgspec.json.format(bundles.encode(bundle), indent=2).decode()
    for entry in bundle.get("entry", ()):
        if entry["resource"]["resourceType"] == "Provenance":
            text = text.replace(entry["resource"]["id"], "masked")
    return _DIGEST.sub(r"\1masked", text) + "\n"
