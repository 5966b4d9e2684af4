"""A parcel as an AMQP message, and back.

| property | holds |
|---|---|
| message_id | new for every attempt: aiormq 7.2.4 mixes up the returns of equal ids |
| content_type | ``application/fhir+json``, ``application/hl7-v2+er7``, or ours of receipts |
| content_encoding | ``zstd`` where the body is compressed |
| user_id | who publishes: the broker refuses another name than the connection's user |
| headers | ``delivery-id``, ``sender``, ``receiver``, ``kind``, and the parcel's own; ``x-…`` are the broker's |

What arrives may be malformed or forged. It is never refused here: it becomes a parcel with a ``fault`` header, which the
receiving channel journals as rejected, so that a person sees it and the queue moves on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import zstandard
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pamqp.common import FieldValue

from interop_engine.core.model import digest, new_id
from interop_engine.exchange.base import RECEIPT, Carried, Parcel, bucket
from interop_engine.exchange.rules import FAULT, MAX_BODY

COMPRESS_FROM = 1024  # bytes; below, zstd gains little and the JSON stays readable in the broker's console

_CONTENT_TYPES: dict[Carried, str] = {
    "fhir": "application/fhir+json",
    "hl7v2": "application/hl7-v2+er7",
    "receipt": "application/vnd.interop-engine.receipts+json",
}
_MEDIA: dict[str | None, Carried] = {name: media for media, name in _CONTENT_TYPES.items()}
_ADDRESS = ("delivery-id", "sender", "receiver", "kind")
_SHORT, _NAME = 255, 128  # bytes of a short string, and of a name in a table: AMQP 0-9-1
_PERSISTENT = 2  # AMQP 0-9-1, delivery-mode
_compressor = zstandard.ZstdCompressor(level=1, write_checksum=True, write_content_size=True)
_decompressor = zstandard.ZstdDecompressor()


class _Properties(Basic.Properties):
    """The properties that ``pack`` sets, encoded in a tenth of the time that the library's way takes."""

    def marshal(self) -> bytes:
        """As AMQP 0-9-1 has it (4.2.6.1): which there are, then each; all are texts but the delivery mode."""
        encoding = self.content_encoding
        table = b"".join([_short(name, _NAME) + b"S" + _long(str(value)) for name, value in sorted((self.headers or {}).items())])
        return b"".join(
            (
                # content-type, content-encoding, headers, delivery-mode; message-id, user-id
                b"\xf0\x90" if encoding else b"\xb0\x90",
                _short(self.content_type or ""),
                _short(encoding) if encoding else b"",
                len(table).to_bytes(4, "big"),
                table,
                bytes((self.delivery_mode or 0,)),
                _short(self.message_id or ""),
                _short(self.user_id or ""),
            )
        )


def _short(text: str, most: int = _SHORT) -> bytes:
    data = text.encode()[:most]
    return bytes((len(data),)) + data


def _long(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(4, "big") + data


class _FaultError(Exception):
    """Why a message is not a parcel; never holds content."""


def pack(parcel: Parcel, user: str) -> tuple[bytes, Basic.Properties]:
    """Body and properties for one attempt by a user. The body's size is what counts against the broker's limit."""
    body, encoding = parcel.body, None
    if len(body) >= COMPRESS_FROM:
        body, encoding = _compressor.compress(body), "zstd"
    headers: dict[str, FieldValue] = {name: value for name, value in parcel.headers.items() if name != FAULT}
    headers.update(zip(_ADDRESS, (parcel.delivery_id, parcel.sender, parcel.receiver, parcel.kind), strict=True))
    return body, _Properties(
        headers=headers,
        content_type=_CONTENT_TYPES[parcel.media],
        content_encoding=encoding,
        delivery_mode=_PERSISTENT,
        message_id=new_id(),
        user_id=user,
    )


def unpack(message: DeliveredMessage, receiver: str, *, verified: bool = False) -> Parcel:
    """The parcel of ``receiver``'s queue, with a ``fault`` header where the message is malformed or forged.

    ``verified``: each user of the broker is a facility, so that it must have been published by its sender.
    """
    properties = message.header.properties
    given = properties.headers or {}
    headers = {name: _text(value) for name, value in given.items() if not name.startswith("x-") and name != FAULT}
    # The routing key is what the broker's rights are checked against, so it and not a header says who sent what.
    kind, sender, *rest = [*(message.routing_key or "").split("."), "", ""][:4]
    body = message.body
    try:
        body = _unpacked_body(message.body, properties.content_encoding)
        _check_media(properties.content_type, kind)
        _check_headers(headers, {"sender": sender, "receiver": receiver, "kind": kind}, rest)
        if verified:
            _check_user(properties.user_id, sender)
    except _FaultError as error:
        headers[FAULT] = str(error)
    # Without an id of its own, equal bytes get an equal id: the journal sees a redelivery as the duplicate it is.
    delivery_id = headers.get("delivery-id") or f"none-{digest(message.body)}"
    return Parcel(
        delivery_id=delivery_id,
        sender=sender,
        receiver=receiver,
        kind=kind,
        body=body,
        media=_MEDIA.get(properties.content_type, "fhir"),
        headers={name: value for name, value in headers.items() if name not in _ADDRESS},
    )


def _check_media(content_type: str | None, kind: str) -> None:
    if content_type not in _MEDIA:
        raise _FaultError("the content type is not known")
    if (_MEDIA[content_type] == "receipt") != (kind == RECEIPT):
        raise _FaultError("the content type is not that of the kind")


def _check_user(user: str | None, sender: str) -> None:
    if user != sender:
        raise _FaultError("the user who published it is not its sender")


def _check_headers(headers: Mapping[str, str], said: Mapping[str, str], rest: list[str]) -> None:
    if not headers.get("delivery-id"):
        raise _FaultError("there is no delivery id")
    for name, value in said.items():
        if headers.get(name) != value:
            raise _FaultError(f"the header {name} is not what the routing key says")
    if rest != [said["receiver"], str(bucket(said["sender"]))]:
        raise _FaultError("the routing key's bucket is not the sender's")


def _unpacked_body(body: bytes, encoding: str | None) -> bytes:
    if not encoding:
        return body
    if encoding != "zstd":
        raise _FaultError("the content encoding is not known")
    try:
        # Asked before unpacking: a few bytes can announce gigabytes. -1 and other large numbers: the size is not said.
        size = zstandard.get_frame_parameters(body).content_size
        if not 0 <= size <= MAX_BODY:
            raise _FaultError(f"the body unpacks to more than {MAX_BODY} bytes, or does not say")
        return _decompressor.decompress(body, max_output_size=MAX_BODY)
    except zstandard.ZstdError:
        raise _FaultError("the body is not zstd") from None


def _text(value: Any) -> str:
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else str(value)
