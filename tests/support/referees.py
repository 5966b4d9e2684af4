"""Programs nobody here wrote that judge FHIR R4 resources; what each says, as texts, () where it finds nothing wrong."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fhirkit

from interop_engine.core.model import Resource
from interop_engine.fhir import bundle
from tests.support.needs import require

NODE_FOLDER = Path(__file__).resolve().parents[1] / "referee"

Verdict = tuple[str, ...]


def fhirkit_says(resource: Resource) -> Verdict:
    """fhirkit-rs, generated from R4's own definitions."""
    try:
        issues = fhirkit.validate(bundle.encode(resource).decode())
    except (fhirkit.ParseError, ValueError) as error:
        return (str(error),)
    return tuple(f"{issue.path}: {issue.message}" for issue in issues if issue.severity == "error")


def fhir_resources_says(resource: Resource) -> Verdict:
    """fhir.resources. R4B differs from R4 in a handful of resources, none of them written here."""
    name = resource["resourceType"]
    model: Any = getattr(importlib.import_module(f"fhir.resources.R4B.{name.lower()}"), name)
    try:
        model.model_validate(resource)
    except (ValueError, TypeError, AttributeError) as error:  # its own code stumbles over what is no string
        return (str(error) or type(error).__name__,)
    return ()


def medplum_says(resources: Sequence[Resource]) -> list[Verdict]:
    """@medplum/core, by way of a small script; skips where Node.js or its packages are not there."""
    require(shutil.which("node"), "Node.js")
    require((NODE_FOLDER / "node_modules/@medplum/core").is_dir(), "the packages of tests/referee (npm ci)")
    lines = b"\n".join(bundle.encode(resource) for resource in resources)
    done = subprocess.run(["node", "medplum.mjs"], cwd=NODE_FOLDER, input=lines, capture_output=True, check=True)
    return [tuple(": ".join(found) for found in json.loads(line)) for line in done.stdout.splitlines()]
