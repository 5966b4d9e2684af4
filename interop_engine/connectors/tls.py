"""TLS for connectors: 1.2 or later, certificates from PEM files, and what ``check`` finds wrong with them."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from interop_engine.connectors.options import Options

if TYPE_CHECKING:
    from cryptography import x509

HANDSHAKE = 10.0  # seconds a peer has for its handshake
_CERTIFICATES = ("certificate", "client_ca", "ca_file")  # the options that name files with certificates
_SOON = timedelta(days=30)  # before its end a certificate is worth a warning


class TlsServer(Options):
    """TLS of a listener."""

    certificate: str = Field(description="Our certificate with its chain, PEM.", examples=["tls/engine.pem"])
    key: str = Field(description="Its private key, PEM.", examples=["tls/engine.key"])
    client_ca: str = Field(
        "", description="Only peers with a certificate of this authority may connect, PEM.", examples=["tls/clients-ca.pem"]
    )

    def context(self, root: str) -> ssl.SSLContext:
        """What connections are wrapped in. Raises OSError (ssl.SSLError too) where a file cannot be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(Path(root, self.certificate), Path(root, self.key))
        if self.client_ca:
            context.load_verify_locations(Path(root, self.client_ca))
            context.verify_mode = ssl.CERT_REQUIRED
        return context


class TlsPeer(Options):
    """TLS to a receiver; its certificate must be valid and name the host connected to."""

    ca_file: str = Field(
        "", description="The authority that signed the receiver's certificate, PEM; else the system's.", examples=["tls/ca.pem"]
    )
    certificate: str = Field(
        "", description="Our certificate, where the receiver asks for one, PEM.", examples=["tls/engine.pem"]
    )
    key: str = Field("", description="Its private key, PEM.", examples=["tls/engine.key"])

    def context(self, root: str) -> ssl.SSLContext:
        """What connections are wrapped in. Raises OSError (ssl.SSLError too) where a file cannot be used."""
        context = ssl.create_default_context(cafile=Path(root, self.ca_file) if self.ca_file else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.certificate:
            context.load_cert_chain(Path(root, self.certificate), Path(root, self.key) if self.key else None)
        return context


class TlsClient(TlsPeer):
    """The same, where its certificate may name another host."""

    server_name: str = Field(
        "",
        description="The name its certificate holds, where it is not the host connected to.",
        examples=["his.hospital.example"],
    )


def peer_names(certificate: Mapping[str, Any] | None) -> frozenset[str]:
    """The common name and the alternative names of a peer's certificate, as ``SSLObject.getpeercert`` gives it."""
    if not certificate:
        return frozenset()
    common = (value for part in certificate.get("subject", ()) for name, value in part if name == "commonName")
    return frozenset((*common, *(value for _, value in certificate.get("subjectAltName", ()))))


@dataclass(frozen=True, slots=True)
class TlsFault:
    """Something wrong with a file: ``key`` is the option that names it."""

    key: str
    kind: Literal["unreadable", "mismatch", "expired", "expiring"]
    message: str

    @property
    def is_unusable(self) -> bool:
        """Whether nothing can be wrapped in TLS with it."""
        return self.kind in ("unreadable", "mismatch")


def files(options: TlsServer | TlsPeer) -> list[str]:
    """The files that these options name."""
    return [name for key in (*_CERTIFICATES, "key") if (name := getattr(options, key, ""))]


def faults(options: TlsServer | TlsPeer, root: str, now: datetime) -> Iterator[TlsFault]:
    """What is wrong with the files of these options, or soon will be."""
    readable = True
    for key in _CERTIFICATES:
        name = getattr(options, key, "")
        if name:
            found = list(_certificate_faults(key, name, root, now))
            readable = readable and not any(fault.is_unusable for fault in found)
            yield from found
    if options.key and not Path(root, options.key).is_file():
        yield TlsFault("key", "unreadable", f"the file {options.key} is not there")
    elif options.certificate and readable:
        try:
            options.context(root)
        except OSError:
            message = "the private key is not that of the certificate" if options.key else "no private key is named"
            yield TlsFault("key" if options.key else "certificate", "mismatch", message)


def expiries(options: TlsServer | TlsPeer, root: str) -> Iterator[tuple[str, datetime]]:
    """When the files of these options end, by name; those that cannot be read are left to ``faults``."""
    for key in _CERTIFICATES:
        if name := getattr(options, key, ""):
            with contextlib.suppress(OSError, ValueError):
                yield name, _end(key, _read(root, name))


def _read(root: str, name: str) -> list[x509.Certificate]:
    """The certificates of a file. Raises OSError, and ValueError where it holds none."""
    from cryptography.x509 import load_pem_x509_certificates  # noqa: PLC0415 - a library that a plain listener's options need not

    return load_pem_x509_certificates(Path(root, name).read_bytes())


def _end(key: str, certificates: Sequence[x509.Certificate]) -> datetime:
    """Of several authorities one that is still valid is enough; a chain of our own is as old as its oldest link."""
    chosen = min if key == "certificate" else max
    return chosen(each.not_valid_after_utc for each in certificates)


def _certificate_faults(key: str, name: str, root: str, now: datetime) -> Iterator[TlsFault]:
    try:
        found = _read(root, name)
    except OSError as error:
        yield TlsFault(key, "unreadable", f"the file {name} cannot be read: {error.strerror}")
        return
    except ValueError:
        yield TlsFault(key, "unreadable", f"the file {name} holds no certificate in PEM")
        return
    ends = _end(key, found)
    if ends <= now:
        yield TlsFault(key, "expired", f"the certificate of {name} ended on {ends:%Y-%m-%d}")
    elif ends <= now + _SOON:
        yield TlsFault(key, "expiring", f"the certificate of {name} ends on {ends:%Y-%m-%d}")
