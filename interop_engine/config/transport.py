"""How a site's routes are carried: certificates that can be used, and patient data that leaves the machine in clear."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from interop_engine.connectors.addresses import is_loopback, read_address
from interop_engine.connectors.base import Acknowledging
from interop_engine.connectors.fhir_rest import FhirRestOptions
from interop_engine.connectors.tls import TlsFault, faults
from interop_engine.core.diagnostics import Mistake, Severity, near
from interop_engine.core.errors import ExchangeError

if TYPE_CHECKING:
    from interop_engine.config.reading import File
    from interop_engine.config.schema import SiteOptions
    from interop_engine.config.site import ChannelConfig
    from interop_engine.connectors.options import Options

FILES = frozenset({"C130", "C131", "C132", "C136", "C137"})
"""The mistakes in certificates and keys: files that are the machine's, and no part of a configuration that is kept."""

_DECIDED = frozenset({"disable", "require", "verify-ca", "verify-full"})  # with any other sslmode the server decides
_CODES = {"unreadable": "C130", "mismatch": "C131", "expired": "C132", "expiring": "C132"}
_HELP = {
    "unreadable": "a PEM file, from the site's folder",
    "mismatch": "certificate and key are made together: name the two files of one pair",
    "expired": "no peer accepts it any more: put a new one in its place",
    "expiring": "put a new one in its place before that day",
}


def check_channel(root: Path, channel: ChannelConfig, file: File, now: datetime) -> Iterator[Mistake]:
    """The mistakes in how one channel is carried and acknowledged."""
    ends: list[tuple[Options, tuple[str | int, ...]]] = [(channel.source, ("source", channel.connector))]
    ends += [(each.options, ("deliver", index, each.connector)) for index, each in enumerate(channel.destinations)]
    for options, path in ends:
        tls = getattr(options, "tls", None)
        if tls is not None:
            for fault in faults(tls, str(root), now):
                yield _fault(fault, file, path)
        yield from _signing(options, root, file, path)
        if tls is None and (key := _in_clear(options)):
            yield Mistake(
                "C133",
                "patient data leave this machine in clear",
                file.mark(*path, key),
                "add tls:, or https:// — or, on a line that is safe by itself, allow: with the networks of a source's senders",
                severity="warning",
            )
    yield from _acknowledging(channel, file)


def check_exchange(root: Path, site: SiteOptions, file: File, now: datetime) -> Iterator[Mistake]:
    """The mistakes in how the exchange is reached."""
    exchange, facility = site.exchange, site.facility
    if isinstance(exchange, str):
        return
    from interop_engine.exchange.rabbitmq.address import read_address as read_broker  # noqa: PLC0415 - most sites need no AMQP

    for fault in faults(exchange.tls, str(root), now):
        yield _fault(fault, file, ("exchange",))
    try:
        address = read_broker(exchange.amqp, allow_plain=exchange.allow_plain)
    except ExchangeError as error:
        hint = "amqps://USER:PASSWORD@HOST/VHOST; allow_plain: true where the line is safe by itself"
        yield Mistake("C138", str(error), file.mark("exchange", "amqp"), hint)
        return
    if exchange.tls.model_fields_set and not address.location.startswith("amqps:"):
        yield Mistake(
            "C138", "tls: is given for a broker that is reached without it", file.mark("exchange", "tls"), "use amqps://"
        )
    if not exchange.declare and address.user != facility:
        message = f"with declare: false the broker lets {facility} send as its own user only, and the URL names another"
        yield Mistake("C139", message, file.mark("exchange", "amqp"), f"amqps://{facility}:PASSWORD@HOST/VHOST")


def check_journal(url: str, file: File) -> Iterator[Mistake]:
    """The journal's database, where it is beyond this machine, is reached by TLS."""
    address, _, options = url.partition("://")[2].partition("?")
    asked = parse_qs(options)
    hosts = ",".join([address.partition("/")[0].rpartition("@")[2], *asked.get("host", ())]).split(",")
    names = [host if host.startswith("/") else urlsplit(f"//{host}").hostname or "" for host in hosts]
    decided = _DECIDED.intersection(asked.get("sslmode", ()))
    if not decided and any(name and not name.startswith("/") and not is_loopback(name) for name in names):
        mark = file.mark("journal", "postgres")
        hint = "add ?sslmode=verify-full — or, on a line that is safe by itself, ?sslmode=disable"
        yield Mistake("C133", "patient data may leave this machine in clear", mark, hint, severity="warning")


def _fault(fault: TlsFault, file: File, path: tuple[str | int, ...]) -> Mistake:
    severity: Severity = "warning" if fault.kind == "expiring" else "error"
    return Mistake(_CODES[fault.kind], fault.message, file.mark(*path, "tls", fault.key), _HELP[fault.kind], severity=severity)


def _in_clear(options: Options) -> str:
    """The option that says where patient data go, or come from, unencrypted beyond this machine; '' where they do not."""
    listen, allow = getattr(options, "listen", ""), getattr(options, "allow", ())
    if listen and not allow and not is_loopback(read_address(listen)[0]):
        return "listen"
    connect = getattr(options, "connect", "")
    if connect and not is_loopback(read_address(connect)[0]):
        return "connect"
    url = urlsplit(getattr(options, "url", ""))
    return "url" if url.scheme == "http" and not is_loopback(url.hostname or "") else ""


def _signing(options: Options, root: Path, file: File, path: tuple[str | int, ...]) -> Iterator[Mistake]:
    """The key that a FHIR destination tells its token server with who we are."""
    oauth = options.auth.oauth if isinstance(options, FhirRestOptions) and options.auth is not None else None
    if oauth is None or not oauth.private_key:
        return
    mark = file.mark(*path, "auth", "oauth", "private_key")
    try:
        oauth.sign(str(root), 0)
    except OSError as error:
        yield Mistake("C130", f"the file {oauth.private_key} cannot be read: {error.strerror}", mark, _HELP["unreadable"])
    except ValueError as error:
        yield Mistake(
            "C136", f"the key cannot say who we are: {error}", mark, "RS384 wants an RSA key, ES384 one on the curve P-384"
        )


def _acknowledging(channel: ChannelConfig, file: File) -> Iterator[Mistake]:
    """The destinations that a source's acknowledgements name are there."""
    source = channel.source
    if not isinstance(source, Acknowledging):
        return
    names = [each.name for each in channel.destinations]
    path = ("source", channel.connector)
    for index, name in enumerate(source.ack_destinations):
        if name not in names:
            mark = file.mark(*path, "ack_destinations", index)
            yield Mistake("C134", f'the channel has no destination "{name}"', mark, near(name, names) or _one_of(names))
    if source.ack_to and source.ack_to not in names:
        mark = file.mark(*path, "ack_to")
        yield Mistake(
            "C134", f'the channel has no destination "{source.ack_to}"', mark, near(source.ack_to, names) or _one_of(names)
        )
    elif source.ack_to and (to := channel.destinations[names.index(source.ack_to)]).connector != "mllp":
        mark = file.mark(*path, "ack_to")
        yield Mistake("C135", f"acknowledgements cannot go to {to.name}, which is {to.connector}", mark, "they go over mllp")


def _one_of(names: list[str]) -> str:
    return f"one of {', '.join(names)}"
