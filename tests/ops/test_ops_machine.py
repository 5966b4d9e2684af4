"""What fills up or ends by itself is seen before it does."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from interop_engine.config.schema import JournalOptions, SiteOptions
from interop_engine.config.site import Site
from interop_engine.connectors.mllp_connection import MllpSourceOptions
from interop_engine.connectors.tls import TlsServer
from interop_engine.ops.machine import certificates, room
from tests.support.certificates import Authority


def site(root: Path, journal: JournalOptions, *sources: MllpSourceOptions) -> Site:
    """As much of a site as is looked at."""
    options = SiteOptions(site="Test", facility="24001", journal=journal)
    channels = [SimpleNamespace(name=f"lab-{n}", source=source, destinations=()) for n, source in enumerate(sources)]
    return cast("Site", SimpleNamespace(root=root, options=options, channels=channels))


def test_room_is_what_is_left_beside_the_reserve(tmp_path: Path) -> None:
    """A reserve that is a terabyte larger leaves a terabyte less; a database's room is its own."""
    small, large = (
        room(site(tmp_path, JournalOptions.model_validate({"path": "journal.db", "reserve": size}))) for size in (0, "1000GB")
    )
    assert small is not None
    assert large is not None
    assert 900_000_000_000 < small - large < 1_100_000_000_000
    assert room(site(tmp_path, JournalOptions(postgres="postgresql://db/journal"))) is None
    assert room(site(tmp_path, JournalOptions(path="not/yet/journal.db"))) is None


def test_certificates_tell_when_they_end(tmp_path: Path) -> None:
    """Our own and the authority of our senders, by channel and file; one that is not there is check's matter."""
    authority = Authority(tmp_path)
    certificate, key = authority.sign("engine", days=20)
    tls = TlsServer(certificate=certificate, key=key, client_ca=authority.file)
    missing = TlsServer(certificate="nowhere.pem", key="nowhere.key", client_ca="")
    sources = [MllpSourceOptions(listen="127.0.0.1:0", tls=each) for each in (tls, missing)]
    found = certificates(site(tmp_path, JournalOptions(), *sources))
    assert [(each.channel, each.file) for each in found] == [("lab-0", certificate), ("lab-0", authority.file)]
    ours, theirs = (each.ends for each in found)
    assert round((theirs - ours) / timedelta(days=1)) == 3630  # each is signed at a moment of its own
