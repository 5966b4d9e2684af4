"""Every connector, listed by hand: name in a channel file → its options model and its factory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from interop_engine.connectors.base import Destination, Source, Surroundings
from interop_engine.connectors.exchange import (
    ExchangeDestination,
    ExchangeDestinationOptions,
    ExchangeSource,
    ExchangeSourceOptions,
)
from interop_engine.connectors.fhir_rest import FhirRestDestination, FhirRestOptions
from interop_engine.connectors.file import FileDestination, FileDestinationOptions, FileSource, FileSourceOptions
from interop_engine.connectors.http_poller import HttpPoller, HttpPollerOptions
from interop_engine.connectors.http_source import HttpSource, HttpSourceOptions
from interop_engine.connectors.mllp_connection import MllpSourceOptions
from interop_engine.connectors.mllp_destination import MllpDestination, MllpDestinationOptions
from interop_engine.connectors.mllp_source import MllpSource
from interop_engine.connectors.options import Options

SourceFactory = Callable[[Any, Surroundings], Source]
DestinationFactory = Callable[[Any, Surroundings], Destination]

SOURCES: Mapping[str, tuple[type[Options], SourceFactory]] = {
    "mllp": (MllpSourceOptions, MllpSource),
    "http": (HttpSourceOptions, HttpSource),
    "poll": (HttpPollerOptions, HttpPoller),
    "file": (FileSourceOptions, FileSource),
    "exchange": (ExchangeSourceOptions, ExchangeSource),
}

DESTINATIONS: Mapping[str, tuple[type[Options], DestinationFactory]] = {
    "mllp": (MllpDestinationOptions, MllpDestination),
    "file": (FileDestinationOptions, FileDestination),
    "fhir": (FhirRestOptions, FhirRestDestination),
    "exchange": (ExchangeDestinationOptions, ExchangeDestination),
}
