"""A broker's URL: what is refused at the start, and what of it may be shown."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from interop_engine.core.errors import ExchangeError

_PORTS = {"amqp": 5672, "amqps": 5671}
_GUEST = "guest"  # AMQP libraries fill it in, as user and as password


@dataclass(frozen=True, slots=True)
class Address:
    """Where the broker is. Only ``location`` may be logged or shown."""

    url: str = field(repr=False)  # with the password
    location: str  # "amqps://broker.example:5671/vhost"
    user: str


def read_address(url: str, *, allow_plain: bool) -> Address:
    """Read an ``amqp://`` or ``amqps://`` URL. Raises ExchangeError, which never repeats the URL."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ExchangeError("the broker's URL cannot be read") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ExchangeError("the exchange is neither embedded nor an amqp:// or amqps:// URL with a host")
    if not _is_loopback(parts.hostname):
        _refuse_open_doors(parts, allow_plain=allow_plain)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    location = f"{parts.scheme}://{host}:{port or _PORTS[parts.scheme]}{parts.path.rstrip('/')}"
    return Address(url=url, location=location, user=unquote(parts.username or _GUEST))


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
