"""Loads a site: engine.yaml, channels/*.yaml, mappings/. All mistakes of all files at once.

What loads is what runs: ``run`` refuses a site exactly when ``check`` finds an error in it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from interop_engine.config import agreements, cross, transport
from interop_engine.config.reading import File, read, text_of
from interop_engine.config.schema import ChannelOptions, DeliverOptions, PatientOptions, SiteOptions, StatusOptions
from interop_engine.config.site import ChannelConfig, DestinationConfig, Site
from interop_engine.connectors.base import Sending
from interop_engine.connectors.exchange import ExchangeDestinationOptions
from interop_engine.connectors.options import Options
from interop_engine.connectors.registry import DESTINATIONS, SOURCES
from interop_engine.core.diagnostics import Mark, Mistake, near
from interop_engine.core.errors import ConfigError, JournalError
from interop_engine.core.model import digest
from interop_engine.mapping import rules
from interop_engine.mapping.context import Naming, Scope, naming
from interop_engine.mapping.dialect import Dialect
from interop_engine.mapping.outbound.compiler import Outbound
from interop_engine.mapping.program import Library
from interop_engine.mapping.program import load as load_mappings

_MAPPING_FILES = ("*.yaml", "*.csv", "*.json")
NAMING_PROFILES = ("vncore", "moh2021")
_NOT_MAPPINGS = frozenset({"cases", "samples", "golden", "known"})  # test cases beside the mappings


@dataclass
class _Loading:
    root: Path
    environment: Mapping[str, str]
    mistakes: list[Mistake] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)  # of every file, as written: variables are not filled in


def load(directory: Path | str = ".", environment: Mapping[str, str] | None = None, *, compiled: bool = True) -> Site:
    """The site in a folder. Raises ConfigError with every error found; warnings are in the site.

    Without ``compiled`` a mapping is compiled when it is used: for the few messages of a command that is half of the time.
    """
    return _usable(*_load(Path(directory), os.environ if environment is None else environment, compiled=compiled))


def rebuild(snapshot: str, environment: Mapping[str, str] | None = None) -> Site:
    """The site that a snapshot was taken of, with the variables of now. Raises ConfigError where it cannot be used any more."""
    with tempfile.TemporaryDirectory(prefix="interop-engine-") as folder:
        for name, text in msgspec.json.decode(snapshot, type=dict[str, str]).items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        site, mistakes = _load(Path(folder), os.environ if environment is None else environment)
    return _usable(site, [mistake for mistake in mistakes if mistake.code not in transport.FILES])


def _usable(site: Site | None, mistakes: Sequence[Mistake]) -> Site:
    errors = [mistake for mistake in mistakes if mistake.severity == "error"]
    if site is None or errors:
        raise ConfigError(in_order(errors or mistakes))
    return site


def check(directory: Path | str = ".", environment: Mapping[str, str] | None = None) -> list[Mistake]:
    """Every mistake of a site, errors and warnings, in the order of files and lines."""
    return examine(directory, environment)[1]


def examine(directory: Path | str = ".", environment: Mapping[str, str] | None = None) -> tuple[Site | None, list[Mistake]]:
    """What ``check`` finds, and as much of the site as can be read for all that; None where the folder holds no site."""
    site, mistakes = _load(Path(directory), os.environ if environment is None else environment)
    return site, in_order(mistakes)


def in_order(mistakes: Iterable[Mistake]) -> list[Mistake]:
    """Mistakes in the order of files and lines."""
    return sorted(mistakes, key=lambda each: (each.mark.file, each.mark.line, each.mark.column, each.code))


def _load(root: Path, environment: Mapping[str, str], *, compiled: bool = True) -> tuple[Site | None, list[Mistake]]:
    loading = _Loading(root, environment)
    engine = root / "engine.yaml"
    if not engine.is_file():
        hint = "`interop-engine init DIR` makes a site"
        return None, [Mistake("C100", "there is no engine.yaml here", Mark(str(engine), 1, 1), hint)]
    options = _engine(loading, engine)
    names = naming(options.naming, base=options.base)
    library = _library(loading, names)
    if compiled:
        loading.mistakes += library.compile()
    channels = _channels(loading, options, library, names)
    loading.mistakes += cross.check(loading.root, options, channels, library)
    agreed = agreements.load(root, environment)
    loading.texts |= agreed.texts
    loading.mistakes += agreed.mistakes
    file = read(root, engine, environment)
    if not any(each.mark.file == file.name for each in loading.mistakes):
        loading.mistakes += agreements.check(agreed, options, file, channels)
    loading.mistakes += transport.check_exchange(root, options, file, datetime.now(UTC))
    loading.mistakes += transport.check_journal(options.journal.postgres, file)
    snapshot = msgspec.json.encode(dict(sorted(loading.texts.items()))).decode()
    named = digest(snapshot.encode())
    warnings = tuple(mistake for mistake in loading.mistakes if mistake.severity != "error")
    configs = tuple(_of_site(channel, named, agreed) for channel, _ in channels)
    scope = _scope(options, PatientOptions(), library, names)
    return Site(root, options, configs, library, scope, named, snapshot, warnings), loading.mistakes


def _of_site(channel: ChannelConfig, named: str, agreed: agreements.Found) -> ChannelConfig:
    if not agreed.texts:
        return replace(channel, site=named)
    own = digest("\n".join((channel.digest, *agreed.texts.values())).encode())
    return replace(channel, site=named, digest=own, agreements=agreed.agreements)


def _file(loading: _Loading, path: Path) -> File:
    found = read(loading.root, path, loading.environment)
    loading.texts[found.name] = found.text
    return found


def _engine(loading: _Loading, path: Path) -> SiteOptions:
    """The site's options; where they have a mistake, such as let the other files be checked all the same."""
    found = _file(loading, path)
    options = found.parse(SiteOptions, found.data)
    profile = found.data.get("naming", NAMING_PROFILES[0])
    if isinstance(profile, str) and profile not in NAMING_PROFILES:
        hint = near(profile, NAMING_PROFILES) or f"one of {', '.join(NAMING_PROFILES)}"
        found.mistake("C105", f'there is no naming profile "{profile}"', "naming", hint=hint)
        options = None
    if options is not None and (keys := options.journal.keys(loading.root)) is not None:
        _keys(found, keys)
    loading.mistakes += found.mistakes
    return options or SiteOptions(site="?", facility="unknown", status=StatusOptions(listen="127.0.0.1:0"))


