"""What an integration engineer writes, as models: ``engine.yaml`` and ``channels/*.yaml``.

Connector options are declared beside each connector; what stands here is what all channels share.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, Field, field_validator, model_validator

from interop_engine.connectors.addresses import Address
from interop_engine.connectors.options import Options
from interop_engine.connectors.tls import TlsPeer
from interop_engine.core.units import Duration, Size
from interop_engine.exchange.base import BUCKETS

Order = Literal["patient", "channel", "none"]
Otherwise = Literal["reject", "ignore"]


class KeepOptions(Options):
    """What is kept of a journal or a channel. What is due or parked stays, and so does what later messages are judged by."""

    days: int | None = Field(
        None, ge=1, description="Messages that are done are removed when they are so old; without it: never.", examples=[90]
    )
    size: Size = Field(
        0,
        ge=0,
        description="The oldest messages that are done, of the largest channel first, are removed from a file that would grow"
        " larger; of a channel, and in PostgreSQL: where the contents, compressed, would. 0: no limit.",
        examples=["50GB"],
    )


class WaitingOptions(Options):
    """How much may wait before a person is told, and before no more is taken in. Nothing is lost by it."""

    messages: int = Field(0, ge=0, description="More of them waiting in one place are a problem; 0: no limit.", examples=[1000])
    age: Duration = Field(0.0, ge=0, description="One that waits longer is a problem; 0: no limit.", examples=["2h"])
    stop: int = Field(
        0,
        ge=0,
        description="While so many wait in one place nothing more is taken in: the senders keep it and try again; 0: no limit.",
        examples=[200000],
    )


class EncryptOptions(Options):
    """The keys that the journal's content is encrypted with."""

    keys: str = Field(
        min_length=1,
        description="File of keys, from the site's folder, that its owner alone may read: a line a key, its id and 32 bytes in"
        " Base64. The last one writes, all read, and the first stays the first.",
        examples=["/etc/interop-engine/journal.keys"],
    )


class JournalOptions(Options):
    """Where the journal stands: in a file of this node, or in a PostgreSQL database that several nodes share."""

    path: str = Field("var/journal.db", description="The journal's file, from the site's folder.", examples=["var/journal.db"])
    postgres: str = Field(
        "",
        description="Instead of a file: the database's URL, with its credentials. Nodes with one URL share the work.",
        examples=["${JOURNAL_URL}"],
        pattern=r"^(postgres(ql)?://.*)?$",
    )
    reserve: Size = Field(
        64_000_000, description="Disk space kept free beside a file: below it the engine stops acknowledging.", examples=["64MB"]
    )

    keep: KeepOptions = Field(default_factory=KeepOptions, description="How much is kept.")
    encrypt: EncryptOptions | None = Field(None, description="Encrypts what the journal holds of patients.")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.postgres and "path" in self.model_fields_set:
            raise ValueError("a journal stands in a file or in PostgreSQL, not in both: leave out path or postgres")
        return self

    def place(self, root: Path) -> str | Path:
        """What ``open_journal`` takes; ``root`` is the site's folder."""
        return self.postgres or root / self.path

    def keys(self, root: Path) -> Path | None:
        """Where the keys of an encrypted journal stand."""
        return None if self.encrypt is None else root / self.encrypt.keys


class StatusOptions(Options):
    """The status page's address."""

    listen: Address = Field("127.0.0.1:8080", description="Address and port of the status API.", examples=["127.0.0.1:8080"])


class TransformOptions(Options):
    """Where messages are mapped."""

    processes: int = Field(
        0, ge=0, le=64, description="Processes beside the engine's own that map messages, for more cores; 0: none.", examples=[1]
    )


class ReceiptOptions(Options):
    """What receivers on the exchange tell of deliveries."""

    within: Duration = Field(
        3600.0,
        ge=0,
        description="A receiver that has not said by then what became of a delivery is shown as a problem; 0: never.",
        examples=["1h"],
    )


def _shared_out(count: int) -> int:
    if count < 1 or BUCKETS % count:
        raise ValueError(f"{count} is not 1, 2, 4, 8, 16, 32 or 64: the {BUCKETS} buckets are shared out evenly")
    return count


Queues = Annotated[int, AfterValidator(_shared_out)]


