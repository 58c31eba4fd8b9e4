"""A real Prometheus scrapes a loop that runs; every query of every panel gives data."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from driftloop.cli.announcements import announced
from running_loop import RunningLoop

INFRA = Path(__file__).resolve().parents[2] / "infra"
DASHBOARD = INFRA / "grafana" / "dashboards" / "driftloop.json"
DEAD_LETTERS = "Dead letters by reason"
SCRAPE_S = 1
READY_WITHIN_S = 60.0
REPLAY_WITHIN_S = 900.0
DAYS_AT_ONCE = 4

pytestmark = [pytest.mark.slow, pytest.mark.kafka, pytest.mark.timeout(1800)]


def program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/bin")
    if found is None:
        pytest.fail(f"{name} is not installed: apt-get install prometheus")
    return found


@dataclass(frozen=True, slots=True)
class Prometheus:
    """One that answers."""

    port: int
    began: float

    def get(self, path: str, **parameters: Any) -> Any:
        """The ``data`` of an answer; None while there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", f"{path}?{urllib.parse.urlencode(parameters)}")
            answer = connection.getresponse()
            body = answer.read()
        except OSError:
            return None
        finally:
            connection.close()
        if answer.status == http.client.SERVICE_UNAVAILABLE:
            return None
        document = json.loads(body)
        assert document["status"] == "success", f"{parameters}: {document}"
        return document["data"]

    def has_data(self, query: str) -> bool:
        """Whether a panel that shows the time since the start would have a number to draw."""
        found = self.get(
            "/api/v1/query_range", query=query, start=self.began, end=time.time(), step=5
        )
        series = [] if found is None else found["result"]
        return any(value != "NaN" for one in series for _, value in one["values"])


def configure(directory: Path, loop: RunningLoop) -> Path:
    """The checked-in configuration, faster and without the Alertmanager, for these targets."""
    configuration = yaml.safe_load((INFRA / "prometheus" / "prometheus.yml").read_text("utf-8"))
    configuration["global"]["scrape_interval"] = f"{SCRAPE_S}s"
    configuration.pop("alerting")
    path = directory / "prometheus.yml"
    path.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    shutil.copy(INFRA / "prometheus" / "alerts.yml", directory)
    (directory / "targets").mkdir()
    made = subprocess.run(
        [sys.executable, INFRA / "prometheus" / "targets.py", loop.directory],
        capture_output=True,
        check=True,
    )
    (directory / "targets" / "loop.json").write_bytes(made.stdout)
    return path


@pytest.fixture(scope="module")
def prometheus(
    running_loop: RunningLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    directory = tmp_path_factory.mktemp("prometheus")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    began = time.time()
    log = directory / "prometheus.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={configure(directory, running_loop)}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        found = Prometheus(port, began)
        deadline = time.monotonic() + READY_WITHIN_S
        while not (found.get("/api/v1/targets") or {}).get("activeTargets"):
            assert process.poll() is None, log.read_text("utf-8")
            assert time.monotonic() < deadline, log.read_text("utf-8")
            threading.Event().wait(0.2)
        yield found
    finally:
        process.terminate()
        process.wait(30)


def shown(title: str, expression: str) -> str:
    return expression.partition(" or 0 * absent(")[0] if title == DEAD_LETTERS else expression


def queries() -> dict[str, str]:
    """Panel and reference to query, with Grafana's variables filled in.

    What may never happen is shown as 0 by its query until it does. Of that, this replay makes dead
    letters happen, so there the 0 does not count; the rest (aborts, orphans, ...) only has to be
    drawn.
    """
    document = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    assert DEAD_LETTERS in {panel["title"] for panel in document["panels"]}
    return {
        f"{panel['title']} {target['refId']}": shown(panel["title"], target["expr"])
        .replace("$__rate_interval", f"{4 * SCRAPE_S}s")
        .replace("$model", ".*")
        for panel in document["panels"]
        for target in panel.get("targets", ())
    }


FLIGHT = {
    "hour": 9, "minute": 30, "weekday": 2, "duration": 150, "distance": 1000, "temperature": 50,
    "dew_point": 40, "humidity": 60, "wind_direction": 180, "wind_speed": 10, "precipitation": 0,
    "pressure": 1010, "visibility": 10, "carrier": "UA", "origin": "EWR", "dest": "ORD",
}  # fmt: skip


def ask(loop: RunningLoop) -> None:
    """One prediction over HTTP, at the replay's time."""
    inference = next(a for a in announced(loop.directory) if a.service == "inference")
    inputs = [
        {
            "name": name,
            "shape": [1],
            "datatype": "BYTES" if isinstance(value, str) else "FP64",
            "data": [value],
        }
        for name, value in FLIGHT.items()
    ]
    body = json.dumps({"inputs": inputs, "parameters": {"event_time": loop.flights.now}})
    connection = http.client.HTTPConnection("127.0.0.1", inference.port, timeout=30)
    try:
        connection.request("POST", "/v2/models/flights/infer", body)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
    finally:
        connection.close()


def test_every_panels_query_gives_data(running_loop: RunningLoop, prometheus: Prometheus) -> None:
    empty = queries()
    deadline = time.monotonic() + REPLAY_WITHIN_S

    # Some panels need a drift, a training run or a shadow first; so the replay goes on until all
    # have had something to show.
    while empty and not running_loop.flights.finished:
        running_loop.replay(DAYS_AT_ONCE)
        ask(running_loop)
        empty = {name: query for name, query in empty.items() if not prometheus.has_data(query)}
        if time.monotonic() > deadline:
            break

    assert empty == {}


def test_prometheus_accepts_configuration_and_rules() -> None:
    for kind, name in (("config", "prometheus.yml"), ("rules", "alerts.yml")):
        run = subprocess.run(
            [program("promtool"), "check", kind, INFRA / "prometheus" / name],
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stdout + run.stderr
