"""A silent source partition is idle when nothing of it is under way, and behind otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from driftloop.adapters.clock import ManualClock
from driftloop.adapters.memory import MemoryLog
from driftloop.adapters.memory.storage import Group
from driftloop.featurestats.idleness import MERGE, Idleness, Silence
from driftloop.kernel.errors import LogUnavailableError
from driftloop.kernel.ports import Send, TopicPartition, TopicSpec
from driftloop.kernel.records import Stream
from window_builders import catalog

LOOK_MS = 500
PREDICTIONS = Silence("m", Stream.PREDICTIONS, 1)
OUTCOMES = Silence("m", Stream.OUTCOMES, 1)
CONTROL = catalog().topics
PARTIALS = TopicPartition(CONTROL.partials, CONTROL.partition("m"))
STEPS = {
    PREDICTIONS: [
        ("inference", TopicPartition("m.events", 1)),
        ("featurestats", TopicPartition("m.predictions", 1)),
        (MERGE, PARTIALS),
    ],
    OUTCOMES: [
        ("inference", TopicPartition("m.events", 1)),
        ("outcomes", TopicPartition("m.predictions", 1)),
        ("outcomes", TopicPartition("m.labels", 1)),
        ("featurestats", TopicPartition("m.outcomes", 1)),
        (MERGE, PARTIALS),
    ],
}


class Log(MemoryLog):
    away = False

    def __init__(self) -> None:
        super().__init__(ManualClock(0))
        topics = ("events", "labels", "predictions", "outcomes")
        self.ensure_topics([*CONTROL.specs(), *(TopicSpec(f"m.{name}", 2) for name in topics)])
        self.undecided: set[TopicPartition] = set()

    def written_to(self, source: TopicPartition, records: int = 1) -> None:
        keys = [b"k"] * records
        self.producer("test").send(Send(source.topic, keys, keys, source.partition))

    def read_by(self, service: str, source: TopicPartition, offset: int) -> None:
        group = self._storage.groups.setdefault(CONTROL.group(service), Group())
        group.committed[source] = offset

    def end_offsets(self, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        if self.away:
            raise LogUnavailableError("no broker answers")
        return {s: e - (s in self.undecided) for s, e in super().end_offsets(topics).items()}

    def high_watermarks(self, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        return super().end_offsets(topics)


class Looking:
    def __init__(self) -> None:
        self.log = Log()
        self.idleness = Idleness(catalog(1), self.log)
        self.now = 0

    def found(self, *silences: Silence) -> Sequence[Silence]:
        self.now += LOOK_MS
        return self.idleness.found(silences, self.now)


@pytest.mark.parametrize("silence", [PREDICTIONS, OUTCOMES])
def test_where_nobody_sends_anything_a_silence_is_idleness(silence: Silence) -> None:
    assert Looking().found(silence) == [silence]


@pytest.mark.parametrize("silence", [PREDICTIONS, OUTCOMES])
def test_a_silence_is_idleness_when_every_step_has_been_read_and_not_before(
    silence: Silence,
) -> None:
    looking = Looking()
    for _, source in STEPS[silence]:
        looking.log.written_to(source)
    for service, source in STEPS[silence]:
        assert looking.found(silence) == []
        looking.log.read_by(service, source, 1)
    assert looking.found(silence) == [silence]


def test_other_partitions_and_readers_say_nothing_of_it() -> None:
    looking = Looking()
    looking.log.written_to(TopicPartition("m.events", 0))
    looking.log.written_to(TopicPartition("m.labels", 1))
    assert looking.found(PREDICTIONS, OUTCOMES) == [PREDICTIONS]
    looking.log.read_by("inference", TopicPartition("m.labels", 1), 1)
    assert looking.found(OUTCOMES) == []


def test_a_topic_that_never_rests_has_been_read_when_all_that_was_there_at_first_is() -> None:
    looking = Looking()
    events = TopicPartition("m.events", 1)
    for offset in range(3):
        looking.log.written_to(events, 2)
        looking.log.read_by("inference", events, 2 * offset)
        assert looking.found(PREDICTIONS) == ([PREDICTIONS] if offset == 1 else [])


def test_what_a_step_led_to_must_be_read_too_though_it_came_after_the_first_look() -> None:
    looking = Looking()
    (_, events), (_, predictions), _ = STEPS[PREDICTIONS]
    looking.log.written_to(events)
    assert looking.found(PREDICTIONS) == []
    looking.log.written_to(predictions, 3)
    looking.log.read_by("inference", events, 1)
    for read in (0, 2):
        looking.log.read_by("featurestats", predictions, read)
        assert looking.found(PREDICTIONS) == []
    looking.log.read_by("featurestats", predictions, 3)
    assert looking.found(PREDICTIONS) == [PREDICTIONS]


def test_what_is_not_decided_may_be_records_still() -> None:
    looking = Looking()
    predictions = TopicPartition("m.predictions", 1)
    looking.log.written_to(predictions)
    looking.log.undecided.add(predictions)
    assert looking.found(PREDICTIONS) == []
    looking.log.undecided.clear()
    looking.log.read_by("featurestats", predictions, 1)
    assert looking.found(PREDICTIONS) == [PREDICTIONS]


def test_a_log_that_does_not_answer_leaves_windows_waiting() -> None:
    looking = Looking()
    looking.log.away = True
    assert looking.found(PREDICTIONS) == []
    looking.log.away = False
    assert looking.found(PREDICTIONS) == [PREDICTIONS]


def test_the_log_is_not_asked_more_often_than_twice_a_second_nor_when_nothing_is_silent() -> None:
    looking = Looking()
    looking.log.away = True
    assert looking.found() == []
    looking.log.away = False
    assert looking.idleness.found([PREDICTIONS], LOOK_MS) == [PREDICTIONS]
    looking.log.away = True
    assert looking.idleness.found([PREDICTIONS], 2 * LOOK_MS - 1) == []


def test_a_model_that_was_taken_out_is_waited_for_by_nobody() -> None:
    assert Looking().found(Silence("gone", Stream.PREDICTIONS, 0)) == []
