"""Against a real registry: Apicurio, on a free port, stopped afterwards."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from apicurio import apicurio
from driftloop.adapters.clock import ManualClock, SystemClock
from driftloop.adapters.kafka import KafkaLog
from driftloop.adapters.memory import MemoryLog
from driftloop.adapters.registry.client import HttpRegistry
from driftloop.adapters.registry.opening import open_wire
from driftloop.cli.applying import apply_declaration, load_declaration
from driftloop.cli.opening import running_log
from driftloop.cli.supervision import Fleet
from driftloop.client import Client
from driftloop.kernel.codec.events import EventDecoder
from driftloop.kernel.codec.records import codec
from driftloop.kernel.codec.wire import installed
from driftloop.kernel.errors import SchemaError
from driftloop.kernel.ports import Send
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import ModelRecord, Prediction
from driftloop.kernel.schemas import parse_schema, record_schema
from driftloop.kernel.settings import Settings
from driftloop.kernel.topics import ControlTopics

FIELDS = [
    {"name": "id", "type": "string"},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "amount", "type": "double"},
]
DECLARATION = """
[model]
name = "payments"
[events]
schema = "payment.avsc"
id = "id"
time = "at"
[[features]]
name = "amount"
kind = "numeric"
"""


def schema(*more: object) -> str:
    return json.dumps({"type": "record", "name": "Payment", "fields": [*FIELDS, *more]})


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with apicurio(tmp_path_factory.mktemp("apicurio")) as found:
        yield found


def test_what_is_registered_is_found_by_its_id(url: str) -> None:
    registry = HttpRegistry(url)
    schema_id = registry.register("a.topic-value", schema())
    assert registry.register("a.topic-value", schema()) == schema_id
    text = registry.text_of(schema_id)
    assert text is not None
    assert parse_schema(text).fingerprint == parse_schema(schema()).fingerprint
    assert registry.text_of(schema_id + 100_000) is None


def test_a_refused_schema_says_why(url: str) -> None:
    registry = HttpRegistry(url)
    with pytest.raises(SchemaError, match="'refused-value'"):
        registry.register("refused-value", "not a schema")


def test_our_own_records_are_enrolled_again_with_the_same_ids(url: str) -> None:
    first = open_wire(url, {}, ManualClock())
    second = open_wire(url, {}, ManualClock())
    for name in ("prediction", "outcome", "partial", "window", "label"):
        header = first.header(record_schema(name))
        assert header[:1] == b"\0"
        assert second.header(record_schema(name)) == header


def test_a_service_answers_in_confluent_framing(
    url: str, kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = secrets.token_hex(4)
    name = f"payments-{tag}"
    file = tmp_path / "payments.toml"
    file.write_text(DECLARATION.replace('"payments"', f'"{name}"'))
    (tmp_path / "payment.avsc").write_text(schema())
    settings = Settings(
        bootstrap=kafka, registry=url, prefix=f"registry-{tag}.", directory=tmp_path / "run"
    )
    for variable, value in settings.environment().items():
        monkeypatch.setenv(variable, value)
    log = KafkaLog(kafka)
    with running_log() as (opened, _):
        apply_declaration(opened, settings.topics, load_declaration(file), who="tests", now=0)
    with (
        Fleet(settings, ("inference",)) as fleet,
        Client(kafka, prefix=settings.prefix, registry=url) as client,
    ):
        fleet.wait_ready()
        now = 1_700_000_000_000
        client.events(name).send_many({"id": f"p{n}", "at": now, "amount": n} for n in range(50))
        client.flush()
        follower = log.follow([f"{name}.predictions"])
        found: list[bytes] = []
        deadline = time.monotonic() + 60
        while len(found) < 50 and time.monotonic() < deadline:
            found += [v for batch in follower.poll(100, 1.0) for v in batch.values if v]
        follower.close()
    assert {value[:1] for value in found} == {b"\0"}
    with running_log():
        ids = {codec(Prediction).decode(value).event_id for value in found}
    assert ids == {f"p{n}" for n in range(50)}
    log.close()


def test_events_of_the_client_and_of_a_later_schema_are_read_side_by_side(url: str) -> None:
    topics = ControlTopics()
    log = MemoryLog(SystemClock())
    log.ensure_topics(topics.specs())
    record = ModelRecord("payments", DECLARATION, schema(), "tests", 0)
    home = topics.partition("payments")
    value = codec(ModelRecord).encode(record)
    log.producer("tests").send(Send(topics.models, [b"payments"], [value], home))
    with Client(log=log, registry=url) as client:
        declared = client.model("payments")
        log.ensure_topics(declared.topics.specs(1))
        now = 1_700_000_000_000
        client.events("payments").send({"id": "p1", "at": now, "amount": 9.5})
        client.label("payments", "p1", 1, now)
    values = [v for batch in log.follow([declared.topics.events]).poll(10, 0) for v in batch.values]
    labels = [v for batch in log.follow([declared.topics.labels]).poll(10, 0) for v in batch.values]
    assert [value[:1] for value in (*values, *labels) if value] == [b"\0", b"\0"]
    (event,) = values
    assert event is not None
    later = {"name": "note", "type": ["null", "string"], "default": None}
    subject = f"{declared.topics.events}-value"
    newer_id = HttpRegistry(url).register(subject, schema(later))
    newer = b"\0" + newer_id.to_bytes(4, "big") + event[5:] + b"\x02\x04hi"
    unknown = b"\0" + (newer_id + 100_000).to_bytes(4, "big") + event[5:]
    with installed(open_wire(url, {}, ManualClock())):
        block, rejected = EventDecoder(declared).decode([event, unknown, newer])
    assert block.rows.tolist() == [0, 2]
    assert block.features.numeric.tolist() == [[9.5], [9.5]]
    assert [(bad.row, bad.error.reason) for bad in rejected] == [(1, Reason.UNKNOWN_SCHEMA)]
