"""Alerts, dashboard and manifests name only what the engine has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from interop_engine.cli import reference_http
from interop_engine.core import events

DEPLOY = Path(__file__).resolve().parent.parent.parent / "deploy"
RULES = yaml.safe_load((DEPLOY / "prometheus" / "rules.yaml").read_text(encoding="utf-8"))["groups"][0]["rules"]
BOARD = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text(encoding="utf-8"))
METRICS = {name.strip("`"): labels.replace("`", "").split(", ") for name, _, labels, _ in reference_http.metrics()}
RESULTS = {"accepted", "duplicate", "rejected", "not_committed", "forwarded", "filtered", "parked", "delivered", "retried"}
OPERATE = DEPLOY.parent / "docs" / "how-to" / "operate.md"


def mistakes(expression: str) -> Iterator[str]:
    """What an expression names that the engine does not expose: metrics, labels, events, results."""
    for name, selector in re.findall(r"(interop_engine_\w+)(?:\{([^}]*)\})?", expression):
        if name not in METRICS:
            yield f"no metric {name}"
            continue
        for label, values in re.findall(r'(\w+)[!=~]+"([^"]*)"', selector):
            known = {"event": _events(), "result": RESULTS}.get(label)
            if label not in (*METRICS[name], "instance"):
                yield f"{name} has no label {label}"
            elif known is not None and not set(values.split("|")) <= known:
                yield f"no {label} {values}"


def _events() -> set[str]:
    return {each.name() for each in events.Event.__subclasses__()}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_can_come(rule: dict[str, Any]) -> None:
    """Its metrics exist, and its page says in a section of its own what to do."""
    assert list(mistakes(rule["expr"])) == []
    assert rule["labels"]["severity"] in ("critical", "warning")
    headings = re.findall(r"^#+ (.*)$", OPERATE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rule["annotations"]["section"] in {re.sub(r"[^a-z ]", "", each.lower()).replace(" ", "-") for each in headings}


def test_every_trouble_has_an_alert() -> None:
    """Stuck, parked, a receiver down, the disk, receipts, certificates, silence: the metrics that tell of them are watched."""
    watched = {name for rule in RULES for name in re.findall(r"interop_engine_(\w+)", rule["expr"])}
    told = ("oldest_seconds", "parked", "destination_up", "journal_room_bytes", "receipts_overdue", "messages_total")
    assert watched >= {*told, "certificate_expiry_timestamp_seconds", "source_up", "exchange_up", "journal_up", "ready"}


@pytest.mark.parametrize("panel", BOARD["panels"], ids=lambda panel: panel["title"])
def test_a_panel_shows_something(panel: dict[str, Any]) -> None:
    """Its metrics exist."""
    assert panel["targets"]
    assert [each for target in panel["targets"] for each in mistakes(target["expr"])] == []


def test_panels_do_not_overlap() -> None:
    """Each cell of the dashboard's grid belongs to one panel, and ids are their own."""
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in BOARD["panels"])
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])


def manifests(name: str) -> dict[str, Any]:
    """The manifests of a file, by kind."""
    return {each["kind"]: each for each in yaml.safe_load_all((DEPLOY / "kubernetes" / name).read_text(encoding="utf-8"))}


@pytest.mark.parametrize(("name", "kind"), [("edge.yaml", "StatefulSet"), ("hub.yaml", "Deployment")])
def test_a_workload_is_probed_confined_and_limited(name: str, kind: str) -> None:
    """Probes ask routes of the API; nobody is root, nothing can be written but volumes; there are limits, and time to end."""
    found = manifests(name)
    pod = found[kind]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    routes = {path.strip("`") for _, path, _ in reference_http.routes()}
    probes = {each: container[each]["httpGet"] for each in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {probe["path"] for probe in probes.values()} <= routes
    assert {probe["port"] for probe in probes.values()} <= {port["name"] for port in container["ports"]}
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert set(container["resources"]["limits"]) == {"cpu", "memory"}
    assert pod["terminationGracePeriodSeconds"] > 15 + 8
    claims = [each["metadata"]["name"] for each in found[kind]["spec"].get("volumeClaimTemplates", ())]
    assert {each["name"] for each in container["volumeMounts"]} == {*claims, *(each["name"] for each in pod["volumes"])}


@pytest.mark.parametrize(("name", "kind"), [("edge.yaml", "StatefulSet"), ("hub.yaml", "Deployment")])
def test_what_selects_a_workload_finds_it(name: str, kind: str) -> None:
    """Service, network policy and disruption budget select the labels that its pods have; a policy says both ways."""
    found = manifests(name)
    labels = found[kind]["spec"]["template"]["metadata"]["labels"]
    selectors = {
        kind: each["spec"].get("podSelector") or each["spec"]["selector"] for kind, each in found.items() if kind != "Service"
    }
    assert all(selector == {"matchLabels": labels} for selector in selectors.values())
    assert found["NetworkPolicy"]["spec"]["policyTypes"] == ["Ingress", "Egress"]


def test_a_journal_in_a_file_has_one_engine_and_the_hub_keeps_two() -> None:
    """One replica beside its disk; of the hub's three workers two stay while nodes are emptied."""
    assert manifests("edge.yaml")["StatefulSet"]["spec"]["replicas"] == 1
    hub = manifests("hub.yaml")
    assert (hub["Deployment"]["spec"]["replicas"], hub["PodDisruptionBudget"]["spec"]["minAvailable"]) == (3, 2)
