"""What ``infra/`` says fits the code: settings, services, metrics, the dashboard."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from driftloop.cli.supervision import SERVICES
from driftloop.kernel.metrics import METRICS, MetricKind
from driftloop.kernel.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
YAML = sorted(path for end in ("*.yml", "*.yaml") for path in INFRA.rglob(end))
SERIES = {metric.name for metric in METRICS} | {
    f"{metric.name}_{end}"
    for metric in METRICS
    if metric.kind is MetricKind.HISTOGRAM
    for end in ("bucket", "sum", "count")
}


def load(name: str) -> Any:
    return yaml.safe_load((INFRA / name).read_text(encoding="utf-8"))


def queries(name: str) -> list[str]:
    """Every expression of the dashboard or of the rules."""
    if name.endswith(".json"):
        panels = json.loads((INFRA / name).read_text(encoding="utf-8"))["panels"]
        return [target["expr"] for panel in panels for target in panel.get("targets", ())]
    return [rule["expr"] for group in load(name)["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("path", YAML, ids=lambda path: str(path.relative_to(INFRA)))
def test_a_yaml_file_can_be_read(path: Path) -> None:
    assert yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["grafana/dashboards/driftloop.json", "prometheus/alerts.yml"])
def test_queries_ask_for_metrics_that_exist(name: str) -> None:
    asked = {found for query in queries(name) for found in re.findall(r"driftloop_\w+", query)}

    assert asked
    assert asked - SERIES == set()


def test_the_dashboard_shows_every_metric() -> None:
    shown = " ".join(queries("grafana/dashboards/driftloop.json"))

    assert [metric.name for metric in METRICS if metric.name not in shown] == []


@pytest.mark.parametrize("script", ["grafana/build.py", "reference.py"])
def test_what_is_generated_and_checked_in_is_up_to_date(script: str) -> None:
    run = subprocess.run(
        [sys.executable, INFRA / script, "check"], capture_output=True, text=True, check=False
    )

    assert run.returncode == 0, run.stderr


def test_every_alert_says_what_to_do() -> None:
    rules = [rule for group in load("prometheus/alerts.yml")["groups"] for rule in group["rules"]]

    assert all(set(rule["annotations"]) == {"summary", "action"} for rule in rules)
    assert {rule["labels"]["severity"] for rule in rules} == {"page", "ticket"}


def test_compose_runs_every_service() -> None:
    services = load("compose.yaml")["services"]

    assert set(SERVICES) <= set(services)
    assert all(services[name]["command"] == [name] for name in SERVICES)


def test_compose_and_image_use_settings_that_exist() -> None:
    known = {item.metadata["variable"] for item in dataclasses.fields(Settings)}
    given = load("compose.yaml")["x-service"]["environment"]
    image = (INFRA / "Dockerfile").read_text(encoding="utf-8")

    # As compose fills them in where the variables are not set.
    Settings.read({name: re.sub(r"\$\{\w+:-(.*?)\}", r"\1", text) for name, text in given.items()})
    assert set(given) - known == set()
    assert set(re.findall(r"DRIFTLOOP_\w+", image)) - known == set()


def test_prometheus_scrapes_every_service_of_compose() -> None:
    path = INFRA / "prometheus" / "targets" / "compose.json"
    groups = json.loads(path.read_text(encoding="utf-8"))
    port = load("compose.yaml")["x-service"]["environment"]["DRIFTLOOP_HTTP_PORT"]

    assert {t for g in groups for t in g["targets"]} == {f"{name}:{port}" for name in SERVICES}


def test_compose_has_the_kafka_that_the_tests_have() -> None:
    local = tomllib.loads((INFRA / "local-kafka" / "kafka.toml").read_text(encoding="utf-8"))

    assert load("compose.yaml")["services"]["kafka"]["image"] == f"apache/kafka:{local['version']}"


def test_what_grafana_is_given_lies_where_compose_mounts_it() -> None:
    services = load("compose.yaml")["services"]
    provider = load("grafana/provisioning/dashboards/driftloop.yml")["providers"][0]
    mounts = {v.split(":")[0]: v.split(":")[1] for v in services["grafana"]["volumes"]}

    assert mounts["./grafana/dashboards"] == provider["options"]["path"]
    for name in ("prometheus", "alertmanager", "grafana", "apply"):
        for source in (volume.split(":")[0] for volume in services[name]["volumes"]):
            assert not source.startswith(".") or (INFRA / source).exists(), source
