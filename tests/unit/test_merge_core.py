"""The merge stage: windows close by watermark, and are revised, once each."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest

from driftloop.adapters.clock import ManualClock
from driftloop.adapters.faust import TableRecord
from driftloop.adapters.memory import MemoryLog
from driftloop.featurestats import merged
from driftloop.featurestats.idleness import Idleness
from driftloop.featurestats.merge import MergeCore, MergeProcessor
from driftloop.featurestats.publications import PUBLISHED
from driftloop.featurestats.stage import MergeWork
from driftloop.kernel import metrics
from driftloop.kernel.codec.records import codec
from driftloop.kernel.errors import DecodeError, LogError
from driftloop.kernel.ports import RecordBatch, TopicPartition
from driftloop.kernel.processor import ControlBehindError
from driftloop.kernel.records import Partial, Window
from driftloop.kernel.statistics.merge import merge_statistics, statistics_digest
from driftloop.kernel.stores import MemoryStore
from window_builders import (
    LATENESS,
    RETENTION,
    SIZE,
    CountingMeter,
    catalog,
    partial,
    raw_batch,
)

IDLE = 1000
CLOSE = SIZE + LATENESS
EXPIRE = CLOSE + RETENTION


class Merging(MergeCore):
    def take(self, partial: Partial, now: int) -> list[Window]:
        """Of a partial alone, as it is written."""
        return self.merge(partial, codec(Partial).encode(partial), now)

    def pass_time(self, now: int) -> list[Window]:
        """Nothing is under way of whoever is silent."""
        self.let_go(self.silent(now))
        return self.on_time()


def core(meter: CountingMeter | None = None, store: MemoryStore | None = None) -> Merging:
    return Merging(catalog(1, 2), store, idle_after_ms=IDLE, meter=meter)


def names(windows: list[Window]) -> list[tuple[int, int, int]]:
    return [(w.start, w.version, w.revision) for w in windows]


def test_a_window_closes_when_every_partition_has_passed_it() -> None:
    merge = core()
    assert merge.take(partial(0, watermark=50), 0) == []
    assert merge.take(partial(100, watermark=CLOSE), 0) == []
    (window,) = merge.take(partial(0, watermark=CLOSE, partition=1), 0)
    assert names([window]) == [(0, 1, 0)]
    assert [s.partition for s in window.sources] == [0, 1]
    assert window.watermark == CLOSE
    both = merge_statistics(
        partial(0, watermark=0).statistics, partial(0, watermark=0, partition=1).statistics
    )
    assert window.digest == statistics_digest(both)
    assert (window.rows, window.statistics) == (6, both)


def test_windows_close_in_order_of_start_the_newest_version_first() -> None:
    merge = core()
    for start, version in ((100, 2), (0, 2), (100, 1), (0, 1)):
        part = partial(start, watermark=0, version_number=version, source_partitions=1)
        assert merge.take(part, 0) == []
    closing = partial(300, watermark=350, source_partitions=1)
    assert names(merge.take(closing, 0)) == [(0, 2, 0), (0, 1, 0), (100, 2, 0), (100, 1, 0)]


def test_a_window_says_how_many_shadows_its_start_and_version_had() -> None:
    merge = core()
    for start, version, shadow in ((0, 1, 3), (0, 1, -1), (0, 2, 1), (100, 1, 3)):
        part = partial(start, watermark=0, version_number=version, source_partitions=1)
        assert merge.take(replace(part, shadow=shadow), 0) == []
    windows = merge.take(partial(200, watermark=100 + CLOSE, source_partitions=1), 0)
    assert [(w.start, w.version, w.shadow, w.parts) for w in windows] == [
        (0, 2, 1, 1),
        (0, 1, -1, 2),
        (0, 1, 3, 2),
        (100, 1, 3, 1),
    ]
    # One of late rows alone counts those before, which were given out when it was not there.
    assert merge.take(replace(partial(0, watermark=0, source_partitions=1), shadow=7), 0) == []
    assert [(w.shadow, w.revision, w.parts) for w in merge.pass_time(0)] == [(7, 0, 3)]


def test_partials_in_any_order_and_repetition_make_the_same_windows() -> None:
    parts = [
        partial(start, watermark=0, partition=p, end_offset=end, rows=end)
        for start in (0, 100)
        for p in (0, 1)
        for end in (2, 5, 9)
    ]
    closing = [partial(400, watermark=400, partition=p) for p in (0, 1)]
    digests = set()
    for seed in range(5):
        merge = core()
        shuffled = [*parts, *parts]
        random.Random(seed).shuffle(shuffled)
        windows = [w for part in [*shuffled, *closing] for w in merge.take(part, 0)]
        digests.add(tuple((w.id, w.rows, w.sources, w.digest) for w in windows))
    assert len(digests) == 1
    assert [rows for _, rows, _, _ in digests.pop()] == [18, 18]


def test_late_partials_make_one_revision_at_the_next_time_step() -> None:
    merge = core()
    merge.take(partial(0, watermark=50), 0)
    merge.take(partial(0, watermark=CLOSE, partition=1), 0)
    assert names(merge.take(partial(100, watermark=CLOSE), 0)) == [(0, 1, 0)]
    for p in (0, 1):
        late = partial(0, watermark=CLOSE, partition=p, end_offset=20, rows=5, late=2)
        assert merge.take(late, 0) == []
    (window,) = merge.pass_time(0)
    assert names([window]) == [(0, 1, 1)]
    assert (window.rows, window.late) == (10, 4)
    assert merge.pass_time(0) == []


def test_a_window_of_late_rows_alone_is_given_out() -> None:
    merge = core()
    merge.take(partial(200, watermark=250, source_partitions=1), 0)
    assert merge.take(partial(0, watermark=250, source_partitions=1, late=3), 0) == []
    assert names(merge.pass_time(0)) == [(0, 1, 0)]


def test_an_old_partial_of_a_closed_window_revises_nothing() -> None:
    merge = core()
    merge.take(partial(0, watermark=CLOSE, source_partitions=1, end_offset=10), 0)
    merge.take(partial(0, watermark=CLOSE, source_partitions=1, end_offset=5), 0)
    assert merge.pass_time(0) == []


def test_an_idle_partition_does_not_hold_windows_back() -> None:
    merge = core()
    merge.take(partial(0, watermark=50, partition=1), 0)
    merge.take(partial(100, watermark=CLOSE), 0)
    assert merge.pass_time(IDLE - 1) == []
    merge.take(partial(100, watermark=CLOSE + 1, end_offset=11), IDLE - 1)
    assert names(merge.pass_time(IDLE)) == [(0, 1, 0)]


def test_idleness_does_not_pass_the_highest_event_time() -> None:
    merge = core()
    merge.take(partial(0, watermark=50), 0)
    assert merge.pass_time(100 * IDLE) == []


def test_a_partition_that_comes_back_late_revises_the_window() -> None:
    merge = core()
    merge.take(partial(0, watermark=CLOSE), 0)
    merge.pass_time(0)
    assert names(merge.pass_time(IDLE)) == [(0, 1, 0)]
    merge.take(partial(0, watermark=50, partition=1), IDLE)
    (window,) = merge.pass_time(IDLE)
    assert (window.revision, window.rows) == (1, 6)


def test_partials_of_expired_windows_are_counted_unless_they_are_repeats() -> None:
    meter = CountingMeter()
    merge = core(meter)
    first = partial(0, watermark=EXPIRE, source_partitions=1, end_offset=10, rows=3)
    assert names(merge.take(first, 0)) == [(0, 1, 0)]
    merge.take(first, 0)
    too_late = metrics.TOO_LATE_ROWS.name, "m", "predictions"
    assert too_late not in meter.counts
    merge.take(partial(0, watermark=0, source_partitions=1, end_offset=11, rows=4), 0)
    assert meter.counts[too_late] == 4
    assert merge.pass_time(0) == []


def test_a_revision_that_waits_is_given_out_before_its_window_expires() -> None:
    merge = core()
    merge.take(partial(0, watermark=CLOSE, source_partitions=1), 0)
    merge.take(partial(0, watermark=CLOSE, source_partitions=1, end_offset=20), 0)
    expiring = partial(400, watermark=EXPIRE, source_partitions=1)
    assert names(merge.take(expiring, 0)) == [(0, 1, 1)]


def test_a_revision_is_given_out_though_a_kill_came_before_it() -> None:
    """The partial is in the table; what comes next lets its window expire."""
    before = core()
    first = partial(0, watermark=CLOSE, source_partitions=1)
    late = partial(0, watermark=CLOSE, source_partitions=1, end_offset=20, rows=5)
    expiring = partial(400, watermark=EXPIRE, source_partitions=1, end_offset=30)
    windows = before.take(first, 0)
    before.take(late, 0)
    after = core()
    after.restore((key, value) for key, value in before.entries().items() if value is not None)
    for window in windows:
        after.published(window)
    given = [window for part in (late, expiring) for window in after.take(part, 0)]
    assert [(w.start, w.revision, w.rows) for w in given] == [(0, 1, 5)]


def test_published_windows_are_not_given_out_again_after_a_restart() -> None:
    before = core()
    parts = [
        partial(0, watermark=CLOSE, partition=0),
        partial(0, watermark=CLOSE, partition=1),
    ]
    windows = [w for part in parts for w in before.take(part, 0)]
    after = core()
    for window in windows:
        after.published(window)
    given = [w for part in parts for w in after.take(part, 0)] + after.pass_time(0)
    assert given == []
    after.take(partial(0, watermark=CLOSE, partition=1, end_offset=30, rows=4), 0)
    assert names(after.pass_time(0)) == [(0, 1, 1)]


def test_a_table_behind_the_windows_topic_gives_out_no_smaller_window() -> None:
    whole = core()
    whole.take(partial(0, watermark=CLOSE, end_offset=10), 0)
    (window,) = whole.take(partial(0, watermark=CLOSE, partition=1, end_offset=10), 0)
    behind = core()
    behind.published(window)
    behind.take(partial(0, watermark=CLOSE, end_offset=5, rows=1), 0)
    assert behind.pass_time(0) == []
    behind.take(partial(0, watermark=CLOSE, end_offset=40, rows=9), 0)
    assert behind.pass_time(0) == []
    behind.take(partial(0, watermark=CLOSE, partition=1, end_offset=10), 0)
    assert names(behind.pass_time(0)) == [(0, 1, 1)]


@pytest.mark.parametrize("cut", range(7))
def test_a_restart_anywhere_gives_the_same_windows(cut: int) -> None:
    def steps() -> list[Partial]:
        return [
            partial(0, watermark=50),
            partial(0, watermark=60, partition=1),
            partial(100, watermark=CLOSE, end_offset=12),
            partial(100, watermark=CLOSE, partition=1, end_offset=12),
            partial(0, watermark=CLOSE, end_offset=20, rows=5, late=2),
            partial(200, watermark=EXPIRE, partition=1, end_offset=30),
            partial(200, watermark=EXPIRE, end_offset=30),
        ]

    def play(restart: int | None) -> list[tuple[str, int, str]]:
        merge, table, given = core(), dict[bytes, bytes](), []
        for number, part in enumerate(steps()):
            if number == restart:
                merge = core()
                merge.restore(table.items())
            given += merge.take(part, 0) + merge.pass_time(0)
            for key, value in merge.entries().items():
                if value is None:
                    table.pop(key, None)
                else:
                    table[key] = value
        return [(w.id, w.revision, w.digest) for w in given]

    assert play(cut) == play(None)


def test_what_a_window_was_merged_from_lies_in_the_store_until_it_expires() -> None:
    store = MemoryStore()
    merge = core(store=store)

    def kept() -> list[bytes]:
        return [key for key, _ in store.scan(b"", b"\xff")]

    merge.take(partial(0, watermark=50, source_partitions=1), 0)
    assert kept() == []
    merge.take(partial(100, watermark=CLOSE, source_partitions=1), 0)
    assert kept() == [b"m/predictions/0/1/-/0"]
    merge.take(partial(0, watermark=CLOSE, end_offset=20, rows=7, source_partitions=1), 0)
    (revised,) = merge.pass_time(0)
    assert (revised.revision, revised.rows) == (1, 7)
    merge.take(partial(500, watermark=EXPIRE, source_partitions=1), 0)
    assert kept() == [b"m/predictions/100/1/-/0"]
    merge.drop(catalog().topics.partition("m"))
    assert kept() == []


def test_after_a_restart_a_part_that_does_not_fit_is_refused_still() -> None:
    before, after = core(), core()
    before.take(partial(0, watermark=50), 0)
    after.restore((key, value) for key, value in before.entries().items() if value is not None)
    good = partial(0, watermark=50, partition=1)
    misfit = replace(good, statistics=replace(good.statistics, numeric=()))
    with pytest.raises(DecodeError, match="not those of the window's others"):
        after.take(misfit, 0)


def test_state_that_cannot_be_read_is_no_fault_of_the_record_that_needs_it() -> None:
    store = MemoryStore()
    merge = core(store=store)
    merge.take(partial(0, watermark=CLOSE, source_partitions=1), 0)
    ((entry, _),) = store.scan(b"", b"\xff")
    store.write({entry: b"no partial"})
    merge.take(partial(0, watermark=CLOSE, partition=1, source_partitions=1), 0)
    with pytest.raises(LogError, match="m/predictions/0/1/-/0"):
        merge.pass_time(0)


def test_publications_are_forgotten_some_time_after_their_windows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(merged, "_REMEMBERED", 3)
    merge = core()
    gone: list[bytes] = []
    for start in range(0, 3000, 100):
        merge.take(partial(start, watermark=start, source_partitions=1), 0)
        gone += [
            key
            for key, value in merge.entries().items()
            if value is None and key.endswith(PUBLISHED.encode())
        ]
    assert gone == [
        f"m/predictions/{start}/1/-/published".encode() for start in range(0, 2500, 100)
    ]
    (stream,) = merge._streams.values()
    assert len(stream._published) == len(stream._remembered) == 3


@pytest.mark.parametrize("restored", [0, 10])
def test_of_a_long_windows_topic_no_more_is_learnt_than_is_remembered(
    restored: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merged, "_REMEMBERED", 3)
    before = core()
    written = [
        window
        for start in range(0, 3000, 100)
        for window in before.take(partial(start, watermark=start, source_partitions=1), 0)
    ]
    after, table = core(), core()
    for window in written[:restored]:
        table.published(window)
    known = {key: value for key, value in table.entries().items() if value is not None}
    after.restore(known.items())
    for window in written:
        after.published(window)
    entries = after.entries()
    (stream,) = after._streams.values()
    assert len(stream._published) == len(stream._remembered) == 3
    # Nothing is written of what was learnt and forgotten; what the table has is deleted.
    assert {key for key, value in entries.items() if value is None} == set(known)
    assert len(entries) - len(known) == len(stream._published)
    replayed = partial(2700, watermark=2700, source_partitions=1)
    assert after.take(replayed, 0) == after.pass_time(0) == []


def test_dropping_a_control_partition_forgets_its_models() -> None:
    merge = core()
    merge.take(partial(0, watermark=50, source_partitions=1), 0)
    merge.drop(catalog().topics.partition("m"))
    assert merge.take(partial(100, watermark=CLOSE, source_partitions=1), 0) == []


# Behind the runner's protocol.


def processor() -> MergeProcessor:
    known = catalog(1, 2)
    log = MemoryLog(ManualClock())
    return MergeProcessor(MergeCore(known, idle_after_ms=IDLE), known, Idleness(known, log))


def batch_of(*partials: Partial) -> list[bytes]:
    return [codec(Partial).encode(part) for part in partials]


def test_the_processor_writes_windows_to_the_models_partition() -> None:
    merge = processor()
    values = batch_of(partial(0, watermark=CLOSE, source_partitions=1), partial(100, watermark=250))
    merge.process(raw_batch(values, "driftloop.partials"))
    sends = merge.on_time(0).sends
    assert [(s.topic, s.keys, s.partition) for s in sends] == [
        ("driftloop.windows", [b"m"], catalog().topics.partition("m"))
    ]
    windows = [codec(Window).decode(value) for value in itertools.chain(*(s.values for s in sends))]
    assert names(windows) == [(0, 1, 0)]


def test_the_processors_state_comes_back() -> None:
    before, after = processor(), processor()
    closed = partial(0, watermark=CLOSE, source_partitions=1)
    before.process(raw_batch(batch_of(closed), "driftloop.partials"))
    before.on_time(0)
    state = {key: value for key, value in before.snapshot().items() if value is not None}
    source = TopicPartition("driftloop.partials", catalog().topics.partition("m"))
    after.restore(source, state)
    after.process(raw_batch(batch_of(closed), "driftloop.partials"))
    assert not after.on_time(0)


def test_an_undeclared_model_is_asked_for_before_anything_changes() -> None:
    merge = processor()
    values = batch_of(partial(0, watermark=0), partial(0, watermark=0, model="other"))
    with pytest.raises(ControlBehindError, match="other"):
        merge.process(raw_batch(values, "driftloop.partials"))
    assert not merge.on_time(10 * IDLE)


@pytest.mark.parametrize("number", [-1, 1 << 24])
@pytest.mark.parametrize("field", ["partition", "source_partitions"])
def test_a_partial_of_a_partition_that_cannot_be_becomes_a_dead_letter(
    field: str, number: int
) -> None:
    good = partial(0, watermark=50)
    if field == "partition":
        bad = replace(good, source=replace(good.source, partition=number))
    else:
        bad = replace(good, source_partitions=number)

    outputs = processor().process(raw_batch(batch_of(bad, good), "driftloop.partials"))

    assert [(letter.offset, letter.reason) for letter in outputs.dead_letters] == [
        (0, "out_of_limits")
    ]


def test_what_is_no_partial_becomes_a_dead_letter() -> None:
    outputs = processor().process(raw_batch([b"no partial at all"], "driftloop.partials"))
    assert [letter.reason for letter in outputs.dead_letters] == ["not_avro"]


class Unhurried:
    """Lets the clock go on instead of waiting."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.waits = 0

    def wait(self, seconds: float) -> bool:
        self.waits += 1
        self.clock.advance(int(seconds * 1000))
        return False


def test_models_that_nobody_declares_hold_nothing_up_and_removed_ones_stop_nothing() -> None:
    clock = ManualClock(0)
    log = MemoryLog(clock)
    known = catalog(1, 2)
    log.ensure_topics(known.topics.specs())
    encode = codec(Partial).encode

    def stage() -> MergeWork:
        return MergeWork(MergeCore(known), known, log, clock, CountingMeter())

    work = stage()
    work._stopped = waiting = Unhurried(clock)  # type: ignore[assignment]
    own = encode(partial(0, watermark=10))
    other = encode(partial(0, watermark=10, model="other"))
    records = [TableRecord(0, offset, 0, b"k", other) for offset in range(13)]
    found = work.process([*records, TableRecord(0, 13, 0, b"k", own)])
    assert (len(found.sends), waiting.waits) == (13, 0)
    assert found.entries
    models = known.topics.models
    known.apply(RecordBatch(models, 0, [1], [0], [b"m"], [None]))
    assert not work.on_time().sends
    again = stage()
    again._stopped = waiting  # type: ignore[assignment]
    again.gained(0, [(key, value) for key, value in found.entries.items() if value is not None])
    assert not again.on_time().sends
    assert waiting.waits == 0
