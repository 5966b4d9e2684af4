"""``schema`` and the generated reference: both are made of the models that read the files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from interop_engine.cli import reference
from interop_engine.cli.app import app
from interop_engine.cli.schema import Kind, schema_of
from interop_engine.config.schema import ChannelOptions, SiteOptions
from interop_engine.connectors.registry import DESTINATIONS, SOURCES
from interop_engine.core import yaml
from interop_engine.core.codes import CODES
from interop_engine.mapping.convert import BY_NAME, CONVERSIONS

ROOT = Path(__file__).parent.parent.parent


def unknown_keys(value: Any, schema: dict[str, Any], defs: dict[str, Any], place: str = "") -> list[str]:
    """Where a value has keys that no branch of its schema knows."""
    if "$ref" in schema:
        return unknown_keys(value, defs[schema["$ref"].rpartition("/")[2]], defs, place)
    if "anyOf" in schema:
        return min((unknown_keys(value, branch, defs, place) for branch in schema["anyOf"]), key=len)
    if isinstance(value, list):
        return [each for item in value for each in unknown_keys(item, schema.get("items", {}), defs, f"{place}[]")]
    if not isinstance(value, dict):
        return []
    if schema.get("type") not in ("object", None):
        return [place]
    properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    found = []
    for key, item in value.items():
        if key in properties:
            found += unknown_keys(item, properties[key], defs, f"{place}.{key}")
        elif others is False:
            found.append(f"{place}.{key}")
        elif isinstance(others, dict):
            found += unknown_keys(item, others, defs, f"{place}.{key}")
    return found


@pytest.mark.parametrize("kind", list(Kind))
def test_the_samples_are_what_the_schema_says(kind: Kind) -> None:
    """An editor with the schema finds nothing wrong with the sample site."""
    schema = schema_of(kind)
    patterns = {Kind.ENGINE: "engine.yaml", Kind.CHANNEL: "channels/*.yaml", Kind.MAPPING: "mappings/*.yaml"}
    files = list(ROOT.glob(patterns[kind]))
    assert files
    for path in files:
        value = yaml.load(path.read_text(encoding="utf-8"), path.name).data
        assert (path.name, unknown_keys(value, schema, schema.get("$defs", {}))) == (path.name, [])


def test_the_schema_refuses_a_misspelt_key() -> None:
    """A key that no model has is no property anywhere."""
    schema = schema_of(Kind.CHANNEL)
    wrong = {"chanel": "x", "source": {"mllp": {"lissten": "x"}}, "deliver": [{"name": "hub", "exchange": {"too": "x"}}]}
    assert unknown_keys(wrong, schema, schema["$defs"]) == [".chanel", ".source.mllp.lissten", ".deliver[].exchange.too"]


def test_the_channel_schema_has_every_connector() -> None:
    """Each registered connector is a choice, with its own options; the keys that all channels share are there too."""
    properties = schema_of(Kind.CHANNEL)["properties"]
    assert properties["source"]["properties"].keys() == SOURCES.keys()
    assert DESTINATIONS.keys() <= properties["deliver"]["items"]["properties"].keys()
    assert ChannelOptions.model_fields.keys() <= properties.keys()


def test_the_verb_prints_json() -> None:
    """What an editor is given is JSON Schema."""
    result = CliRunner().invoke(app, ["schema", "engine"])
    schema = json.loads(result.stdout)
    assert (result.exit_code, schema["$schema"]) == (0, "https://json-schema.org/draft/2020-12/schema")
    assert schema["properties"].keys() == SiteOptions.model_fields.keys()


def test_every_option_has_a_description() -> None:
    """The reference has a meaning for each key of each model."""
    rows = [line for line in reference.connectors().splitlines() if line.startswith("| `")]
    assert [row for row in rows if not re.split(r"(?<!\\)\|", row)[4].strip()] == []
    assert len(rows) > 40


def test_the_reference_names_every_verb_connector_and_code() -> None:
    """Nothing that can be used is missing from the reference: verbs, connectors, codes, conversions, tables."""
    names = ("cli", "connectors", "codes", "conversions", "http")
    cli, connectors, codes, conversions, http = (reference.PAGES[f"{name}.md"]() for name in names)
    assert [pair for pair in CONVERSIONS if f"| {pair[0]} | {pair[1]} |" not in conversions] == []
    assert [name for name in BY_NAME if f"### {name}\n" not in conversions] == []
    for verb in ("init", "check", "test", "transform", "explain", "run", "send", "status", "messages replay", "schema", "demo"):
        assert f"## interop-engine {verb}\n" in cli
    for name in SOURCES:
        assert f"## source: {name}\n" in connectors
    assert "| `POST` | `/messages/{message_id}/replay` | Receive a message again" in http
    assert "| `interop_engine_waiting` | gauge | `channel`, `destination` |" in http
    assert [code for code in CODES if f"| `{code}` |" not in codes] == []


def test_the_reference_has_not_drifted(capsys: pytest.CaptureFixture[str]) -> None:
    """The pages in docs/reference are what the generator makes now."""
    assert (reference.main(["--check"]), capsys.readouterr().out) == (0, "")


def test_a_drifted_page_is_named_and_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--check only says so, and ends with 1; without it the page is written."""
    monkeypatch.setattr(reference, "FOLDER", tmp_path)
    monkeypatch.setattr(reference, "PAGES", {"codes.md": reference.codes})
    assert reference.main(["--check"]) == 1
    assert "docs/reference/codes.md has drifted" in capsys.readouterr().out
    assert reference.main([]) == 0
    assert reference.main(["--check"]) == 0
