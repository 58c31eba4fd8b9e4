"""The runner on the memory log: what belongs together is committed together, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from typing_extensions import override

from driftloop.adapters.clock import ManualClock
from driftloop.adapters.memory import MemoryLog
from driftloop.adapters.memory.session import MemorySession
from driftloop.kernel import metrics
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.records import codec
from driftloop.kernel.deadletters import dead_letter
from driftloop.kernel.declaration_toml import declaration_of
from driftloop.kernel.errors import (
    DeadLetterLimitError,
    DecodeError,
    FencedError,
    LogError,
    LogUnavailableError,
    RegistryBehindError,
    RegistryUnavailableError,
)
from driftloop.kernel.following import Following
from driftloop.kernel.ports import RecordBatch, Send, TopicPartition, TopicSpec
from driftloop.kernel.processor import ControlBehindError, Outputs
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import DeadLetter, Deployment, Stage
from driftloop.kernel.recovery import ChangelogRecovery
from driftloop.kernel.runner import Runner, Wiring
from driftloop.kernel.topics import ControlTopics
from window_builders import CountingMeter

TOPICS = ControlTopics("t.", partitions=1)
IN, OUT = "in", "out"
BAD, NEEDS_DEPLOYMENT, CRASH = b"bad", b"needs deployment", b"crash"
GROUP = "t.adder"


class Adder:
    """Adds up what it reads, per partition; answers each record with the sum so far."""

    def __init__(self, catalog: Catalog) -> None:
        self.sums: dict[int, int] = {}
        self.due = True
        self._catalog = catalog
        self._changed: set[int] = set()

    def process(self, batch: RecordBatch) -> Outputs:
        values = [value or b"" for value in batch.values]
        if CRASH in values:
            raise RuntimeError("on purpose")
        if NEEDS_DEPLOYMENT in values and not self._catalog.deployments:
            raise ControlBehindError("no deployment yet")
        answers, letters = [], []
        for row, value in enumerate(values):
            if value == BAD:
                letters.append(dead_letter("adder", batch, row, DecodeError(Reason.EMPTY, "bad")))
            elif value != NEEDS_DEPLOYMENT:
                total = self.sums.get(batch.partition, 0) + int(value)
                self.sums[batch.partition] = total
                self._changed.add(batch.partition)
                answers.append(b"%d" % total)
        return Outputs([Send(OUT, [None] * len(answers), answers, batch.partition)], letters)

    def on_time(self, now: int) -> Outputs:
        return Outputs()

    def commit_due(self, now: int) -> bool:
        return self.due

    def flush(self) -> Outputs:
        return Outputs()

    def snapshot(self) -> Mapping[str, bytes | None]:
        changed, self._changed = self._changed, set()
        return {f"m/{partition}/sum": b"%d" % self.sums[partition] for partition in changed}

    def restore(self, source: TopicPartition, entries: Mapping[str, bytes]) -> None:
        for entry, value in entries.items():
            self.sums[int(entry.split("/")[1])] = int(value)

    def drop(self, source: TopicPartition) -> None:
        self.sums.pop(source.partition, None)
        self._changed.discard(source.partition)


class Bench:
    """A memory log with the runner's topics, and runners on it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.log = MemoryLog(self.clock)
        self.meter = CountingMeter()
        self.log.ensure_topics([*TOPICS.specs(), TopicSpec(IN, 2), TopicSpec(OUT, 2)])

    def runner(
        self,
        instance: str = "0",
        *,
        limit: int = 100,
        make: Callable[[Catalog], Adder] = lambda catalog: Adder(catalog),
        committer: Executor | None = None,
    ) -> tuple[Runner, Adder]:
        catalog = Catalog(TOPICS, declaration_of)
        core = make(catalog)
        recovery = ChangelogRecovery(
            self.log,
            self.clock,
            TOPICS,
            "adder",
            core,
            lambda source: [(0, f"m/{source.partition}/")],
        )
        wiring = Wiring(
            "adder", core, recovery, lambda catalog: (IN,), batch_rows=2, dead_letter_limit=limit
        )
        return Runner(
            wiring,
            self.log,
            catalog,
            clock=self.clock,
            meter=self.meter,
            instance=instance,
            committer=committer,
        ), core

    def send(self, *values: bytes, partition: int = 0) -> None:
        self.log.producer("test").send(Send(IN, [None] * len(values), values, partition))

    def deploy(self) -> None:
        record = Deployment("m", 1, Stage.STEADY, 0, -1, 0, "candidate", 0, 0.0, 0.0, 0, ())
        value = codec(Deployment).encode(record)
        self.log.producer("test").send(Send(TOPICS.deployments, [b"m"], [value], 0))

    def read(self, topic: str, partition: int = 0) -> list[bytes | None]:
        source = TopicPartition(topic, partition)
        end = self.log.end_offsets([topic])[source]
        return [value for batch in self.log.read(source, 0, end) for value in batch.values]

    def committed(self) -> dict[int, int]:
        return {s.partition: offset for s, offset in self.log.committed(GROUP, [IN]).items()}

    def nothing_committed(self) -> bool:
        return not any([self.committed(), self.read(OUT), self.read(TOPICS.changelogs)])


