"""``transform``: messages through a mapping, the way production takes, with nothing around it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from interop_engine.cli import output
from interop_engine.cli.bench import Bench, ChannelName, MappingName, Project
from interop_engine.cli.options import Files

if TYPE_CHECKING:
    from interop_engine.mapping.outbound.compiler import Outbound


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(transform)


def transform(
    files: Files,
    *,
    mapping: MappingName = None,
    channel: ChannelName = None,
    project: Project = None,
    received_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="When it was received (ISO 8601); without it, MSH-7.", show_default=False)
    ] = None,
) -> None:
    """Turn HL7 v2 messages into FHIR bundles, on stdout: one is indented, several are a line each.

    A mapping with to: turns a file with a bundle into HL7 v2, or puts messages right; these have a line a segment.
    What there is to say about a message goes to stderr. Ends with 1 if any message is not mapped.
    """
    from interop_engine.cli.inputs import read_messages
    from interop_engine.fhir import bundle as bundles

    bench = Bench.of(project, mapping, channel)
    if bench.outbound is not None:
        _write_messages(bench, bench.outbound, files)
        return
    at = _moment(received_at)
    messages = [message for file in files for message in read_messages(file)]
    failed = not messages
    for message in messages:
        mapped = bench.map(message, at)
        if mapped is None or mapped.bundle is None or mapped.parked is not None:
            failed = True
            continue
        body = bundles.encode(mapped.bundle)
        output.write(_indented(body) if len(messages) == 1 else body.decode())
    if failed:
        raise typer.Exit(1)


def _write_messages(bench: Bench, outbound: Outbound, files: list[str]) -> None:
    from interop_engine.cli.inputs import read_bytes, read_messages

    bundles = outbound.reads == "fhir"
    given = (
        [(file, read_bytes(file)) for file in files] if bundles else [(m.label, m.data) for f in files for m in read_messages(f)]
    )
    formed = [bench.form(label, data, outbound) for label, data in given]
    for body in formed:
        output.write(body.replace("\r", "\n"))
    if not all(formed):
        raise typer.Exit(1)


def _indented(body: bytes) -> str:
    import msgspec

    return msgspec.json.format(body, indent=2).decode()


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError as error:
        raise typer.BadParameter(f'"{text}" is no time; write 2026-03-01T08:00:00+07:00', param_hint="--received-at") from error