class AmqpOptions(Options):
    """RabbitMQ as the exchange."""

    amqp: str = Field(
        description="The broker's URL, with its credentials; of a cluster with all its hosts: where one does not answer,"
        " the next is taken.",
        examples=["${RABBITMQ_URL}", "amqps://24001:PASSWORD@mq1,mq2,mq3/"],
    )
    name: str = Field(
        "", description="What the broker's operator sees of this node; without it, its facility.", examples=["edge-1"]
    )
    tls: TlsPeer = Field(default_factory=TlsPeer, description="TLS of amqps://; the broker's certificate is always checked.")
    allow_plain: bool = Field(
        False, description="Let patient data go to another machine in clear, over amqp:// on a line that is safe by itself."
    )
    declare: bool = Field(
        True,
        description="Declare exchange, queues and bindings. false: they, users and rights were declared at the broker"
        " (interop-engine exchange definitions), each user is a facility, and what its sender did not publish is refused.",
    )
    max_message: Size = Field(
        0,
        ge=0,
        description="The largest body, compressed, that the broker takes (its max_message_size); 0: its version's default, 128"
        " MiB with RabbitMQ 3, 16 MiB with 4. Where it takes less, the engine learns that.",
        examples=["64MiB"],
    )
    queues: Queues = Field(
        1,
        description="Over how many queues what this node receives is spread; it changes only when the queues are drained.",
        examples=[16],
    )


class SiteOptions(Options):
    """``engine.yaml``: one node."""

    site: str = Field(description="The hospital's name, for people.", examples=["Bệnh viện Đa khoa tỉnh (mẫu)"])
    facility: str = Field(
        description="This node's name on the exchange, the facility's code.", examples=["24001"], pattern=r"^[A-Za-z0-9_-]{1,64}$"
    )
    timezone: str = Field(
        "", description="For senders that give no zone with a time, nor in MSH-7.", examples=["Asia/Ho_Chi_Minh"]
    )
    naming: str = Field("vncore", description="Naming profile: assigning authority → system URI.", examples=["vncore"])
    base: str = Field(
        "https://interop-engine.example",
        description="Root of the URIs that this site makes: resource URLs and the systems of local numbers.",
        examples=["https://hie.example.vn"],
        pattern=r"^https?://[^\s/]+(/[^\s]*[^\s/])?$",
    )
    journal: JournalOptions = Field(default_factory=JournalOptions, description="Where the journal stands.")
    exchange: Literal["embedded"] | AmqpOptions = Field(
        "embedded", description="How nodes are joined: embedded, or {amqp: URL} for RabbitMQ.", examples=["embedded"]
    )
    receipts: ReceiptOptions = Field(
        default_factory=ReceiptOptions, description="What receivers on the exchange tell of deliveries."
    )
    transform: TransformOptions = Field(default_factory=TransformOptions, description="Where messages are mapped.")
    status: StatusOptions = Field(default_factory=StatusOptions, description="The status API.")

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        if value and value not in available_timezones():
            raise ValueError(f'"{value}" is no time zone of the IANA database; an example is Asia/Ho_Chi_Minh')
        return value

    @property
    def zone(self) -> ZoneInfo:
        """The site's zone, UTC where none is given."""
        return ZoneInfo(self.timezone or "UTC")


class PatientOptions(Options):
    """Which PID-3 is the hospital's own number."""

    authority: str = Field("", description="Its assigning authority (PID-3.4).", examples=["BV24001"])
    type: str = Field("MR", description="Its identifier type (PID-3.5, table 0203).", examples=["MR"])


_MONTH = 30 * 86_400.0


class RetryOptions(Options):
    """When a destination is tried again."""

    first: Duration = Field(2.0, gt=0, description="Delay after the first failure; it doubles from there.", examples=["2s"])
    up_to: Duration = Field(600.0, gt=0, le=_MONTH, description="The longest delay.", examples=["10m"])
    give_up: Duration = Field(
        604_800.0,
        gt=0,
        description="Age at which a delivery parks instead, counted from when it was made, or an operator retried it.",
        examples=["7d"],
    )

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if self.first > self.up_to:
            raise ValueError("first is the shortest delay, up_to the longest: first must not be longer")
        return self