def _keys(engine: File, path: Path) -> None:
    from interop_engine.journal.keys import read_keys  # noqa: PLC0415 - a library that only encrypted journals need

    try:
        read_keys(path)
    except JournalError as error:
        hint = "a line a key: an id, a blank, and what `openssl rand -base64 32` says; chmod 600"
        engine.mistake("C137", str(error).rstrip("."), "journal", "encrypt", "keys", hint=hint)


def _library(loading: _Loading, names: Naming) -> Library:
    folder = loading.root / "mappings"
    files = sorted({path for pattern in _MAPPING_FILES for path in folder.rglob(pattern)})
    texts, unread = {}, []
    for path in files:
        parts = path.relative_to(folder).parts
        if not _NOT_MAPPINGS.intersection(parts) and not any(part.startswith(".") for part in parts):
            text = text_of(loading.root, path)
            if isinstance(text, Mistake):
                unread.append(text)
            else:
                texts[str(path.relative_to(loading.root))] = text
    loading.texts |= texts
    library = load_mappings(texts, names)
    library = replace(library, mistakes=(*unread, *library.mistakes))
    loading.mistakes += library.mistakes
    return library


def _scope(
    site: SiteOptions, patient: PatientOptions, library: Library, names: Naming, results: Literal["delta", "snapshot"] = "delta"
) -> Scope:
    return Scope(
        facility=site.facility,
        base=site.base,
        timezone=site.timezone,
        naming=names,
        authority=patient.authority,
        identifier_type=patient.type,
        tables=library.tables,
        terminology=library.terminology,
        results=results,
    )


def _channels(loading: _Loading, options: SiteOptions, library: Library, names: Naming) -> list[tuple[ChannelConfig, File]]:
    channels = []
    for path in sorted((loading.root / "channels").glob("*.yaml")):
        found = _file(loading, path)
        channel = _Channel(found, options, library, names).read()
        loading.mistakes += found.mistakes
        if channel is not None:
            channels.append((channel, found))
    return channels


