"""Addresses as people write them: ``127.0.0.1:2575``, ``[::1]:2575``, ``lis.example:2575``."""

from __future__ import annotations


def read_address(text: str) -> tuple[str, int]:
    """Host and port; without a host it is this machine. Raises ValueError for text that is neither."""
    host, colon, port = text.strip().rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65_535 or (":" in host and bare == host):
        raise ValueError(f'"{text}" is no address and port; write HOST:PORT')
    return bare or "127.0.0.1", int(port)
