"""However little is removed at once, and whatever happens meanwhile, all is as if whatever expires
were gone at once: what joins, what is rejected, what is counted and what is left."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from driftloop.kernel import metrics
from driftloop.kernel.ports import RecordBatch, TopicPartition
from driftloop.kernel.processor import Outputs
from driftloop.kernel.records import DeadLetter
from driftloop.kernel.stores import MemoryStore
from join_builders import (
    HORIZON,
    IDS,
    PARTITION,
    Bare,
    Join,
    label,
    model,
    prediction,
    through,
)
from window_builders import CountingMeter

UNBOUNDED = 1 << 40
LATER = 1000 * HORIZON
COUNTED = (
    metrics.OUTCOMES,
    metrics.UNLABELLED,
    metrics.ORPHANED,
    metrics.DUPLICATE_LABELS,
    metrics.DUPLICATE_PREDICTIONS,
)
thorough = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
at_once = st.integers(1, 3)
STEP_MS = 4_000
checkpoints = st.sampled_from([0, 10_000])
"""Whenever asked for, or in every third step; ms."""


class Do(enum.Enum):
    PREDICT = "predict"
    TELL = "tell"
    STEP = "step"
    SEAL = "begin a checkpoint"
    WRITE = "its transaction is through"
    DIE = "die"


class Life(enum.Enum):
    PREDICT = "predict"
    TELL = "tell"
    STEP = "step"
    DIE = "die"
    LOSE_THE_STORE = "lose the store"


Rows = list[tuple[str, int]]
"""Event id and time, of a prediction or a label."""

few_ids = st.sampled_from(IDS[:8])
times = st.integers(0, 24).map(lambda half: half * HORIZON // 2)
rows: SearchStrategy[Rows] = st.lists(st.tuples(few_ids, times), min_size=1, max_size=5)
"""Far out of order: labels and duplicates that come after their time, and go on coming."""


def schedules(of: type[Do] | type[Life]) -> SearchStrategy[list[tuple[Do | Life, Rows]]]:
    return st.lists(st.tuples(st.sampled_from(of), rows), max_size=30)


def predictions(wanted: Rows) -> list[bytes]:
    return [prediction(id, time) for id, time in wanted]


def labels(wanted: Rows) -> list[bytes]:
    return [label(id, time) for id, time in wanted]


def told(outputs: Outputs) -> tuple[list[bytes], list[DeadLetter]]:
    sent = [bytes(value or b"") for send in outputs.sends for value in send.values]
    return sent, list(outputs.dead_letters)


@dataclass
class Mortal:
    """A core that is given checkpoints, and dies: it then starts with what its store has, and reads
    the batches that this lacks again."""

    bare: Bare
    batches: list[RecordBatch] = field(default_factory=list)
    checkpoint: Outputs = field(default_factory=Outputs)
    now: int = 0

    def take(self, batch: RecordBatch) -> Outputs:
        self.batches.append(batch)
        return self.bare.core.process(batch)

    def do(self, what: Do) -> None:
        match what:
            case Do.STEP:
                self.now += STEP_MS
                self.bare.core.on_time(self.now)
            case Do.SEAL:
                sealed = self.bare.core.flush()
                self.checkpoint = sealed if sealed.committed is not None else self.checkpoint
            case Do.WRITE:
                if self.checkpoint.committed is not None:
                    through(self.checkpoint)
                self.checkpoint = Outputs()
            case Do.DIE:
                self._start()
            case _:
                raise AssertionError(what)

    def _start(self) -> None:
        self.checkpoint = Outputs()
        self.bare.start()
        core = self.bare.core
        for batch in self.batches:
            if batch.next_offset > core.reflected(batch.source):
                core.replay(batch)
        core.resume(TopicPartition(self.bare.model.topics.predictions, PARTITION))


@thorough
@given(schedules(Do), at_once, checkpoints)
def test_little_by_little_and_dying_is_as_all_at_once(
    schedule: list[tuple[Do, Rows]], few: int, checkpoint_ms: int
) -> None:
    mortal = Mortal(Bare(MemoryStore(), expired_at_once=few, checkpoint_ms=checkpoint_ms))
    # Nothing of it ever comes to its store.
    immortal = Bare(MemoryStore(), expired_at_once=UNBOUNDED)
    last: Rows = [(IDS[-1], LATER)]
    for what, wanted in [*schedule, (Do.PREDICT, last), (Do.TELL, last)]:
        if what in (Do.PREDICT, Do.TELL):
            topics = immortal.model.topics
            topic, values = (
                (topics.predictions, predictions(wanted))
                if what is Do.PREDICT
                else (topics.labels, labels(wanted))
            )
            batch = immortal.batch(topic, values)
            assert told(mortal.take(batch)) == told(immortal.core.process(batch))
            immortal.core.on_time(0)
        else:
            mortal.do(what)
    mortal.do(Do.WRITE)
    while mortal.bare.core.behind():
        mortal.do(Do.STEP)
    assert mortal.bare.open() == immortal.open() == (0, 0)
    for one in (mortal.bare, immortal):
        one.core.checkpoint()
    assert list(mortal.bare.store.scan(b"", b"\xff" * 8)) == list(
        immortal.store.scan(b"", b"\xff" * 8)
    )


@thorough
@given(schedules(Do), at_once)
def test_each_is_counted_once(schedule: list[tuple[Do, Rows]], few: int) -> None:
    meters = CountingMeter(), CountingMeter()
    mortal = Mortal(Bare(MemoryStore(), meter=meters[0], expired_at_once=few))
    immortal = Bare(MemoryStore(), meter=meters[1], expired_at_once=UNBOUNDED)
    # What died before its first checkpoint is as if its state was lost.
    begin = [(Do.PREDICT, [(IDS[0], 0)]), (Do.SEAL, []), (Do.WRITE, [])]
    for what, wanted in [*begin, *schedule, (Do.STEP, []), (Do.WRITE, [])]:
        match what:
            case Do.PREDICT:
                batch = immortal.batch(immortal.model.topics.predictions, predictions(wanted))
            case Do.TELL:
                batch = immortal.batch(immortal.model.topics.labels, labels(wanted))
            case _:
                mortal.do(what)
                continue
        mortal.take(batch)
        immortal.core.process(batch)
        immortal.core.on_time(0)
    while mortal.bare.core.behind():
        mortal.do(Do.STEP)
    for one in (mortal.bare, immortal):
        one.core.checkpoint()
    for metric in COUNTED:
        found = [meter.counts.get((metric.name, "m"), 0) for meter in meters]
        assert found[0] == found[1], metric.name


def live(schedule: list[tuple[Life, Rows]], few: int) -> Join:
    join = Join(model(), rows=3, expired_at_once=few)
    last: Rows = [(IDS[-1], LATER)]
    for what, wanted in [*schedule, (Life.PREDICT, last), (Life.TELL, last)]:
        match what:
            case Life.PREDICT:
                join.predict(*predictions(wanted))
            case Life.TELL:
                join.tell(*labels(wanted))
            case Life.STEP:
                join.step()
            case Life.DIE:
                join.start()
            case Life.LOSE_THE_STORE:
                join.store = MemoryStore()
                join.start()
    join.settle()
    return join


@thorough
@given(schedules(Life), at_once)
def test_the_service_writes_the_same_records(schedule: list[tuple[Life, Rows]], few: int) -> None:
    found, wanted = live(schedule, few), live(schedule, UNBOUNDED)
    # Not ==: a missing value is not equal to itself.
    assert repr(found.outcomes()) == repr(wanted.outcomes())
    assert found.letters() == wanted.letters()
    assert found.core.open_counts() == wanted.core.open_counts()
    assert found.entries() == wanted.entries()