class _Channel:
    """One channel file on its way to a ChannelConfig."""

    def __init__(self, file: File, site: SiteOptions, library: Library, names: Naming) -> None:
        self._file = file
        self._site = site
        self._library = library
        self._names = names

    def read(self) -> ChannelConfig | None:
        if not self._file.readable:
            return None
        data = dict(self._file.data)
        source_data, deliver_data = data.pop("source", None), data.pop("deliver", None)
        options = self._file.parse(ChannelOptions, data, beside=("source", "deliver"))
        source = self._connector(source_data, SOURCES, ("source",))
        destinations = self._destinations(deliver_data)
        if options is None or source is None:
            return None
        filter_ = self._condition(options.filter, "filter")
        programs = {name: self._library.programs[name] for name in self._known_mappings(options)}
        connector, source_options = source
        made = [each.outbound for each in destinations if each.outbound is not None]
        channel = ChannelConfig(
            options=options,
            connector=connector,
            source=source_options,
            destinations=destinations,
            programs=programs,
            scope=_scope(self._site, options.patient, self._library, self._names, options.results),
            filter=filter_,
            dialect=self._dialect(options),
            digest=digest("\n".join([self._file.text, *(program.digest for program in (*programs.values(), *made))]).encode()),
            zone=self._site.zone,
            named=self._values(options.duplicates.key, "duplicates", "key") if options.duplicates.key else None,
        )
        return None if self._file.mistakes else channel

    def _dialect(self, options: ChannelOptions) -> Dialect | None:
        if not options.dialect:
            return None
        found = self._library.dialects.get(options.dialect)
        if found is None:
            hint = near(options.dialect, self._library.dialects)
            self._file.mistake("C116", f'there is no dialect "{options.dialect}"', "dialect", hint=hint)
        return found

    def _known_mappings(self, options: ChannelOptions) -> list[str]:
        known = []
        written = self._file.data.get("mapping")
        for number, name in enumerate(options.all_mappings()):
            if name in self._library.programs:
                known.append(name)
            elif name not in self._library.broken:
                place = ("mapping", number) if isinstance(written, list) else ("mapping",)
                names = sorted({*self._library.programs, *self._library.broken})
                hint = near(name, names) or ("" if self._library.unreadable else f"mappings: {', '.join(names) or 'none'}")
                if hint:  # else it may be in a file that cannot be read, which is told
                    self._file.mistake("C111", f'there is no mapping "{name}"', *place, hint=hint)
        return known

    def _connector(self, data: Any, registry: Mapping[str, Any], path: tuple[str | int, ...]) -> tuple[str, Options] | None:
        if not isinstance(data, dict) or len(data) != 1:
            known = ", ".join(sorted(registry))
            where = path if data is not None else ()
            self._file.mistake("C107", f"{path[0]} names exactly one connector", *where, hint=f"one of {known}")
            return None
        ((name, options),) = data.items()
        if name not in registry:
            hint = near(name, registry) or f"one of {', '.join(sorted(registry))}"
            self._file.mistake("C107", f'there is no connector "{name}"', *path, name, hint=hint, key=True)
            return None
        model = self._file.parse(registry[name][0], options if isinstance(options, dict) else {}, *path, name)
        return None if model is None else (name, model)

    def _destinations(self, data: Any) -> tuple[DestinationConfig, ...]:
        if not isinstance(data, list) or not data:
            self._file.mistake("C102", 'the key "deliver" is missing or empty', hint="a list of destinations, each with a name")
            return ()
        found = [self._destination(each, ("deliver", index)) for index, each in enumerate(data)]
        return tuple(each for each in found if each is not None)

    def _destination(self, data: Any, path: tuple[str | int, ...]) -> DestinationConfig | None:
        if not isinstance(data, dict):
            self._file.mistake("C103", "a destination is a block with a name and a connector", *path)
            return None
        own = {key: value for key, value in data.items() if key in DeliverOptions.model_fields}
        options = self._file.parse(DeliverOptions, own, *path)
        connector = self._connector({key: value for key, value in data.items() if key not in own}, DESTINATIONS, path)
        if options is None or connector is None:
            return None
        name, model = connector
        receivers = None
        if isinstance(model, ExchangeDestinationOptions):
            receivers = self._values(model.to, *path, name, "to")
        when = self._condition(options.when, *path, "when")
        return DestinationConfig(options, name, model, when, receivers, self._outbound(model, *path, name, "send"))

    def _outbound(self, model: Options, *path: str | int) -> Outbound | None:
        """The mapping that ``send:`` names."""
        if not isinstance(model, Sending) or model.send in ("bundle", "original"):
            return None
        found = self._library.outbound.get(model.send)
        if found is None and model.send not in self._library.broken:
            hint = near(model.send, ("bundle", "original", *self._library.outbound))
            message = f'there is no mapping "{model.send}" that makes messages'
            self._file.mistake("C117", message, *path, hint=hint or "bundle, original, or a mapping with to:")
        return found

    def _condition(self, text: str, *path: str | int) -> rules.Holds | None:
        if not text:
            return None
        holds, mistakes = rules.condition(text, self._file.mark(*path), tuple(self._library.tables))
        self._file.mistakes += mistakes
        return holds

    def _values(self, text: str, *path: str | int) -> rules.Values | None:
        found, mistakes = rules.values(text, self._file.mark(*path), tuple(self._library.tables))
        self._file.mistakes += mistakes
        return found