@pytest.fixture
def bench() -> Bench:
    return Bench()


def settle(*runners: Runner) -> None:
    worked = True
    while worked:
        steps = [runner.step(0.0) for runner in runners]
        worked = any(steps)


def test_outputs_state_and_offsets_are_committed_together(bench: Bench) -> None:
    runner, _ = bench.runner()
    bench.send(b"1", b"2")
    settle(runner)
    assert bench.read(OUT) == [b"1", b"3"]
    assert bench.read(TOPICS.changelogs) == [b"3"]
    assert bench.committed() == {0: 2}


def test_nothing_shows_before_the_commit_is_due(bench: Bench) -> None:
    runner, core = bench.runner()
    core.due = False
    bench.send(b"1")
    settle(runner)
    assert bench.nothing_committed()
    assert not runner.idle()
    core.due = True
    settle(runner)
    assert bench.read(OUT) == [b"1"]
    assert runner.idle()


def test_a_restarted_runner_goes_on_where_the_commit_left_off(bench: Bench) -> None:
    first, _ = bench.runner()
    bench.send(b"1", b"2")
    settle(first)
    first.close()
    bench.send(b"3")
    second, core = bench.runner()
    settle(second)
    assert core.sums == {0: 6}
    assert bench.read(OUT) == [b"1", b"3", b"6"]


def test_a_crash_leaves_nothing_committed_and_the_next_reads_it_again(bench: Bench) -> None:
    dies, core = bench.runner()
    core.due = False
    bench.send(b"1", b"2")
    settle(dies)
    bench.send(CRASH)
    with pytest.raises(RuntimeError, match="on purpose"):
        settle(dies)
    assert bench.nothing_committed()
    # Of the same name: it fences the one that died.
    lives, core = bench.runner()
    lives.step(0.0)
    assert bench.read(OUT) == [b"1", b"3"]
    with pytest.raises(FencedError):
        dies.step(0.0)
    assert core.sums == {0: 3}


def test_leaving_after_a_crash_commits_nothing_either(bench: Bench) -> None:
    dies, core = bench.runner()
    core.due = False
    bench.send(b"1", b"2")
    settle(dies)
    bench.send(CRASH)
    with pytest.raises(RuntimeError, match="on purpose"):
        settle(dies)
    dies.close()
    assert bench.nothing_committed()


def test_an_aborted_commit_takes_state_and_position_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, core = bench.runner()
    bench.send(b"1", b"2")
    settle(runner)
    refusals = failing_commits(monkeypatch, LogError("aborted"), 1)
    bench.send(b"3", b"4")
    bench.send(b"10", partition=1)
    settle(runner)
    assert refusals == []
    assert core.sums == {0: 10, 1: 10}
    assert bench.read(OUT) == [b"1", b"3", b"6", b"10"]
    assert bench.read(OUT, 1) == [b"10"]
    assert bench.meter.counts[metrics.ABORTS.name,] == 1


