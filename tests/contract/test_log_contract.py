"""What every log must do: run against the memory log and a real Kafka alike."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from driftloop.adapters.clock import SystemClock
from driftloop.adapters.kafka import KafkaLog
from driftloop.adapters.memory import MemoryLog
from driftloop.kernel.codec.murmur2 import partition_of
from driftloop.kernel.errors import ConfigurationError, FencedError, LogError
from driftloop.kernel.ports import Log, RecordBatch, Send, Session, TopicPartition, TopicSpec
from driftloop.kernel.topics import ControlTopics, ModelTopics

DEADLINE_S = 60.0
SESSIONS: list[Session] = []
"""Every session of a test, closed whatever becomes of it."""


class Listener:
    """Notes what it is told; starts where it is asked to."""

    def __init__(self, starts: Mapping[TopicPartition, int] | None = None) -> None:
        self.starts = starts or {}
        self.assigned: list[TopicPartition] = []
        self.revoked: list[TopicPartition] = []
        self.finish: Callable[[], None] = lambda: None

    def on_assigned(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        self.finish()
        self.assigned += partitions
        return self.starts

    def on_revoked(self, partitions: Sequence[TopicPartition]) -> None:
        self.finish()
        self.revoked += partitions

    def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        self.revoked += partitions

    def on_skipped(self, source: TopicPartition, position: int, start: int) -> None:
        raise AssertionError(f"{source}: {position} skipped to {start}")


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def log(request: pytest.FixtureRequest) -> Iterator[Log]:
    SESSIONS.clear()
    if request.param == "memory":
        yield MemoryLog(SystemClock())
    else:
        yield KafkaLog(request.getfixturevalue("kafka"))
    for session in SESSIONS:
        session.close()


@pytest.fixture
def topic(log: Log) -> str:
    return _topic(log)


def _topic(log: Log, partitions: int = 2) -> str:
    name = f"t-{uuid.uuid4().hex[:12]}"
    log.ensure_topics([TopicSpec(name, partitions)])
    return name


def _send(log: Log, topic: str, values: Sequence[bytes], partition: int | None = 0) -> None:
    producer = log.producer("test")
    producer.send(Send(topic, list(values), list(values), partition))
    producer.flush(DEADLINE_S)
    producer.close()


def _gather(session: Session, count: int, *others: Session) -> list[RecordBatch]:
    """Poll until ``count`` records have come."""
    batches: list[RecordBatch] = []
    deadline = time.monotonic() + DEADLINE_S
    while sum(map(len, batches)) < count:
        assert time.monotonic() < deadline, f"only {sum(map(len, batches))} of {count} came"
        batches += session.poll(1000, 0.1)
        for other in others:
            other.poll(1, 0.0)
    return batches


def _until(condition: Callable[[], bool], *sessions: Session) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        for session in sessions:
            session.poll(1, 0.05)


def _read(log: Log, topic: str, partition: int = 0) -> list[bytes | None]:
    source = TopicPartition(topic, partition)
    # A commit is decided when it returns; its marker reaches the partition a moment later.
    written = log.high_watermarks([topic])[source]
    deadline = time.monotonic() + DEADLINE_S
    while (end := log.end_offsets([topic])[source]) < written:
        assert time.monotonic() < deadline, "a transaction stays open"
    return [value for batch in log.read(source, 0, end) for value in batch.values]


def _join(
    log: Log,
    group: str,
    topics: Sequence[str],
    listener: Listener,
    instance: str = "0",
    companions: Callable[[str], Sequence[str]] = lambda topic: (),
) -> Session:
    session = log.session(
        group, topics, instance=instance, listener=listener, companions=companions
    )
    SESSIONS.append(session)
    return session


def _group() -> str:
    return f"g-{uuid.uuid4().hex[:12]}"


def test_records_come_in_offset_order_with_key_value_headers_and_timestamp(
    log: Log, topic: str
) -> None:
    producer = log.producer("test")
    producer.send(Send(topic, [b"k", None], [b"v", None], 1, [1234, 1235], [(("h", b"x"),), ()]))
    producer.flush(DEADLINE_S)
    producer.close()
    session = _join(log, _group(), [topic], Listener())
    (batch,) = _gather(session, 2)
    assert batch.source == TopicPartition(topic, 1)
    assert list(batch.offsets) == [0, 1]
    assert list(batch.timestamps) == [1234, 1235]
    assert list(batch.keys) == [b"k", None]
    assert list(batch.values) == [b"v", None]
    assert batch.headers is not None
    assert batch.headers[0] == (("h", b"x"),)
    session.close()


def test_a_key_chooses_its_partition_by_murmur2(log: Log) -> None:
    topic = _topic(log, 5)
    keys = [f"key-{i}".encode() for i in range(50)]
    _send(log, topic, keys, partition=None)
    for partition in range(5):
        expected = [key for key in keys if partition_of(key, 5) == partition]
        assert _read(log, topic, partition) == expected


def test_a_transaction_shows_all_its_records_and_offsets_or_none(log: Log, topic: str) -> None:
    out, group = _topic(log), _group()
    _send(log, topic, [b"a", b"b"])
    session = _join(log, group, [topic], Listener())
    _gather(session, 2)
    session.begin()
    session.send(Send(out, [None], [b"aborted"], 0))
    session.abort()
    session.begin()
    session.send(Send(out, [None], [b"committed"], 0))
    session.commit({TopicPartition(topic, 0): 2})
    session.close()
    assert _read(log, out) == [b"committed"]
    assert log.committed(group, [topic]) == {TopicPartition(topic, 0): 2}


def test_a_successor_goes_on_where_the_last_commit_was(log: Log, topic: str) -> None:
    group = _group()
    _send(log, topic, [b"a", b"b", b"c"])
    first = _join(log, group, [topic], Listener())
    _gather(first, 3)
    first.begin()
    first.commit({TopicPartition(topic, 0): 2})
    first.close()
    second = _join(log, group, [topic], Listener())
    assert [v for batch in _gather(second, 1) for v in batch.values] == [b"c"]
    second.close()


def test_a_process_of_the_same_name_fences_its_predecessor(log: Log, topic: str) -> None:
    group, out = _group(), _topic(log)
    _send(log, topic, [b"a"])
    zombie = _join(log, group, [topic], Listener())
    _gather(zombie, 1)
    zombie.begin()
    zombie.send(Send(out, [None], [b"zombie"], 0))
    successor = _join(log, group, [topic], Listener())
    with pytest.raises(FencedError):
        zombie.commit({TopicPartition(topic, 0): 1})
    successor.begin()
    successor.send(Send(out, [None], [b"successor"], 0))
    successor.commit({})
    assert _read(log, out) == [b"successor"]
    successor.close()
    zombie.close()


def test_the_listener_chooses_where_to_start(log: Log, topic: str) -> None:
    _send(log, topic, [b"a", b"b", b"c"])
    listener = Listener({TopicPartition(topic, 0): 1})
    session = _join(log, _group(), [topic], listener)
    assert [v for batch in _gather(session, 2) for v in batch.values] == [b"b", b"c"]
    assert set(listener.assigned) == {TopicPartition(topic, 0), TopicPartition(topic, 1)}
    session.close()


def test_a_seek_gives_records_again(log: Log, topic: str) -> None:
    _send(log, topic, [b"a", b"b"])
    session = _join(log, _group(), [topic], Listener())
    _gather(session, 2)
    session.seek({TopicPartition(topic, 0): 1})
    assert [v for batch in _gather(session, 1) for v in batch.values] == [b"b"]
    session.close()


def test_a_topic_that_is_not_there_has_no_partitions(log: Log) -> None:
    topic = _topic(log)
    assert (log.partitions(topic), log.partitions(f"{topic}-missing")) == (2, 0)
    assert set(log.end_offsets([topic, f"{topic}-missing", topic])) == {
        TopicPartition(topic, 0),
        TopicPartition(topic, 1),
    }


def test_companions_follow_their_lead(log: Log) -> None:
    lead, companion = _topic(log), _topic(log)
    _send(log, companion, [b"x"], 1)
    listener = Listener()
    session = _join(log, _group(), [lead], listener, companions=lambda topic: (companion,))
    (batch,) = _gather(session, 1)
    assert batch.source == TopicPartition(companion, 1)
    session.begin()
    session.commit({batch.source: batch.next_offset})
    assert set(listener.assigned) == {
        TopicPartition(name, p) for name in (lead, companion) for p in (0, 1)
    }
    session.close()
    assert set(listener.revoked) == set(listener.assigned)


def test_companions_leave_as_they_came_whatever_goes_together_by_then(log: Log) -> None:
    lead, companion = _topic(log), _topic(log)
    _send(log, companion, [b"x"], 1)
    listener = Listener()
    together = {lead: (companion,)}
    session = _join(log, _group(), [lead], listener, companions=lambda t: together.get(t, ()))
    _gather(session, 1)
    together.clear()
    session.close()
    assert set(listener.revoked) == set(listener.assigned)
    assert TopicPartition(companion, 1) in listener.revoked


def test_what_a_listener_raises_is_raised_by_the_poll(log: Log) -> None:
    listener = Listener()

    def fail() -> None:
        raise ZeroDivisionError("of the listener")

    listener.finish = fail
    session = _join(log, _group(), [_topic(log)], listener)
    with pytest.raises(ZeroDivisionError, match="of the listener"):
        _gather(session, 1)
    listener.finish = lambda: None
    session.close()


def test_a_second_member_takes_over_half_and_gives_it_back(log: Log) -> None:
    topic, group = _topic(log, 4), _group()
    one, two = Listener(), Listener()
    first = _join(log, group, [topic], one, "a")
    _until(lambda: len(first.assignment()) == 4, first)
    second = _join(log, group, [topic], two, "b")
    _until(lambda: len(second.assignment()) == 2, first, second)
    assert first.assignment() | second.assignment() == {TopicPartition(topic, p) for p in range(4)}
    assert set(one.revoked) == second.assignment()
    second.close()
    _until(lambda: len(first.assignment()) == 4, first)
    first.close()


def test_what_is_open_is_committed_before_partitions_leave(log: Log) -> None:
    topic, out, group = _topic(log, 2), _topic(log), _group()
    _send(log, topic, [b"a"], 0)
    _send(log, topic, [b"b"], 1)
    one = Listener()
    first = _join(log, group, [topic], one, "a")
    _gather(first, 2)
    first.begin()
    first.send(Send(out, [None], [b"open"], 0))

    def finish() -> None:
        one.finish = lambda: None
        first.commit({TopicPartition(topic, 0): 1, TopicPartition(topic, 1): 1})

    one.finish = finish
    second = _join(log, group, [topic], Listener(), "b")
    _until(lambda: len(second.assignment()) == 1, first, second)
    assert _read(log, out) == [b"open"]
    assert log.committed(group, [topic]) == {
        TopicPartition(topic, 0): 1,
        TopicPartition(topic, 1): 1,
    }
    second.close()
    first.close()


@pytest.mark.timeout(120)
def test_another_thread_commits_while_partitions_move(log: Log) -> None:
    """As the pipeline does, which is drained before they do."""
    topic, group = _topic(log, 2), _group()
    _send(log, topic, [b"a"], 0)
    _send(log, topic, [b"b"], 1)
    one = Listener()
    first = _join(log, group, [topic], one, "a")
    _gather(first, 2)
    commits = 0

    def commit() -> None:
        first.begin()
        first.commit(dict.fromkeys(first.assignment(), 1))

    def finish() -> None:
        nonlocal commits
        executor.submit(commit).result()
        commits += 1

    with ThreadPoolExecutor(1) as executor:
        one.finish = finish
        second = _join(log, group, [topic], Listener(), "b")
        _until(lambda: len(second.assignment()) == 1, first, second)
        second.close()
        _until(lambda: len(first.assignment()) == 2, first)
        assert commits >= 2
        first.close()
    assert log.committed(group, [topic]) == {TopicPartition(topic, p): 1 for p in range(2)}


@pytest.mark.timeout(120)
def test_what_is_open_is_committed_when_a_member_leaves(log: Log) -> None:
    topic, group = _topic(log, 1), _group()
    _send(log, topic, [b"a"], 0)
    listener = Listener()
    session = _join(log, group, [topic], listener, "a")
    _gather(session, 1)
    source = TopicPartition(topic, 0)

    def commit() -> None:
        session.begin()
        session.commit({source: 1})

    with ThreadPoolExecutor(1) as executor:
        listener.finish = lambda: executor.submit(commit).result()
        session.close()
    assert listener.revoked == [source]
    assert log.committed(group, [topic]) == {source: 1}


def test_positions_pass_over_transaction_markers(log: Log, topic: str) -> None:
    writer = _join(log, _group(), [_topic(log)], Listener())
    writer.begin()
    writer.send(Send(topic, [None], [b"a"], 0))
    writer.commit({})
    session = _join(log, _group(), [topic], Listener())
    follower = log.follow([topic])
    _gather(session, 1)
    end = log.end_offsets([topic])[TopicPartition(topic, 0)]
    assert end == 2
    _until(lambda: session.positions().get(TopicPartition(topic, 0)) == end, session)
    deadline = time.monotonic() + DEADLINE_S
    while not follower.caught_up():
        assert time.monotonic() < deadline
        follower.poll(10, 0.05)
    assert follower.positions()[TopicPartition(topic, 0)] == end
    session.close()
    follower.close()
    writer.close()


def test_a_range_is_read_exactly(log: Log, topic: str) -> None:
    _send(log, topic, [f"{i}".encode() for i in range(100)])
    source = TopicPartition(topic, 0)
    values = [v for batch in log.read(source, 10, 35, limit=7) for v in batch.values]
    assert values == [f"{i}".encode() for i in range(10, 35)]
    assert list(log.read(source, 5, 5)) == []


def test_the_next_record_is_found_behind_markers_and_what_was_aborted(log: Log) -> None:
    topic = _topic(log)
    writer = _join(log, _group(), [_topic(log)], Listener())
    for values, kept in (([b"a", b"b"], True), ([b"lost"], False), ([b"c"], True)):
        writer.begin()
        writer.send(Send(topic, [None] * len(values), values, 0))
        writer.commit({}) if kept else writer.abort()
    _send(log, topic, [b"x"], 1)
    writer.close()
    for number in (0, 1):
        source = TopicPartition(topic, number)
        end = log.end_offsets([topic])[source]
        records = [offset for batch in log.read(source, 0, end) for offset in batch.offsets]
        assert len(records) == (3, 1)[number]
        # To and fro, for one client looks at all.
        for start in (*range(end + 1), *range(end, -1, -1)):
            wanted = next((offset for offset in records if offset >= start), end)
            assert log.next_record(source, start, end) == wanted


def test_topics_are_made_once_and_a_mismatch_is_named(log: Log) -> None:
    topic = _topic(log, 3)
    log.ensure_topics([TopicSpec(topic, 3)])
    assert log.partitions(topic) == 3
    assert log.partitions(topic + "-absent") == 0
    with pytest.raises(ConfigurationError, match="3 partitions"):
        log.ensure_topics([TopicSpec(topic, 4)])


def test_writing_to_a_topic_that_does_not_exist_fails(log: Log, topic: str) -> None:
    with pytest.raises(LogError):
        _send(log, topic + "-absent", [b"a"])


def test_what_services_write_may_be_as_large_as_they_make_it(log: Log) -> None:
    # Bytes that do not compress: the limit is on what the broker stores.
    value = np.random.default_rng(1).bytes(2 << 20)
    prefix = f"t-{uuid.uuid4().hex[:12]}"
    control, model = ControlTopics(f"{prefix}.", 1), ModelTopics.of(prefix)
    log.ensure_topics([*control.specs(), *model.specs(1)])
    for topic in (control.partials, control.windows, control.changelogs, *model.names()[2:]):
        producer = log.producer("test")
        producer.send(Send(topic, [b"key"], [value], 0))
        producer.flush(DEADLINE_S)
        producer.close()
        at = TopicPartition(topic, 0)
        end = log.end_offsets([topic])[at]
        assert [v for batch in log.read(at, 0, end) for v in batch.values] == [value]
