"""Events as large as Kafka takes them: each is predicted or a dead letter, and so are the next."""

from __future__ import annotations

import http.client
import io
import json
from collections import Counter
from pathlib import Path

import fastavro
import pytest
from confluent_kafka import Message, Producer
from harness import model
from harness.small import SmallLoop, eventually, small_loop

from driftloop.cli.announcements import announced
from driftloop.kernel.codec import wire
from driftloop.kernel.codec.faults import LONGEST_CATEGORY
from driftloop.kernel.reasons import Reason
from driftloop.kernel.schemas import parse_schema
from driftloop.kernel.topics import LARGEST_RECORD

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

ABORTS = "driftloop_aborted_transactions_total"
NOT_LOGGED = "driftloop_http_not_logged_total"
SCHEMA = parse_schema(model.SCHEMA)
LENGTHS = {
    b"longest": LONGEST_CATEGORY,
    b"over": LONGEST_CATEGORY + 1,
    b"large": 900_000,
    b"fits": LARGEST_RECORD - (128 << 10),
    b"larger": LARGEST_RECORD + 1_000_000,
}
"""Bytes of the category, by key. What is compressed well a topic takes whatever its limit is."""


def event(id: bytes, length: int) -> bytes:
    record = {"id": id.decode(), "at": model.BEGIN_MS, "x0": 0.0, "x1": 0.0, "x2": None, "n": 0}
    out = io.BytesIO()
    record |= {"colour": "x" * length, "shape": None}
    fastavro.schemaless_writer(out, SCHEMA.parsed, record)
    return wire.in_force().header(SCHEMA) + out.getvalue()


def send(loop: SmallLoop, key: bytes, value: bytes) -> tuple[int, int]:
    """Partition and offset."""
    reports: list[tuple[object, Message]] = []
    producer = Producer(
        {
            "bootstrap.servers": loop.settings.bootstrap,
            "message.max.bytes": 2 * LARGEST_RECORD,
            "compression.type": "lz4",
            "on_delivery": lambda error, message: reports.append((error, message)),
        }
    )
    producer.produce(loop.declared.declaration.topics.events, value, key)
    assert producer.flush(30) == 0
    ((error, message),) = reports
    assert error is None
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    return partition, offset


def ask(loop: SmallLoop, id: str, colour: str) -> tuple[int, str]:
    """HTTP status, and what is said of an error."""
    (service,) = [a for a in announced(loop.settings.directory) if a.service == "inference"]
    numbers = [
        {"name": name, "datatype": "FP64", "shape": [1], "data": [0.0]}
        for name in ("x0", "x1", "x2", "n")
    ]
    texts = [
        {"name": name, "datatype": "BYTES", "shape": [1], "data": [value]}
        for name, value in (("colour", colour), ("shape", None))
    ]
    body = {
        "id": id,
        "parameters": {"event_time": model.BEGIN_MS},
        "inputs": [*numbers, *texts],
    }
    connection = http.client.HTTPConnection(service.host, service.port, timeout=10)
    try:
        name = loop.declared.declaration.name
        connection.request("POST", f"/v2/models/{name}/infer", json.dumps(body))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()).get("error", "")
    finally:
        connection.close()


def test_a_large_event_is_a_dead_letter_and_the_next_ones_are_predicted(
    kafka: str, tmp_path: Path
) -> None:
    with small_loop(kafka, tmp_path, ["inference"]) as loop:
        loop.send(labels=False)
        values = {key: event(key, length) for key, length in LENGTHS.items()}
        garbage = b"garbage" * (LARGEST_RECORD // 6)
        places = {
            key: send(loop, key, value) for key, value in [*values.items(), (b"garbage", garbage)]
        }
        loop.send(labels=False)
        for length in (LONGEST_CATEGORY + 1, 900_000):
            status, why = ask(loop, "refused", "x" * length)
            assert (status, "more than 1024 bytes" in why) == (400, True)
        assert ask(loop, "asked", "x" * LONGEST_CATEGORY) == (200, "")
        expected = loop.expected_predictions() + Counter([b"longest", b"asked"])
        eventually(lambda: loop.predicted().total() >= expected.total(), "all are predicted")
        assert loop.predicted() == expected
        eventually(lambda: len(loop.letters()) >= loop.poison() + 5, "the dead letters come")
        letters = loop.letters()
        assert len(letters) == loop.poison() + 5
        by_key = {letter.key: letter for letter in letters}
        for key in (b"over", b"large", b"fits"):
            assert by_key[key].value == values[key]
            assert by_key[key].reason == Reason.OUT_OF_LIMITS
            assert f"has {LENGTHS[key]} bytes, more than 1024" in by_key[key].detail
        # Of what does not fit only the place is told.
        told = [
            (letter.reason, letter.topic, (letter.partition, letter.offset))
            for letter in letters
            if letter.value is None and "read the record at its offset" in letter.detail
        ]
        events = loop.declared.declaration.topics.events
        assert sorted(told) == [
            (Reason.NOT_AVRO, events, places[b"garbage"]),
            (Reason.OUT_OF_LIMITS, events, places[b"larger"]),
        ]
        assert loop.restarts("inference") == 0
        assert loop.metric("inference", ABORTS) == 0
        assert loop.metric("inference", NOT_LOGGED) == 0