def test_what_goes_on_failing_is_tried_after_pauses_that_grow_until_it_succeeds(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, _ = bench.runner()
    bench.send(b"1")
    failing_commits(monkeypatch, LogError("refused"), 9)
    tried: list[int] = []
    for _ in range(400):
        before = bench.meter.counts.get((metrics.ABORTS.name,), 0)
        runner.step(0.1)
        assert not runner.idle() or bench.read(OUT)
        if bench.meter.counts.get((metrics.ABORTS.name,), 0) > before:
            tried.append(bench.clock.now())
    pauses = [later - earlier for earlier, later in pairwise(tried)]
    assert pauses == [0, 100, 200, 400, 800, 1600, 3200, 6400]
    assert bench.read(OUT) == [b"1"]
    failing_commits(monkeypatch, LogError("refused"), 1)
    bench.send(b"2")
    runner.step(0.0)
    runner.step(0.0)
    assert bench.read(OUT) == [b"1", b"3"]


def test_a_log_that_does_not_answer_stops_the_runner_uncommitted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, _ = bench.runner()
    bench.send(b"1")
    failing_commits(monkeypatch, LogUnavailableError("no answer"), 1)
    with pytest.raises(LogUnavailableError):
        settle(runner)
    assert bench.nothing_committed()


def test_a_batch_that_needs_a_control_record_waits_for_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, core = bench.runner()
    tries: list[bool] = []
    process = core.process

    def deployed_in_between(batch: RecordBatch) -> Outputs:
        tries.append(True)
        try:
            return process(batch)
        except ControlBehindError:
            bench.deploy()
            raise

    monkeypatch.setattr(core, "process", deployed_in_between)
    bench.send(NEEDS_DEPLOYMENT, b"5")
    settle(runner)
    assert len(tries) == 2
    assert bench.read(OUT) == [b"5"]


@pytest.mark.parametrize("bad", [{0}, {4}, {1, 2}, {0, 3, 4}, {0, 1, 2, 3, 4}])
def test_rows_that_name_what_the_control_topics_do_not_have_become_dead_letters(
    bench: Bench, bad: set[int]
) -> None:
    runner, _ = bench.runner()
    bench.send(*(NEEDS_DEPLOYMENT if row in bad else b"1" for row in range(5)))
    settle(runner)
    letters = [codec(DeadLetter).decode(value) for value in bench.read(TOPICS.dead_letters)]
    assert [(one.offset, one.reason, one.value) for one in letters] == [
        (row, Reason.UNKNOWN_MODEL, NEEDS_DEPLOYMENT) for row in sorted(bad)
    ]
    assert bench.read(OUT) == [b"%d" % k for k in range(1, 6 - len(bad))]


def test_control_topics_that_cannot_be_read_to_their_end_stop_the_runner_uncommitted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, _ = bench.runner()
    monkeypatch.setattr(runner._following._follower, "caught_up", lambda: False)
    monkeypatch.setattr(
        runner._following._follower, "poll", lambda *_: bench.clock.advance(1_000) or ()
    )
    bench.send(NEEDS_DEPLOYMENT)
    with pytest.raises(LogUnavailableError, match="control topics"):
        settle(runner)
    assert bench.nothing_committed()


def test_control_records_are_known_before_the_first_batch(bench: Bench) -> None:
    bench.deploy()
    runner, _ = bench.runner()
    assert runner.catalog.deployments["m"].sequence == 1


def test_a_rejected_record_becomes_a_dead_letter_with_its_bytes(bench: Bench) -> None:
    runner, _ = bench.runner()
    bench.send(b"1", BAD)
    settle(runner)
    (value,) = bench.read(TOPICS.dead_letters)
    assert value is not None
    letter = codec(DeadLetter).decode(value)
    assert (letter.value, letter.topic, letter.partition, letter.offset) == (BAD, IN, 0, 1)
    assert bench.committed() == {0: 2}


def test_more_dead_letters_than_allowed_stop_the_runner_uncommitted(bench: Bench) -> None:
    runner, _ = bench.runner(limit=2)
    bench.send(BAD, BAD)
    settle(runner)
    bench.send(BAD)
    with pytest.raises(DeadLetterLimitError, match="rejected 3 records"):
        settle(runner)
    assert len(bench.read(TOPICS.dead_letters)) == 2
    assert bench.committed() == {0: 2}


def test_dead_letters_count_when_they_are_committed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, _ = bench.runner(limit=4)
    bench.send(BAD, BAD)
    failing_commits(monkeypatch, LogError("refused"), 20)
    for _ in range(4000):
        runner.step(0.1)
    counted = metrics.DEAD_LETTERS.name, IN, Reason.EMPTY
    assert bench.meter.counts[counted] == len(bench.read(TOPICS.dead_letters)) == 2
    bench.send(BAD, BAD)
    settle(runner)
    bench.send(BAD)
    with pytest.raises(DeadLetterLimitError, match="rejected 5 records"):
        settle(runner)
    assert bench.meter.counts[counted] == len(bench.read(TOPICS.dead_letters)) == 4


@pytest.mark.parametrize("fails", ["read", "join"])
def test_a_runner_that_cannot_begin_leaves_no_client_behind(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    closed: list[Following] = []
    close = Following.close

    def closing(following: Following) -> None:
        closed.append(following)
        close(following)

    def failing(*_: object, **__: object) -> None:
        raise LogUnavailableError("no answer")

    monkeypatch.setattr(Following, "close", closing)
    owner, name = (Following, "read_all") if fails == "read" else (MemoryLog, "session")
    monkeypatch.setattr(owner, name, failing)
    with pytest.raises(LogUnavailableError):
        bench.runner()
    assert len(closed) == 1


def test_what_is_open_is_committed_before_partitions_leave(bench: Bench) -> None:
    first, core = bench.runner("0")
    core.due = False
    bench.send(b"1")
    bench.send(b"2", partition=1)
    settle(first)
    assert bench.nothing_committed()
    second, other = bench.runner("1")
    settle(first, second)
    # Partition 1 went over, with what the first had made of it.
    assert bench.committed() == {0: 1, 1: 1}
    assert core.sums == {0: 1}
    bench.send(b"5", partition=1)
    settle(first, second)
    assert other.sums == {1: 7}
    assert bench.read(OUT, 1) == [b"2", b"7"]


def test_closing_commits_what_is_open(bench: Bench) -> None:
    runner, core = bench.runner()
    core.due = False
    bench.send(b"1")
    settle(runner)
    runner.close()
    assert bench.read(OUT) == [b"1"]
    assert bench.committed() == {0: 1}


def test_a_commit_that_fails_while_partitions_come_leaves_nothing_of_it_to_recover_beside(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside: list[dict[int, int]] = []

    class Watching(Adder):
        def restore(self, source: TopicPartition, entries: Mapping[str, bytes]) -> None:
            beside.append(dict(self.sums))
            super().restore(source, entries)

    first, core = bench.runner("0", make=Watching)
    second, _ = bench.runner("1")
    settle(first, second)
    bench.send(b"2", partition=1)
    settle(first, second)
    core.due = False
    bench.send(b"1")
    settle(first)
    assert core.sums == {0: 1}
    failing_commits(monkeypatch, LogError("aborted"), 1)
    beside.clear()
    # Its partition comes to the first, whose transaction is aborted.
    second.close()
    settle(first)
    core.due = True
    settle(first)
    assert 1 not in [total for sums in beside for total in sums.values()]
    assert core.sums == {0: 1, 1: 2}
    assert (bench.read(OUT), bench.read(OUT, 1)) == ([b"1"], [b"2"])


def test_partitions_whose_state_cannot_be_taken_over_end_the_session_that_was_given_them(
    bench: Bench,
) -> None:
    """Another attempt within it would leave them unread for good."""

    class Refusing(Adder):
        def restore(self, source: TopicPartition, entries: Mapping[str, bytes]) -> None:
            raise LogError("state entry b'x' is no partial")

    bench.send(b"1")
    first, _ = bench.runner()
    settle(first)
    first.close()
    second, _ = bench.runner(make=Refusing)
    with pytest.raises(LogUnavailableError, match="taking over partitions: state entry b'x'"):
        settle(second)
    second.close()
    third, core = bench.runner()
    bench.send(b"2")
    settle(third)
    assert core.sums == {0: 3}


def test_a_commit_that_fails_while_partitions_leave_is_left_to_the_next_owner(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, core = bench.runner("0")
    core.due = False
    bench.send(b"2", partition=1)
    settle(first)
    failing_commits(monkeypatch, LogError("aborted"), 1)
    core.due = True
    second, other = bench.runner("1")
    settle(first, second)
    assert other.sums == {1: 2}
    assert bench.read(OUT, 1) == [b"2"]


def test_a_commit_that_fails_while_partitions_leave_is_made_up_for_on_those_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, core = bench.runner("0")
    core.due = False
    bench.send(b"1", partition=0)
    bench.send(b"2", partition=1)
    settle(first)
    failing_commits(monkeypatch, LogError("aborted"), 1)
    core.due = True
    second, _ = bench.runner("1")
    settle(first, second)
    bench.send(b"3", partition=0)
    settle(first, second)
    assert (bench.read(OUT), bench.read(OUT, 1)) == ([b"1", b"4"], [b"2"])


class Telling(Adder):
    """Wants to know when its outputs are committed."""

    def __init__(self, catalog: Catalog) -> None:
        super().__init__(catalog)
        self.told: list[tuple[bytes | None, int]] = []

    @override
    def process(self, batch: RecordBatch) -> Outputs:
        made = super().process(batch)
        first = batch.values[0]
        return replace(made, committed=lambda now: self.told.append((first, now)))


def test_outputs_learn_of_their_commit_and_only_of_that(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, core = bench.runner(make=Telling)
    refusals = failing_commits(monkeypatch, LogError("aborted"), 1)
    bench.send(b"1")
    settle(runner)
    assert refusals == []
    assert isinstance(core, Telling)
    assert core.told == [(b"1", bench.clock.now())]


class Held(Executor):
    """Runs what is submitted when it is told to."""

    def __init__(self) -> None:
        self.waiting: list[Future[Any]] = []
        self._work: list[Callable[[], Any]] = []

    @override
    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._work.append(fn)
        self.waiting.append(future)
        return future

    def run(self) -> None:
        while self._work:
            self._work.pop(0)()
            self.waiting.pop(0).set_result(None)


def test_what_is_read_during_a_commit_goes_into_the_next_transaction(bench: Bench) -> None:
    held = Held()
    runner, core = bench.runner(committer=held)
    bench.send(b"1")
    runner.step(0.0)
    bench.send(b"2")
    runner.step(0.0)
    bench.send(b"4")
    runner.step(0.0)
    assert core.sums == {0: 7}
    assert bench.nothing_committed()
    assert not runner.idle()
    held.run()
    runner.step(0.0)
    assert bench.read(OUT) == [b"1", b"3", b"7"]
    assert bench.committed() == {0: 3}
    assert runner.idle()


def test_a_failed_commit_takes_back_what_was_read_since(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held()
    runner, core = bench.runner(committer=held)
    refusals = failing_commits(monkeypatch, LogError("aborted"), 1)
    bench.send(b"1")
    runner.step(0.0)
    held.run()
    bench.send(b"2")
    for _ in range(4):
        runner.step(0.0)
        held.run()
    runner.step(0.0)
    assert refusals == []
    assert core.sums == {0: 3}
    assert bench.read(OUT) == [b"1", b"3"]
    assert bench.committed() == {0: 2}


def test_a_lag_that_cannot_be_measured_stops_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, _ = bench.runner()
    runner.step(0.0)
    asked = []

    def silent(topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        asked.append(topics)
        raise LogUnavailableError("no answer")

    monkeypatch.setattr(bench.log, "end_offsets", silent)
    bench.clock.pause(10.0)
    bench.send(b"1")
    settle(runner)
    assert asked
    assert bench.committed() == {0: 1}


def test_positions_and_lag_tell_how_far_it_has_read(bench: Bench) -> None:
    runner, _ = bench.runner()
    bench.send(b"1", b"2", b"3")
    runner.step(0.0)
    assert runner.assigned()
    assert runner.positions()[TopicPartition(IN, 0)] == 2
    assert runner.lag == 1
    settle(runner)
    assert runner.positions()[TopicPartition(IN, 0)] == 3


def failing_commits(monkeypatch: pytest.MonkeyPatch, error: LogError, times: int) -> list[LogError]:
    """The next commits raise ``error``, and write nothing; what is left of them."""
    left = [error] * times
    commit: Callable[[MemorySession, Mapping[TopicPartition, int]], None] = MemorySession.commit

    def maybe(session: MemorySession, positions: Mapping[TopicPartition, int]) -> None:
        if left:
            session.abort()
            raise left.pop()
        commit(session, positions)

    monkeypatch.setattr(MemorySession, "commit", maybe)
    return left


class Asking(Adder):
    """Needs a registry that is silent for a while."""

    silent = 0

    @override
    def process(self, batch: RecordBatch) -> Outputs:
        if self.silent:
            self.silent -= 1
            raise RegistryUnavailableError("the schema registry does not answer")
        return super().process(batch)


def test_a_silent_registry_is_waited_for_and_nothing_is_rejected() -> None:
    bench = Bench()
    runner, core = bench.runner(make=Asking)
    assert isinstance(core, Asking)
    core.silent = 5
    bench.log.producer("tests").send(Send(IN, [None], [b"7"], 0))
    for _ in range(3):
        runner.step(0)
    assert core.silent == 0
    assert core.sums == {0: 7}
    assert sum(bench.log.end_offsets([TOPICS.dead_letters]).values()) == 0


def _steps(runner: Runner) -> None:
    for _ in range(3):
        runner.step(0)


class Naming(Adder):
    """Whose records name many ids of a registry that answers on one per try."""

    ids = 200
    tries = 0

    @override
    def process(self, batch: RecordBatch) -> Outputs:
        self.tries += 1
        if self.tries < self.ids:
            raise RegistryBehindError("answered on one of many ids")
        return super().process(batch)


def test_a_registry_that_cannot_keep_up_is_asked_on_after_going_back() -> None:
    bench = Bench()
    runner, core = bench.runner(make=Naming)
    assert isinstance(core, Naming)
    bench.log.producer("tests").send(Send(IN, [None], [b"7"], 0))
    longest = 0.0
    for _ in range(20):
        before = bench.clock.monotonic()
        runner.step(1.0)
        longest = max(longest, bench.clock.monotonic() - before)
    assert core.tries == core.ids
    assert core.sums == {0: 7}
    # No step is so long that the group would take this member for gone.
    assert longest <= 70
    assert sum(bench.log.end_offsets([TOPICS.dead_letters]).values()) == 0


def test_a_registry_that_stays_silent_stops_the_service_uncommitted() -> None:
    bench = Bench()
    runner, core = bench.runner(make=Asking)
    assert isinstance(core, Asking)
    core.silent = 1_000_000
    bench.log.producer("tests").send(Send(IN, [None], [b"7"], 0))
    with pytest.raises(RegistryUnavailableError):
        _steps(runner)
    runner.close()
    again, core = bench.runner()
    for _ in range(3):
        again.step(0)
    assert core.sums == {0: 7}


def test_a_backlog_of_few_records_each_is_read_in_larger_polls(bench: Bench) -> None:
    bench.send(*[b"1"] * 100)
    runner, _ = bench.runner()
    ends = []
    for _ in range(8):
        runner.step(0.0)
        ends.append(runner.positions().get(TopicPartition(IN, 0), 0))
    # Two, as it was asked for, and up to eight times as many.
    read = [after - before for before, after in pairwise([0, *ends]) if after > before]
    assert read[:5] == [2, 4, 8, 16, 16]
    runner.close()
