"""Addresses in options: ``host:port``, and the networks a source lets in."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def read_address(text: str) -> tuple[str, int]:
    """``0.0.0.0:2575`` → host and port; an IPv6 host stands in brackets. Raises ValueError."""
    host, colon, port = text.strip().rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f'"{text}" is no address; write an IPv6 host in brackets: [::1]:2575')
    if not colon or not host or not port.isascii() or not port.isdecimal() or int(port) > 65_535:
        raise ValueError(f'"{text}" is no address; write HOST:PORT, such as 0.0.0.0:2575')
    return host, int(port)


def written(host: str, port: int) -> str:
    """The text that ``read_address`` reads."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _checked(text: str) -> str:
    read_address(text)
    return text


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(f'"{text}" is no network; write 10.20.0.0/16, or one address') from None
    return text


Address = Annotated[str, AfterValidator(_checked)]
NetworkText = Annotated[str, AfterValidator(_network)]


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """The networks as written in options."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def allowed(host: str, among: Sequence[Network]) -> bool:
    """Whether a peer's address lies in one of the networks; every one does where there are none."""
    if not among:
        return True
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None) or address
    return any(mapped in network for network in among if network.version == mapped.version)


def is_loopback(host: str) -> bool:
    """Whether what is sent there stays on this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_safe_url(url: str) -> bool:
    """Whether credentials may go to this URL: https, or this machine; a host, and neither user, password nor fragment."""
    try:
        parts = urlsplit(url)
        port_is_a_number = parts.port is None or parts.port > 0
    except ValueError:
        return False
    if not port_is_a_number or not parts.hostname or parts.username or parts.password or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))
