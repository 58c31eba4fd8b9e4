"""What every outbox must do: run against the memory log and a real Kafka alike; and what Kafka's
does without one."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator

import pytest

from driftloop.adapters.clock import SystemClock
from driftloop.adapters.kafka import KafkaLog
from driftloop.adapters.memory import MemoryLog
from driftloop.kernel.codec.murmur2 import partition_of
from driftloop.kernel.errors import LogUnavailableError
from driftloop.kernel.ports import Log, Outbox, Send, TopicPartition, TopicSpec

DEADLINE_S = 60.0
NOWHERE = "127.0.0.1:1"


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def log(request: pytest.FixtureRequest) -> Log:
    if request.param == "memory":
        return MemoryLog(SystemClock())
    return KafkaLog(request.getfixturevalue("kafka"))


@pytest.fixture
def topic(log: Log) -> str:
    name = f"outbox-{uuid.uuid4().hex}"
    log.ensure_topics([TopicSpec(name, 2)])
    return name


@pytest.fixture
def outbox(log: Log) -> Iterator[Outbox]:
    made = log.outbox(1000)
    yield made
    made.close(30.0)


def until(outbox: Outbox, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    turn = threading.Event()
    while not holds():
        assert time.monotonic() < deadline
        turn.wait(0.005)
        outbox.serve()


def written(log: Log, topic: str) -> dict[bytes, tuple[int, bytes]]:
    """Partition and value by key."""
    found = {}
    for source, end in log.end_offsets([topic]).items():
        for batch in log.read(TopicPartition(*source), 0, end):
            for key, value in zip(batch.keys, batch.values, strict=True):
                found[bytes(key or b"")] = (source.partition, bytes(value or b""))
    return found


KEYS = [b"k%d" % i for i in range(20)]


def test_what_is_posted_is_written_where_its_key_belongs(
    log: Log, outbox: Outbox, topic: str
) -> None:
    lost: list[int] = []
    outbox.post(Send(topic, KEYS, [b"v" + key for key in KEYS]), lost.append)
    until(outbox, lambda: outbox.unacknowledged == 0)
    assert written(log, topic) == {key: (partition_of(key, 2), b"v" + key) for key in KEYS}
    assert lost == []


def test_what_is_confirmed_is_settled_once_it_is_written(
    log: Log, outbox: Outbox, topic: str
) -> None:
    settled: list[int] = []
    outbox.confirm(Send(topic, KEYS, KEYS), settled.append)
    until(outbox, lambda: bool(settled))
    assert len(written(log, topic)) == len(KEYS)
    assert settled == [0]
    assert outbox.unacknowledged == 0


def test_closing_writes_what_was_posted(log: Log, topic: str) -> None:
    outbox = log.outbox(1000)
    settled: list[int] = []
    outbox.post(Send(topic, [b"a"], [b"1"]), settled.append)
    outbox.confirm(Send(topic, [b"b"], [b"2"]), settled.append)
    outbox.close(30.0)
    assert set(written(log, topic)) == {b"a", b"b"}
    assert settled == [0]


def test_without_kafka_nothing_waits_and_what_finds_no_room_is_lost() -> None:
    outbox = KafkaLog(NOWHERE).outbox(30)
    lost: list[int] = []
    settled: list[int] = []
    outbox.post(Send("t", KEYS, KEYS), lost.append)
    assert lost == []
    assert outbox.unacknowledged >= len(KEYS)
    outbox.post(Send("t", KEYS, KEYS), lost.append)
    outbox.confirm(Send("t", KEYS, KEYS), settled.append)
    assert (lost, settled) == ([20], [20])
    outbox.close(0.01)
    assert sum(lost) == 40


def test_without_kafka_what_is_held_is_given_up_after_the_delivery_timeout() -> None:
    outbox = KafkaLog(NOWHERE, {"delivery.timeout.ms": "200"}).outbox(30)
    lost: list[int] = []
    settled: list[int] = []
    outbox.post(Send("t", [b"a", b"b"], [b"1", b"2"]), lost.append)
    outbox.confirm(Send("t", [b"c", b"d"], [b"1", b"2"]), settled.append)
    until(outbox, lambda: sum(lost) == 2 and bool(settled))
    assert settled == [2]
    assert outbox.unacknowledged == 0
    outbox.close(1.0)


def test_without_kafka_a_record_that_is_too_large_does_not_take_the_others_along() -> None:
    outbox = KafkaLog(NOWHERE, {"message.max.bytes": "2000"}).outbox(30)
    lost: list[int] = []
    settled: list[int] = []
    values = [b"a", b"b" * 5000, b"c"]
    outbox.confirm(Send("t", [None] * 3, values), settled.append)
    headed = [(("h", b"v"),)] * 3
    outbox.post(Send("t", [None] * 3, values, headers=headed), lost.append)
    outbox.confirm(Send("t", [None], values[1:2]), settled.append)
    assert settled == [1]
    assert outbox.unacknowledged >= 4
    outbox.close(0.01)
    assert (settled, lost) == ([1, 3], [3])
    assert outbox.unacknowledged == 0


def test_a_producer_whose_records_are_given_up_names_their_topic() -> None:
    producer = KafkaLog(NOWHERE, {"delivery.timeout.ms": "200"}).producer("tests")
    producer.send(Send("first", [b"k"], [b"v"]))
    producer.send(Send("second", [b"k", None], [b"v", None], timestamps=[1, 2]))
    with pytest.raises(LogUnavailableError, match=r"1 records for first were not taken: .*timed"):
        producer.flush(30.0)
    producer.close()


def test_a_record_too_large_for_the_topic_is_an_error_at_once() -> None:
    producer = KafkaLog(NOWHERE, {"message.max.bytes": "2000"}).producer("tests")
    with pytest.raises(LogUnavailableError, match=r"writing to t: .*too large"):
        producer.send(Send("t", [None], [b"b" * 5000]))
    with pytest.raises(LogUnavailableError, match=r"writing to t: .*too large"):
        producer.send(Send("t", [None, None], [b"a", b"b" * 5000]))
    producer.close()
