"""Records that the log deleted before they were read are told."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence

import pytest
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient

from driftloop.adapters.clock import ManualClock
from driftloop.adapters.kafka import KafkaLog
from driftloop.adapters.kafka.session import KafkaSession
from driftloop.kernel.ports import Send, TopicPartition, TopicSpec

pytestmark = pytest.mark.kafka
DEADLINE_S = 60.0


class Listener:
    def __init__(self) -> None:
        self.skipped: list[tuple[TopicPartition, int, int]] = []

    def on_assigned(self, partitions: object) -> Mapping[TopicPartition, int]:
        return {}

    def on_revoked(self, partitions: object) -> None: ...

    def on_lost(self, partitions: object) -> None: ...

    def on_skipped(self, source: TopicPartition, position: int, start: int) -> None:
        self.skipped.append((source, position, start))


class Ground:
    """A topic of one partition with records 0 to 9, of which the first seven get deleted."""

    def __init__(self, bootstrap: str) -> None:
        self.log = KafkaLog(bootstrap, clock=ManualClock())
        self.source = TopicPartition(f"t-{uuid.uuid4().hex[:12]}", 0)
        self.log.ensure_topics([TopicSpec(self.source.topic, 1)])
        producer = self.log.producer("test")
        values = [b"%d" % number for number in range(10)]
        producer.send(Send(self.source.topic, values, values, 0))
        producer.flush(DEADLINE_S)
        producer.close()
        self._admin = AdminClient({"bootstrap.servers": bootstrap})

    def commit(self, group: str, offset: int) -> None:
        session = self.session(group, Listener())
        deadline = time.monotonic() + DEADLINE_S
        while self.source not in session.assignment():
            assert time.monotonic() < deadline, "no partition came"
            session.poll(1, 0.05)
        session.begin()
        session.commit({self.source: offset})
        session.close()

    def delete(self, before: int) -> None:
        asked = KafkaPartition(self.source.topic, 0, before)
        for future in self._admin.delete_records([asked]).values():
            future.result(DEADLINE_S)

    def session(self, group: str, listener: Listener) -> KafkaSession:
        return self.log.session(group, [self.source.topic], instance="0", listener=listener)

    def read(self, group: str, listener: Listener, count: int) -> Sequence[bytes | None]:
        session = self.session(group, listener)
        found: list[bytes | None] = []
        deadline = time.monotonic() + DEADLINE_S
        while len(found) < count:
            assert time.monotonic() < deadline, f"only {found} came"
            for batch in session.poll(100, 0.1):
                found += batch.values
        session.close()
        return found


@pytest.fixture
def ground(kafka: str) -> Iterator[Ground]:
    made = Ground(kafka)
    yield made
    made.log.close()


@pytest.fixture
def group() -> str:
    return f"g-{uuid.uuid4().hex[:12]}"


def test_what_was_deleted_before_it_was_read_is_told(ground: Ground, group: str) -> None:
    ground.commit(group, 4)
    ground.delete(7)
    listener = Listener()
    assert ground.read(group, listener, 3) == [b"7", b"8", b"9"]
    assert listener.skipped == [(ground.source, 4, 7)]


def test_a_new_group_misses_nothing_of_what_was_deleted_before_it(
    ground: Ground, group: str
) -> None:
    ground.delete(7)
    listener = Listener()
    assert ground.read(group, listener, 3) == [b"7", b"8", b"9"]
    assert listener.skipped == []


def test_a_log_that_ends_before_the_position_is_told(ground: Ground, group: str) -> None:
    ground.commit(group, 50)
    listener = Listener()
    assert len(ground.read(group, listener, 10)) == 10
    assert listener.skipped == [(ground.source, 50, 0)]
