"""Predictions over HTTP from a service as a process, on a real Kafka that is taken away and given
back."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driftloop.adapters.artifacts.directory import ARRAYS, DirectoryStore
from driftloop.adapters.broker import LocalBroker
from driftloop.adapters.clock import SystemClock
from driftloop.adapters.kafka import KafkaLog
from driftloop.cli.announcements import announced
from driftloop.cli.applying import DeclaredModel, apply_declaration
from driftloop.cli.supervision import Fleet
from driftloop.kernel.codec.records import codec
from driftloop.kernel.declaration_toml import parse_declaration
from driftloop.kernel.ports import Send, TopicPartition
from driftloop.kernel.records import (
    Label,
    LossBaseline,
    Outcome,
    Prediction,
    Profile,
    Recipe,
    Version,
)
from driftloop.kernel.settings import Settings

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]

DEADLINE_S = 120.0
SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "E",
        "fields": [
            {"name": "id", "type": "string"},
            {"name": "time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "x", "type": "double"},
        ],
    }
)


def declared(name: str, *, strict: bool) -> DeclaredModel:
    text = f"""
[model]
name = "{name}"
prior = 0.25
partitions = 2
[events]
schema = "e.avsc"
id = "id"
time = "time"
[[features]]
name = "x"
kind = "numeric"
limits = [0, 10]
[http]
strict = {str(strict).lower()}
"""
    declaration = parse_declaration(text, source=name, event_schema=SCHEMA)
    return DeclaredModel(declaration, text, SCHEMA)


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + DEADLINE_S
    turn = threading.Event()
    while not holds():
        if time.monotonic() > deadline:
            return False
        turn.wait(0.05)
    return True


@dataclass
class Served:
    broker: LocalBroker
    settings: Settings
    log: KafkaLog

    def port(self) -> int:
        return next(a.port for a in announced(self.settings.directory) if a.service == "inference")

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port(), timeout=30)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def infer(self, model: str, id: str, x: float = 1.0) -> tuple[int, Any]:
        body = {
            "id": id,
            "inputs": [{"name": "x", "datatype": "FP64", "shape": [1], "data": [x]}],
            "parameters": {"event_time": SystemClock().now()},
        }
        status, headers, found = self.ask(
            "POST", f"/v2/models/{model}/infer", json.dumps(body).encode()
        )
        return status, {**json.loads(found), "retry_after": headers.get("Retry-After")}

    def records(self, topic: str, record: type[Any]) -> dict[str, Any]:
        """By event id."""
        ends = self.log.end_offsets([topic])
        found = {}
        for partition in range(2):
            source = TopicPartition(topic, partition)
            for batch in self.log.read(source, 0, ends[source]):
                for value in batch.values:
                    decoded = codec(record).decode(bytes(value or b""))
                    found[decoded.event_id] = decoded
        return found

    def metric(self, name: str, model: str) -> float:
        _, _, text = self.ask("GET", "/metrics")
        for line in text.decode().splitlines():
            if line.startswith(f"{name}{{") and f'model="{model}"' in line:
                return float(line.rsplit(" ", 1)[1])
        return 0.0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Two models, of which ``strict`` is; a broker of their own, for it is stopped."""
    directory: Path = tmp_path_factory.mktemp("http")
    with LocalBroker(directory / "kafka") as broker:
        settings = Settings(
            bootstrap=broker.bootstrap,
            # A record that Kafka does not take is given up, and counted, after three seconds.
            kafka_options={"delivery.timeout.ms": "3000"},
            directory=directory,
            http_timeout_ms=2_000,
        )
        log = KafkaLog(broker.bootstrap)
        for model in (declared("loose", strict=False), declared("strict", strict=True)):
            apply_declaration(log, settings.topics, model, who="tests", now=0)
        with Fleet(settings, ("inference", "outcomes")) as fleet:
            fleet.wait_ready()
            yield Served(broker, settings, log)
        log.close()


