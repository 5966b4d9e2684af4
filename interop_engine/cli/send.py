"""``send``: an MLLP client that shows what a receiver answers, and how fast."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interop_engine.cli import output
from interop_engine.cli.options import Files

if TYPE_CHECKING:
    import ssl

    from interop_engine.cli.mllp_client import Answered, Summary


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(send)


def send(
    address: Annotated[str, typer.Argument(metavar="HOST:PORT", help="Where an MLLP receiver listens.")],
    files: Files,
    *,
    connections: Annotated[int, typer.Option(min=1, max=1000, help="Connections, each with one message under way.")] = 1,
    rate: Annotated[float, typer.Option(min=0, help="Messages a second in all; 0 is as fast as they are answered.")] = 0,
    repeat: Annotated[int, typer.Option(min=1, help="Send everything so many times.")] = 1,
    new_ids: Annotated[bool, typer.Option("--new-ids", help="Give each message sent its own MSH-10: no duplicates.")] = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for an answer.")] = 30,
    tls: Annotated[
        bool, typer.Option("--tls", help="Speak TLS; the receiver's certificate must be valid and name HOST.")
    ] = False,
    ca: Annotated[str, typer.Option(metavar="FILE", help="With --tls: the authority that signed it, else the system's.")] = "",
    certificate: Annotated[str, typer.Option(metavar="FILE", help="With --tls: our own, where the receiver asks for one.")] = "",
    key: Annotated[str, typer.Option(metavar="FILE", help="With --certificate: its private key.")] = "",
    log: Annotated[Path | None, typer.Option(help="Write a JSON line for each message: MSH-10 and answer.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Show the summary as JSON.")] = False,
) -> None:
    """Send HL7 v2 messages over MLLP and sum up the acknowledgements; ends with 1 if not all were accepted.

    A message counts as accepted on AA or CA whose MSA-2 is its MSH-10. Line ends are sent as CR, whatever the file has.
    """
    import asyncio

    from interop_engine.cli import inputs, mllp_client
    from interop_engine.connectors.addresses import read_address

    try:
        host, port = read_address(address)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="HOST:PORT") from error
    messages = [message for file in files for message in inputs.read_messages(file)]
    if not messages:
        output.fail("There is no message to send.")
    context = _context(ca, certificate, key) if tls or ca or certificate else None
    plan = mllp_client.Plan(host, port, connections, rate, repeat, new_ids, timeout, context)
    with mllp_client.Progress(len(messages) * repeat, log) as progress:
        summary = asyncio.run(mllp_client.send_all(messages, plan, progress.note))
    _show(summary, json)
    if summary.accepted < summary.messages:
        raise typer.Exit(1)


def _context(ca: str, certificate: str, key: str) -> ssl.SSLContext:
    from interop_engine.connectors.tls import TlsClient

    try:
        return TlsClient(ca_file=ca, server_name="", certificate=certificate, key=key).context(".")
    except OSError as error:
        output.fail(f"The certificates cannot be used: {error.strerror or error}.")


def _show(summary: Summary, json: bool) -> None:
    if json:
        output.write_json(summary)
        return
    rows = [
        ("messages", summary.messages),
        ("accepted", summary.accepted),
        *((f"answered {code}", count) for code, count in summary.codes.items()),
        ("not answered", summary.unanswered),
        ("seconds", f"{summary.seconds:.2f}"),
    ]
    if summary.p50 is not None:
        rows += [
            ("messages/s", f"{summary.rate:.1f}"),
            ("ACK p50", f"{summary.p50:.1f} ms"),
            ("ACK p99", f"{summary.p99:.1f} ms"),
        ]
    output.table(("", f"{summary.to}"), rows, right=(summary.to,))
    if summary.failures:
        output.table(("file", "MSH-10", "answer", "error", "text"), [_failure(each) for each in summary.failures])
        if (more := summary.messages - summary.accepted - len(summary.failures)) > 0:
            output.remark("information", f"and {more} more; --log FILE writes all of them")


def _failure(answered: Answered) -> tuple[str, ...]:
    return (answered.file, answered.control_id, answered.code or "none", answered.error_code, answered.text)
