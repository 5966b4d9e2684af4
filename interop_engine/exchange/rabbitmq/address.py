"""A broker's URL: what is refused at the start, and what of it may be shown.

``amqps://USER:PASSWORD@one,two:5671,three/vhost`` names the nodes of a cluster: the same user, virtual host and options at each.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit, urlunsplit

from interop_engine.core.errors import ExchangeError

_PORTS = {"amqp": 5672, "amqps": 5671}
_GUEST = "guest"  # AMQP libraries fill it in, as user and as password
_URL = re.compile(r"([^:/]+://(?:[^/?#]*@)?)([^/?#@]*)([/?#].*)?", re.DOTALL)  # up to the hosts, the hosts, and what follows them
_NO_ADDRESS = "the exchange is neither embedded nor an amqp:// or amqps:// URL with a host"


@dataclass(frozen=True, slots=True)
class Address:
    """Where the broker is, or each node of its cluster. Only ``location`` and ``locations`` may be logged or shown."""

    urls: tuple[str, ...] = field(repr=False)  # of its nodes, with the password
    locations: tuple[str, ...]  # of each: "amqps://broker.example:5671/vhost"
    location: str  # of all: "amqps://one:5671,two:5671/vhost"
    user: str


def read_address(url: str, *, allow_plain: bool) -> Address:
    """Read an ``amqp://`` or ``amqps://`` URL of one host or more. Raises ExchangeError, which never repeats the URL."""
    try:
        nodes = _nodes(url)
        places = [_place(node) for node in nodes]
    except ValueError:
        raise ExchangeError("the broker's URL cannot be read") from None
    for node in nodes:
        if not _is_loopback(node.hostname or ""):
            _refuse_open_doors(node, allow_plain=allow_plain)
    first = nodes[0]
    begin, end = f"{first.scheme}://", first.path.rstrip("/")
    return Address(
        urls=tuple(urlunsplit(node) for node in nodes),
        locations=tuple(f"{begin}{place}{end}" for place in places),
        location=f"{begin}{','.join(places)}{end}",
        user=unquote(first.username or _GUEST),
    )


def _nodes(url: str) -> list[SplitResult]:
    if (parts := _URL.fullmatch(url)) is None:
        raise ExchangeError(_NO_ADDRESS)
    begin, hosts, end = parts.groups("")
    nodes = [urlsplit(f"{begin}{host.strip()}{end}") for host in hosts.split(",")]
    if not all(node.scheme in _PORTS and node.hostname for node in nodes):
        raise ExchangeError(_NO_ADDRESS)
    return nodes


def _place(node: SplitResult) -> str:
    host = f"[{node.hostname}]" if ":" in (node.hostname or "") else node.hostname
    return f"{host}:{node.port or _PORTS[node.scheme]}"


def _refuse_open_doors(parts: SplitResult, *, allow_plain: bool) -> None:
    user, password = unquote(parts.username or _GUEST), unquote(parts.password or _GUEST)
    if (user, password) == (_GUEST, _GUEST):
        raise ExchangeError("guest/guest on a broker that is not on this machine is refused: make a user for this node")
    if parts.scheme == "amqp" and not allow_plain:
        raise ExchangeError("plain amqp:// off this machine carries patient data in clear: use amqps://, or allow it in words")
    if parse_qs(parts.query).get("no_verify_ssl", ["0"]) != ["0"]:
        raise ExchangeError("no_verify_ssl is refused for a broker that is not on this machine: name its cafile")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
