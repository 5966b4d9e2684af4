"""``schema``: JSON Schema for editors, made of the very models that read the files."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interop_engine.cli import output

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel


class Kind(StrEnum):
    """The files that a site's engineer writes."""

    CHANNEL = "channel"
    MAPPING = "mapping"
    ENGINE = "engine"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(schema)


def schema(kind: Annotated[Kind, typer.Argument(help="Which kind of file.")]) -> None:
    """Show the JSON Schema of channel files, mapping files or engine.yaml.

    An editor with YAML support completes and checks with it: "# yaml-language-server: $schema=channel.schema.json". That of
    mapping files knows the elements of FHIR's resources, the structures, groups and fields of HL7 v2; it is half a megabyte.
    """
    found = schema_of(kind)
    if kind is Kind.MAPPING:
        output.write_json_line(found)  # with all of FHIR in it, indents would be half of it
    else:
        output.write_json(found)


def schema_of(kind: Kind) -> dict[str, Any]:
    """The schema, JSON Schema draft 2020-12."""
    if kind is Kind.CHANNEL:
        found = _channel()
    elif kind is Kind.MAPPING:
        from interop_engine.cli import mapping_schema

        found = mapping_schema.json_schema()
    else:
        from interop_engine.config.schema import SiteOptions

        found = SiteOptions.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"interop-engine {kind} file", **found}


def _channel() -> dict[str, Any]:
    """What all channels share, with each connector's own options where a source or a destination stands."""
    from pydantic.json_schema import models_json_schema

    from interop_engine.config.schema import ChannelOptions, DeliverOptions
    from interop_engine.connectors.registry import DESTINATIONS, SOURCES

    sources: Mapping[str, type[BaseModel]] = {name: model for name, (model, _) in SOURCES.items()}
    destinations: Mapping[str, type[BaseModel]] = {name: model for name, (model, _) in DESTINATIONS.items()}
    models: list[type[BaseModel]] = [ChannelOptions, DeliverOptions, *sources.values(), *destinations.values()]
    references, definitions = models_json_schema([(model, "validation") for model in models])
    defs = definitions["$defs"]

    def reference(model: type[BaseModel]) -> dict[str, Any]:
        return references[model, "validation"]

    def one_of(connectors: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
        return {name: reference(model) for name, model in sorted(connectors.items())}

    channel = defs.pop(reference(ChannelOptions)["$ref"].rpartition("/")[2])
    deliver = defs.pop(reference(DeliverOptions)["$ref"].rpartition("/")[2])
    deliver["properties"] |= one_of(destinations)
    deliver["oneOf"] = [{"required": [name]} for name in sorted(destinations)]
    channel["properties"]["source"] = {
        "type": "object",
        "description": "Where messages come from: exactly one connector.",
        "properties": one_of(sources),
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    channel["properties"]["deliver"] = {
        "type": "array",
        "description": "Where messages go: each entry names one connector.",
        "items": deliver,
        "minItems": 1,
    }
    channel["required"] = [*channel.get("required", []), "source", "deliver"]
    return {**channel, "$defs": defs}
