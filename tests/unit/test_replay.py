"""The demo's replay: everything once, in event-time order."""

from __future__ import annotations

import numpy as np

from driftloop.adapters.clock import ManualClock
from driftloop.adapters.memory import MemoryLog
from driftloop.cli.flights import Flights
from driftloop.cli.flights_poison import Poison
from driftloop.cli.replay import Replay
from driftloop.kernel.ports import TopicPartition
from driftloop.kernel.reasons import Reason
from driftloop.kernel.topics import ModelTopics

HOUR = 3_600_000
TOPICS = ModelTopics.of("m")


def _flights() -> Flights:
    ids = [b"a", b"b", b"c"]
    return Flights(
        event_ids=ids,
        event_times=np.array([0, 2 * HOUR, 30 * HOUR], dtype=np.int64),
        events=[b"ea", b"eb", b"ec"],
        label_ids=[b"b", b"a", b"c"],
        observed_at=np.array([3 * HOUR, 5 * HOUR, 33 * HOUR], dtype=np.int64),
        labels=np.array([0.0, 1.0, 0.0]),
        label_records=[b"lb", b"la", b"lc"],
    )


def _replay(until: int, poison: tuple[Poison, ...] = ()) -> tuple[MemoryLog, Replay]:
    log = MemoryLog(ManualClock())
    log.ensure_topics(TOPICS.specs(1))
    return log, Replay(log.producer("test"), TOPICS, _flights(), poison, until)


def _values(log: MemoryLog, topic: str) -> list[bytes | None]:
    source = TopicPartition(topic, 0)
    end = log.end_offsets([topic])[source]
    return [value for batch in log.read(source, 0, end) for value in batch.values]


def test_records_are_sent_when_their_time_has_come() -> None:
    log, replay = _replay(100 * HOUR)
    replay.send_until(4 * HOUR)
    assert _values(log, TOPICS.events) == [b"ea", b"eb"]
    assert _values(log, TOPICS.labels) == [b"lb"]
    assert not replay.finished


def test_everything_is_sent_once_by_the_end() -> None:
    log, replay = _replay(100 * HOUR)
    replay.send_until(replay.end)
    replay.send_until(replay.end)
    assert replay.finished
    assert _values(log, TOPICS.events) == [b"ea", b"eb", b"ec"]
    assert _values(log, TOPICS.labels) == [b"lb", b"la", b"lc"]


def test_a_shorter_replay_sends_the_labels_of_its_events_only() -> None:
    log, replay = _replay(HOUR)
    replay.send_until(replay.end)
    assert replay.finished
    assert _values(log, TOPICS.events) == [b"ea"]
    assert _values(log, TOPICS.labels) == [b"la"]


def test_bad_records_come_before_the_events_of_their_time() -> None:
    bad = Poison(b"x", 2 * HOUR, b"bad", Reason.NOT_AVRO)
    late = Poison(b"y", 31 * HOUR, b"later", Reason.NOT_AVRO)
    log, replay = _replay(HOUR * 3, (bad, late))
    replay.send_until(replay.end)
    assert _values(log, TOPICS.events) == [b"ea", b"bad", b"eb"]
    assert replay.bad == [bad]
