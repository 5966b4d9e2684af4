"""What a site depends on that fills up or ends by itself: room on the journal's disk, certificates."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from interop_engine.connectors.tls import expiries

if TYPE_CHECKING:
    from datetime import datetime

    from interop_engine.config.site import Site


@dataclass(frozen=True, slots=True)
class Certificate:
    """A file with certificates that a channel, or the exchange, uses, and when it ends."""

    channel: str
    file: str
    ends: datetime


def room(site: Site) -> int | None:
    """Bytes of disk until the journal stops acknowledging; None where it stands in a database, or nowhere yet."""
    place = site.options.journal.place(site.root)
    if not isinstance(place, Path):
        return None
    try:
        return shutil.disk_usage(place.parent).free - site.options.journal.reserve
    except OSError:
        return None


def certificates(site: Site) -> tuple[Certificate, ...]:
    """The certificates of every source and destination, and of the exchange."""
    users: list[tuple[str, object]] = [("exchange", site.options.exchange)]
    for channel in site.channels:
        users += [(channel.name, options) for options in (channel.source, *(each.options for each in channel.destinations))]
    found = {}
    for name, options in users:
        if (tls := getattr(options, "tls", None)) is not None:
            found.update({(name, file): ends for file, ends in expiries(tls, str(site.root))})
    return tuple(Certificate(*key, ends) for key, ends in found.items())
