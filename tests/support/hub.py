"""The sample site with a FHIR server as the hub, and that server seen from outside, over HTTP."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.support.node import make_site

RESOURCES = ("Patient", "Encounter", "ServiceRequest", "Specimen", "DiagnosticReport", "Observation", "Provenance")
_CHANNEL = """\
channel: hub
source:
  exchange: {{as: hub, kinds: [lab, imaging, order, patient]}}
deliver:
  - name: record
    fhir: {{url: "{url}", {auth}concurrency: 8, breaker: {{first: {first}, up_to: 1s}}}}
    retry: {{first: {first}, up_to: 1s}}
"""


def make_hub_site(folder: Path, url: str, *, token: str = "", first: str = "50ms", engine: str = "") -> Path:
    """A site whose hub is a FHIR server; ``first``: the delay after a first failure. Nobody else receives."""
    make_site(folder, engine=engine, receivers=())
    auth = f"auth: {{bearer: {token}}}, " if token else ""
    text = _CHANNEL.format(url=url, auth=auth, first=first)
    (folder / "channels" / "hub.yaml").write_text(text, encoding="utf-8")
    return folder


@dataclass
class Hub:
    """A FHIR server, asked as any client would. ``before``: what others left there, which does not count."""

    url: str
    token: str = ""
    before: set[str] = field(default_factory=set)

    async def all(self, type_: str) -> list[dict[str, Any]]:
        """Every resource of a type."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        async with httpx.AsyncClient(trust_env=False, headers=headers, timeout=30) as client:
            reply = (await client.get(f"{self.url}/{type_}", params={"_count": "200"})).raise_for_status().json()
        found = [entry["resource"] for entry in reply.get("entry", ())]
        assert len(found) < 200, "the page is full"
        return [resource for resource in found if f"{type_}/{resource['id']}" not in self.before]

    async def one(self, type_: str) -> dict[str, Any]:
        """The only resource of a type."""
        (found,) = await self.all(type_)
        return found

    async def counts(self) -> dict[str, int]:
        """How many there are of each type."""
        return {type_: len(found) for type_ in RESOURCES if (found := await self.all(type_))}

    async def forget(self) -> None:
        """From here on, only what is new counts."""
        for type_ in RESOURCES:
            self.before |= {f"{type_}/{resource['id']}" for resource in await self.all(type_)}
