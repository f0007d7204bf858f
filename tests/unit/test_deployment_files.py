"""Alerts, dashboard, manifests and the unit agree with the gateway and with each other; linters see each file alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.events import Name
from gateway.runtime.serving import DRAIN
from gateway.runtime.supervisor import BAD_CONFIG, CANNOT_START, STOP_PATIENCE
from gateway.sessions.decision import Outcome
from gateway.settings.loader import load

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config"
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
CATALOGUE = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
DASHBOARDS = sorted((CONFIG / "grafana" / "dashboards").glob("*.json"))
SUFFIXES = ("_bucket", "_count", "_sum")


def document(name: str) -> dict[str, Any]:
    """One YAML file of config/."""
    (found,) = yaml.safe_load_all((CONFIG / name).read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def alerts() -> list[dict[str, Any]]:
    groups = document("prometheus/alerts.yml")["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def rules() -> list[str]:
    """Every expression of alerts.yml."""
    return [rule["expr"] for group in document("prometheus/alerts.yml")["groups"] for rule in group["rules"]]


def dashboards() -> Iterator[dict[str, Any]]:
    for path in DASHBOARDS:
        yield json.loads(path.read_text(encoding="utf-8"))


def panels() -> list[dict[str, Any]]:
    return [panel for dashboard in dashboards() for panel in dashboard["panels"]]


def expressions() -> list[str]:
    """Every PromQL expression there is, those behind variables and annotations too."""
    found = rules() + [target["expr"] for panel in panels() for target in panel.get("targets", ())]
    for dashboard in dashboards():
        found += [variable["definition"] for variable in dashboard["templating"]["list"] if variable["type"] == "query"]
    return found


def catalogued() -> set[str]:
    """Metric names of docs/metrics.md, which test_metrics.py holds against a gateway."""
    return set(re.findall(r"`((?:gateway|process)_\w+)`", CATALOGUE))


def plain(name: str) -> str:
    """The family of a sample."""
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def test_every_metric_that_is_asked_for_exists() -> None:
    used = {plain(name) for text in expressions() for name in re.findall(r"\b(?:gateway|process)_[a-z_]+", text)}
    assert len(used) > 15
    assert used - catalogued() == set()


def test_every_event_and_outcome_that_is_asked_for_exists() -> None:
    text = " ".join(expressions())
    events = {name for found in re.findall(r'event!?=~?"([^"]+)"', text) for name in found.split("|")}
    outcomes = {name for found in re.findall(r'outcome=~?"([^"]+)"', text) for name in found.split("|")}
    assert events
    assert events <= {str(name) for name in Name}
    assert outcomes >= {Outcome.THEFT, Outcome.FORGED, Outcome.AHEAD}
    assert outcomes <= set(Outcome)


def test_every_alert_says_what_to_do() -> None:
    headings = set(re.findall(r"^### (\w+)$", OPERATIONS, re.MULTILINE))
    for rule in alerts():
        name, annotations = rule["alert"], rule["annotations"]
        assert annotations["runbook"] == f"docs/operations.md#{name.lower()}"
        assert name in headings, f"docs/operations.md has no heading {name}"
        assert annotations.keys() == {"summary", "description", "runbook"}
        assert rule["labels"].keys() == {"severity"}
        assert rule["labels"]["severity"] in {"page", "ticket"}
    assert {heading for heading in headings if heading.startswith("Gateway")} == {rule["alert"] for rule in alerts()}


def test_every_alert_has_a_test_in_which_it_rings() -> None:
    names = [f"prometheus/tests/{path.name}" for path in (CONFIG / "prometheus" / "tests").glob("*.yml")]
    tests = [test for name in names for test in document(name)["tests"]]
    checks = [check for test in tests for check in test["alert_rule_test"]]
    assert {check["alertname"] for check in checks if check["exp_alerts"]} == {rule["alert"] for rule in alerts()}


def test_panels_are_unique_in_place_and_complete() -> None:
    assert DASHBOARDS
    for dashboard in dashboards():
        shown = dashboard["panels"]
        assert len({panel["id"] for panel in shown}) == len(shown)
        taken: set[tuple[int, int]] = set()
        for panel in shown:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken, f"{panel['title']} lies on another panel"
            assert max(x for x, _ in cells) < 24
            taken |= cells
            if panel["type"] != "row":
                assert panel["title"]
                assert panel["description"]
                assert panel["targets"]
                assert panel["fieldConfig"]["defaults"]["unit"]


def test_panels_ask_the_data_source_that_was_chosen_about_the_gateways_that_were_chosen() -> None:
    for dashboard in dashboards():
        variables = {variable["name"] for variable in dashboard["templating"]["list"]}
        assert variables == {"datasource", "job", "instance", "route"}
        for panel in dashboard["panels"]:
            for target in panel.get("targets", ()):
                assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
                selectors = re.findall(r"\{([^}]*)\}", target["expr"])
                assert selectors
                assert all('job=~"$job", instance=~"$instance"' in selector for selector in selectors)


@pytest.mark.parametrize("name", ["gateway.production.yaml", "compose/gateway.yaml", "kubernetes/configmap.yaml"])
def test_the_configurations_are_accepted(name: str, tmp_path: Path) -> None:
    path = CONFIG / name
    if name.startswith("kubernetes"):
        path = tmp_path / "gateway.yaml"
        path.write_text(document(name)["data"]["gateway.yaml"])
    stores = {
        "GATEWAY__STORAGE__DATABASE": "postgresql://gateway@db.test/gateway?sslmode=verify-full",
        "GATEWAY__STORAGE__REDIS": "rediss://redis.test:6379/0",
    }
    settings = load(path, stores).settings
    assert settings.storage.master_key_file == "/run/secrets/gateway/master_key"
    assert settings.logging.format == "json"
    assert settings.server.listen == "0.0.0.0:8080"


def test_no_secret_is_written_down() -> None:
    compose = document("compose.yaml")
    for service in compose["services"].values():
        for key, value in service.get("environment", {}).items():
            assert "PASSWORD" not in key or key.endswith("_FILE"), f"{key}={value}"
    assert all(set(secret) == {"file"} for secret in compose["secrets"].values())
    assert "/config/compose/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    assert "secret.example.yaml" not in document("kubernetes/kustomization.yaml")["resources"]


def test_containers_of_compose_can_do_little() -> None:
    services = document("compose.yaml")["services"]
    assert {"gateway-1", "gateway-2", "lb", "app", "db", "redis", "prometheus", "grafana"} == services.keys()
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "healthcheck" in service, name
        assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+[\w.-]*", service["image"]), f"{name}: {service['image']}"
        assert "inner" in service["networks"], name


def test_whoever_stops_a_gateway_waits_for_its_drain() -> None:
    longest = STOP_PATIENCE
    assert longest > DRAIN
    compose = document("compose.yaml")["services"]["gateway-1"]
    pod = document("kubernetes/deployment.yaml")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    asleep = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] >= asleep + longest
    assert int(compose["stop_grace_period"].removesuffix("s")) >= longest
    assert int(unit("TimeoutStopSec")[0].removesuffix("s")) >= longest


def unit(key: str) -> list[str]:
    """The values of a key of the systemd unit."""
    text = (CONFIG / "systemd" / "gateway.service").read_text(encoding="utf-8")
    return re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)


def test_systemd_does_not_start_in_vain_and_never_sees_a_secret_in_the_environment() -> None:
    assert unit("Type") == ["notify"]
    assert unit("RestartPreventExitStatus") == [f"{CANNOT_START} {BAD_CONFIG}"]
    assert unit("WatchdogSec") == ["30s"]
    assert all("_FILE=%d/" in value for value in unit("Environment"))
    credentials = {value.partition(":")[0] for value in unit("LoadCredential")}
    assert credentials == {value.rpartition("/")[2] for value in unit("Environment")}


def test_pods_can_do_little_and_are_probed_on_the_admin_listener() -> None:
    pod = document("kubernetes/deployment.yaml")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {probe["port"] for probe in probes.values()} == {"admin"}
    assert [probe["path"] for probe in probes.values()] == ["/readyz", "/livez", "/livez"]
