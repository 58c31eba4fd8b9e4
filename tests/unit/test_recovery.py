"""State restored from the changelog: what was committed, all of it and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from typing_extensions import override

from driftloop.adapters.clock import ManualClock
from driftloop.adapters.memory import MemoryLog
from driftloop.kernel.errors import LogUnavailableError
from driftloop.kernel.ports import RecordBatch, Send, TopicPartition
from driftloop.kernel.processor import Outputs
from driftloop.kernel.recovery import ChangelogRecovery
from driftloop.kernel.topics import ControlTopics

TOPICS = ControlTopics("t.", partitions=2)
LEAD = TopicPartition("lead", 0)
COMPANION = TopicPartition("companion", 0)
A, B = "m", "p"
PARTITION = TOPICS.partition(A)


class Keeper:
    """A core that is nothing but state."""

    def __init__(self, changes: Mapping[str, bytes | None] | None = None) -> None:
        self.changes = dict(changes or {})
        self.restored: dict[TopicPartition, Mapping[str, bytes]] = {}

    def process(self, batch: RecordBatch) -> Outputs:
        return Outputs()

    def on_time(self, now: int) -> Outputs:
        return Outputs()

    def commit_due(self, now: int) -> bool:
        return True

    def flush(self) -> Outputs:
        return Outputs()

    def snapshot(self) -> Mapping[str, bytes | None]:
        changes, self.changes = self.changes, {}
        return changes

    def restore(self, source: TopicPartition, entries: Mapping[str, bytes]) -> None:
        self.restored[source] = {**self.restored.get(source, {}), **entries}

    def drop(self, source: TopicPartition) -> None:
        self.restored.pop(source, None)


class OpenTransaction(MemoryLog):
    """Something undecided lies at the end of every partition, for a number of looks."""

    looks = 0

    @override
    def high_watermarks(self, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        return {source: end + 1 for source, end in super().end_offsets(topics).items()}

    @override
    def end_offsets(self, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        self.looks -= 1
        decided = 1 if self.looks < 0 else 0
        return {source: end + decided for source, end in super().end_offsets(topics).items()}


@pytest.fixture
def log() -> MemoryLog:
    made = MemoryLog(ManualClock())
    made.ensure_topics(TOPICS.specs())
    return made


def recovery(
    log: MemoryLog, core: Keeper, service: str = "s", clock: ManualClock | None = None
) -> ChangelogRecovery:
    def scope(source: TopicPartition) -> Sequence[tuple[int, str]]:
        return [] if source == COMPANION else [(PARTITION, f"{A}/{source.partition}/")]

    return ChangelogRecovery(log, clock or ManualClock(), TOPICS, service, core, scope)


def commit(
    log: MemoryLog, entries: Mapping[str, bytes | None], service: str = "s"
) -> Sequence[Send]:
    sends = recovery(log, Keeper(entries), service).changes().sends
    for send in sends:
        log.producer("test").send(send)
    return sends


def restored(log: MemoryLog, *sources: TopicPartition) -> dict[TopicPartition, Mapping[str, bytes]]:
    core = Keeper()
    recovery(log, core).recover(sources or (LEAD,))
    return core.restored


def test_the_newest_value_of_each_entry_is_restored(log: MemoryLog) -> None:
    commit(log, {f"{A}/0/x": b"1", f"{A}/0/y": b"2"})
    commit(log, {f"{A}/0/x": b"3"})
    assert restored(log) == {LEAD: {f"{A}/0/x": b"3", f"{A}/0/y": b"2"}}


def test_a_deleted_entry_is_not_restored(log: MemoryLog) -> None:
    commit(log, {f"{A}/0/x": b"1", f"{A}/0/y": b"2"})
    commit(log, {f"{A}/0/x": None})
    assert restored(log) == {LEAD: {f"{A}/0/y": b"2"}}


def test_a_source_gets_the_entries_of_its_own_scope_only(log: MemoryLog) -> None:
    commit(log, {f"{A}/0/x": b"1", f"{A}/1/x": b"2"})
    other = TopicPartition("lead", 1)
    assert restored(log, LEAD, other) == {LEAD: {f"{A}/0/x": b"1"}, other: {f"{A}/1/x": b"2"}}


def test_what_lies_in_several_partitions_is_taken_over_from_one_after_the_other(
    log: MemoryLog,
) -> None:
    assert TOPICS.partition(A) != TOPICS.partition(B)
    taken: list[Mapping[str, bytes]] = []

    class Taking(Keeper):
        @override
        def restore(self, source: TopicPartition, entries: Mapping[str, bytes]) -> None:
            taken.append(entries)

    def scope(source: TopicPartition) -> Sequence[tuple[int, str]]:
        return [(TOPICS.partition(model), f"{model}/0/") for model in (A, B)]

    written = {f"{A}/0/x": b"1", f"{A}/01/x": b"2", f"{B}/0/x": b"3", f"{B}/0": b"4"}
    commit(log, written)
    ChangelogRecovery(log, ManualClock(), TOPICS, "s", Taking(), scope).recover([LEAD])
    assert sorted(taken, key=list) == [{f"{A}/0/x": b"1"}, {f"{B}/0/x": b"3"}]


@pytest.mark.parametrize("most", [1, 3, 1000])
def test_state_that_is_large_is_taken_over_in_parts(log: MemoryLog, most: int) -> None:
    commit(log, {f"{A}/0/{i}": b"old" for i in range(6)})
    commit(log, {f"{A}/0/{i}": b"%03d" % i for i in range(1, 6)})
    commit(log, {f"{A}/0/2": None, f"{A}/1/0": b"007"})
    taken: list[tuple[TopicPartition, Mapping[str, bytes]]] = []

    class Taking(Keeper):
        @override
        def restore(self, source: TopicPartition, entries: Mapping[str, bytes]) -> None:
            taken.append((source, entries))

    def scope(source: TopicPartition) -> Sequence[tuple[int, str]]:
        return [(PARTITION, f"{A}/{source.partition}/")]

    other = TopicPartition("lead", 1)
    whole = ChangelogRecovery(log, ManualClock(), TOPICS, "s", Taking(), scope, bytes_at_once=most)
    whole.recover([LEAD, other])
    assert all(sum(map(len, part.values())) < most + 3 for _, part in taken)
    found: dict[TopicPartition, dict[str, bytes]] = {LEAD: {}, other: {}}
    for source, part in taken:
        assert not found[source].keys() & part.keys()
        found[source].update(part)
    assert found == restored(log, LEAD, other)


def test_what_was_held_before_is_dropped(log: MemoryLog) -> None:
    core = Keeper()
    core.restored[LEAD] = {"old": b"0"}
    commit(log, {f"{A}/0/x": b"1"})
    recovery(log, core).recover([LEAD])
    assert core.restored == {LEAD: {f"{A}/0/x": b"1"}}


def test_another_services_entries_stay_its_own(log: MemoryLog) -> None:
    commit(log, {f"{A}/0/x": b"1"}, service="other")
    assert restored(log) == {LEAD: {}}


def test_a_companion_owns_no_state(log: MemoryLog) -> None:
    commit(log, {f"{A}/0/x": b"1"})
    assert set(restored(log, LEAD, COMPANION)) == {LEAD}


def test_entries_lie_in_the_control_partition_of_their_model(log: MemoryLog) -> None:
    sends = commit(log, {f"{A}/0/x": b"1", f"{B}/0/x": b"2"})
    found = {key: send.partition for send in sends for key in send.keys}
    assert found == {
        f"s/{A}/0/x".encode(): TOPICS.partition(A),
        f"s/{B}/0/x".encode(): TOPICS.partition(B),
    }


def test_nothing_changed_writes_nothing(log: MemoryLog) -> None:
    assert commit(log, {}) == []


def test_restoring_leaves_the_position_to_the_groups_offsets(log: MemoryLog) -> None:
    assert recovery(log, Keeper()).recover([LEAD]) == {}


def test_what_is_undecided_is_waited_for() -> None:
    log = OpenTransaction(ManualClock())
    log.ensure_topics(TOPICS.specs())
    commit(log, {f"{A}/0/x": b"1"})
    log.looks = 3
    assert restored(log) == {LEAD: {f"{A}/0/x": b"1"}}
    assert log.looks < 0


def test_what_stays_undecided_ends_the_waiting() -> None:
    class Passing(ManualClock):
        @override
        def monotonic(self) -> float:
            self.advance(10_000)
            return super().monotonic()

    log = OpenTransaction(ManualClock())
    log.ensure_topics(TOPICS.specs())
    log.looks = 1 << 30
    with pytest.raises(LogUnavailableError, match="transaction open"):
        recovery(log, Keeper(), clock=Passing()).recover([LEAD])