class DeliverOptions(Options):
    """One destination of a channel. The connector's own key (``exchange:``, ``fhir:``…) stands beside these."""

    name: str = Field(description="The destination's name.", examples=["hub"], pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    when: str = Field("", description="Deliver only where this condition holds.", examples=["OBR-25 in ['F', 'C']"])
    on_unknown: Literal["skip", "park"] = Field("park", description="A receiver that cannot be told.", examples=["skip"])
    retry: RetryOptions = Field(default_factory=RetryOptions, description="When it is tried again.")
    on_parked: Literal["pass", "hold"] = Field(
        "pass",
        description="pass: others of the patient go on past a parked delivery; what refers to what only that one brings is tried"
        " a few times, then parks too. hold: they wait until a person retried or discarded it.",
        examples=["hold"],
    )


def _kind(text: str) -> str:
    if "*" in text and not _ALL_EVENTS.fullmatch(text):
        raise ValueError(f'"{text}" is no kind of message: * stands for the whole event, as in ADT^*')
    return text


_ALL_EVENTS = re.compile(r"[^*^]+\^\*")
MessageKind = Annotated[str, AfterValidator(_kind)]


class DuplicateOptions(Options):
    """How a message that came before is known: by the same content, from the same sender, under the same name."""

    key: str = Field(
        "",
        description="What names a message of HL7 v2, for a sender that does not by MSH-10 (some write an order's number there);"
        " where it is empty, MSH-10 does.",
        examples=["MSH-13"],
    )
    within: Duration = Field(
        2_592_000.0,
        gt=0,
        description="How long after the first one it is known, while the journal keeps that; later it is taken anew.",
        examples=["30d"],
    )


class ChannelOptions(Options):
    """``channels/NAME.yaml``, in the order a message travels. ``source`` and ``deliver`` are read with their connectors."""

    channel: str = Field(description="The channel's name.", examples=["lab-results"], pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    title: str = Field("", description="What it is for, in words.", examples=["LIS results to the hub"])
    charset: str = Field("", description="Overrides MSH-18, for a sender that declares it wrongly.", examples=["windows-1258"])
    dialect: str = Field("", description="The sender's dialect, of mappings/dialects.", examples=["labconn"])
    accept: tuple[MessageKind, ...] = Field(
        (), description="The messages taken, by MSH-9; ADT^* is every event of ADT.", examples=["[ORU^R01]"]
    )
    otherwise: Otherwise | None = Field(None, description="What happens to others: reject (AR), or ignore (AA, kept).")
    training: Literal["filter", "take"] = Field("filter", description="Messages with MSH-11 T or D.", examples=["filter"])
    patient: PatientOptions = Field(default_factory=PatientOptions, description="Which PID-3 is the hospital's own.")
    duplicates: DuplicateOptions = Field(
        default_factory=DuplicateOptions, description="How a message that is sent again is known, so that it is taken once."
    )
    mapping: str | tuple[str, ...] | dict[MessageKind, str | tuple[str, ...]] = Field(
        (), description="A mapping, several (the one that fits is used), or one for each event.", examples=["oru_r01_lab"]
    )
    results: Literal["delta", "snapshot"] = Field(
        "delta",
        description="A report says part of its results (delta), or all of them: a missing one is withdrawn (snapshot).",
        examples=["delta"],
    )
    filter: str = Field("", description="Only messages for which this condition holds go on.", examples=["PV1-2 != 'T'"])
    keep: KeepOptions = Field(
        default_factory=KeepOptions, description="How long its messages are kept, if not as the journal's, and how much of them."
    )
    waiting: WaitingOptions = Field(
        default_factory=WaitingOptions,
        description="How much may wait, to be mapped or for one destination, before the status and the metrics say so.",
    )
    order: Order = Field(
        "patient",
        description="What keeps its order: patient (at most 500 in one message), channel or none.",
        examples=["patient"],
    )

    def takes(self, code: str, event: str) -> bool:
        """Whether ``accept`` names messages of that MSH-9; where it names none, it takes all."""
        return not self.accept or f"{code}^{event}" in self.accept or f"{code}^*" in self.accept

    def mappings_for(self, event: str) -> tuple[str, ...]:
        """The mappings named for an event such as ``ORU^R01``."""
        named = self.mapping
        if isinstance(named, dict):
            named = named.get(event) or named.get(f"{event.partition('^')[0]}^*", ())
        return (named,) if isinstance(named, str) else named

    def all_mappings(self) -> tuple[str, ...]:
        """Every mapping named."""
        if isinstance(self.mapping, dict):
            return tuple(name for event in self.mapping for name in self.mappings_for(event))
        return self.mappings_for("")