@pytest.mark.parametrize("model", ["loose", "strict"])
def test_a_prediction_is_on_its_topic_under_its_id_and_finds_its_label(
    served: Served, model: str
) -> None:
    status, found = served.infer(model, f"{model}-1")
    assert status == 200
    assert found["outputs"][0]["data"] == [0.25]

    def predicted() -> dict[str, Any]:
        return served.records(f"{model}.predictions", Prediction)

    if model == "strict":
        # The answer came after the record.
        assert f"{model}-1" in predicted()
    assert eventually(lambda: f"{model}-1" in predicted())
    record = predicted()[f"{model}-1"]
    assert (record.version, record.scores, record.numeric) == (0, (0.25,), (1.0,))
    assert record.source_offset == -1

    producer = served.log.producer("tests")
    label = Label(f"{model}-1", 1.0, record.event_time + 1)
    key = label.event_id.encode()
    producer.send(Send(f"{model}.labels", [key], [codec(Label).encode(label)]))
    producer.flush(30)
    producer.close()
    assert eventually(lambda: f"{model}-1" in served.records(f"{model}.outcomes", Outcome))
    outcome = served.records(f"{model}.outcomes", Outcome)[f"{model}-1"]
    assert (outcome.scores, outcome.label) == ((0.25,), 1.0)


def test_a_version_that_is_not_deployed_answers_when_it_is_named(served: Served) -> None:
    topics = served.settings.topics
    store = DirectoryStore(served.settings.artifacts)
    producer = served.log.producer("tests")
    for number, prior in ((1, 0.75), (2, 0.5)):
        arrays = {"prior": np.array([prior])}
        path, digest = store.put("loose", str(number), "constant", arrays, {})
        made = Version(
            "loose", number, Recipe("constant", {}, 0), path, digest,
            Profile(0, (), (), LossBaseline(0, 0.0, 0.0, 0.0)), {}, (), 0, 0, "tests", 0,
        )  # fmt: skip
        if number == 2:
            (served.settings.artifacts / path / ARRAYS).write_bytes(b"others")
        key, value = f"loose/{number}".encode(), codec(Version).encode(made)
        producer.send(Send(topics.versions, [key], [value], topics.partition("loose")))
    producer.flush(30)
    producer.close()
    assert eventually(lambda: served.infer("loose/versions/1", "by-number")[0] == 200)
    status, found = served.infer("loose/versions/1", "by-number-again")
    assert (status, found["model_version"]) == (200, "1")
    assert found["outputs"][0]["data"] == [0.75]
    assert eventually(lambda: served.infer("loose/versions/2", "broken")[0] == 503)
    assert served.infer("loose/versions/2", "broken")[1]["retry_after"] == "5"
    assert served.infer("loose/versions/3", "none")[0] == 404
    # The champion answers whoever names none.
    assert served.infer("loose", "unnamed")[1]["model_version"] == "0"

    def recorded() -> Any:
        return served.records("loose.predictions", Prediction).get("by-number-again")

    assert eventually(lambda: recorded() is not None)
    assert (recorded().version, recorded().scores) == (1, (0.75,))


def test_without_kafka_it_serves_on_and_counts_and_a_strict_model_refuses(served: Served) -> None:
    served.broker.stop()
    try:
        for turn in range(5):
            assert served.infer("loose", f"lost-{turn}")[0] == 200
        status, found = served.infer("strict", "refused")
        assert status == 503
        assert found["retry_after"] == "1"
        assert "Kafka has not taken the prediction" in found["error"]
        name = "driftloop_http_not_logged_total"
        assert eventually(lambda: served.metric(name, "loose") == 5.0)
        assert eventually(lambda: served.metric(name, "strict") == 1.0)
        assert served.ask("GET", "/v2/health/ready")[0] == 200
        assert served.infer("loose", "still")[0] == 200
    finally:
        served.broker.start()
    pid = {a.pid for a in announced(served.settings.directory) if a.service == "inference"}
    assert eventually(lambda: served.infer("strict", "again")[0] == 200)
    assert "again" in served.records("strict.predictions", Prediction)
    assert eventually(lambda: served.ask("GET", "/readyz")[0] == 200)
    # The same process all the time.
    assert pid == {a.pid for a in announced(served.settings.directory) if a.service == "inference"}
