"""The sketch stage: partials depend on a partition's rows in offset order, on nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.adapters.memory import MemoryLog
from driftloop.featurestats.sketch import SketchCore, _shape
from driftloop.kernel import metrics
from driftloop.kernel.codec.records import codec
from driftloop.kernel.codec.rows import encode_predictions
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.errors import VerificationError
from driftloop.kernel.ports import RecordBatch, Send, TopicPartition, TopicSpec
from driftloop.kernel.processor import ControlBehindError
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import OffsetRange, Partial, Profile, Stream, Window
from driftloop.kernel.statistics.merge import statistics_digest
from driftloop.kernel.stores import MemoryStore
from driftloop.kernel.verification import recompute_window, verify_window
from window_builders import (
    LATENESS,
    RETENTION,
    SIZE,
    CountingMeter,
    batch,
    catalog,
    cut,
    declaration,
    decoded_partials,
    outcomes,
    predictions,
    profile,
    raw_batch,
)

SOURCE = TopicPartition("m.predictions", 0)


def flushed(core: SketchCore) -> list[Partial]:
    (send,) = core.flush().sends
    return decoded_partials(send.values)


def run(core: SketchCore, records: RecordBatch, cuts: list[int]) -> dict[tuple[int, ...], Partial]:
    """The last partial of every window, flushing at each cut."""
    found = {}
    for low, high in zip([0, *cuts], [*cuts, len(records)], strict=True):
        if high > low:
            core.process(cut(records, low, high))
        for send in core.flush().sends:
            for partial in decoded_partials(send.values):
                found[partial.start, partial.version, partial.shadow] = partial
    return found


def test_a_partial_says_what_its_partition_contributed() -> None:
    core = SketchCore(catalog(1))
    core.process(batch(predictions([10, 20, 110, 30]), partition=1, first=7))
    (send,) = core.flush().sends
    assert send.topic == "driftloop.partials"
    assert send.partition == catalog().topics.partition("m")
    assert send.keys == [b"m/predictions/0/1/-/1", b"m/predictions/100/1/-/1"]
    early, late = decoded_partials(send.values)
    assert early.source == OffsetRange("m.predictions", 1, 7, 11)
    assert late.source == OffsetRange("m.predictions", 1, 9, 10)
    assert (early.start, early.end, early.statistics.rows) == (0, SIZE, 3)
    assert early.source_partitions == declaration().partitions


def test_only_the_last_partial_of_a_flush_carries_the_watermark() -> None:
    core = SketchCore(catalog(1, 2))
    core.process(batch(predictions([10, 110, 130, 320], versions=[1, 1, 2, 2])))
    assert [p.watermark for p in flushed(core)] == [0, 0, 0, 320]
    core.process(batch(predictions([310, 430]), first=4))
    assert [p.watermark for p in flushed(core)] == [320, 430]


def test_partials_are_cumulative_over_flushes() -> None:
    core = SketchCore(catalog(1))
    records = batch(predictions([10, 20, 30]))
    partials = run(core, records, [1, 2])
    assert partials[0, 1, -1].statistics.rows == 3
    assert partials[0, 1, -1].source == OffsetRange("m.predictions", 0, 0, 3)


def test_unchanged_windows_are_not_written_again() -> None:
    core = SketchCore(catalog(1))
    core.process(batch(predictions([10])))
    core.flush()
    assert core.flush().sends == []


TIMES = st.lists(st.integers(0, 1200), min_size=1, max_size=60)


@settings(max_examples=25, deadline=None)
@given(times=TIMES, data=st.data())
def test_batching_flushing_and_restoring_change_no_partial(
    times: list[int], data: st.DataObject
) -> None:
    block = outcomes(
        times,
        versions=[1 + t % 2 for t in times],
        shadows=[-1 if t % 3 else 3 for t in times],
    )
    records = batch(block)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(times)), max_size=4)))
    whole, pieces = SketchCore(catalog(1, 2)), SketchCore(catalog(1, 2))
    expected = run(whole, records, [])
    state: dict[str, bytes] = {}
    found: dict[tuple[int, ...], Partial] = {}
    for low, high in zip([0, *cuts], [*cuts, len(records)], strict=True):
        if high > low:
            pieces.process(cut(records, low, high))
        for send in pieces.flush().sends:
            for partial in decoded_partials(send.values):
                found[partial.start, partial.version, partial.shadow] = partial
        for key, value in pieces.snapshot().items():
            if value is None:
                state.pop(key, None)
            else:
                state[key] = value
        # In parts, as from several partitions of the changelog.
        pieces = SketchCore(catalog(1, 2))
        for part in (dict(list(state.items())[::2]), dict(list(state.items())[1::2])):
            pieces.restore(records.source, part)
    assert found.keys() == expected.keys()
    for key, partial in expected.items():
        assert found[key].source == partial.source
        assert found[key].late == partial.late
        assert statistics_digest(found[key].statistics) == statistics_digest(partial.statistics)


@settings(max_examples=25, deadline=None)
@given(times=TIMES, data=st.data())
def test_windows_that_leave_memory_come_back_as_they_were(
    times: list[int], data: st.DataObject
) -> None:
    records = batch(predictions(times))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(times)), max_size=6)))
    expected = run(SketchCore(catalog(1, 2)), records, cuts)
    found = run(SketchCore(catalog(1, 2), memory_bytes=0), records, cuts)
    encode = codec(Partial).encode  # a minimum may be NaN
    assert {k: encode(p) for k, p in found.items()} == {k: encode(p) for k, p in expected.items()}


def test_windows_without_rows_for_longest_leave_memory_first() -> None:
    core = SketchCore(catalog(1, 2))
    core.process(batch(predictions([10, 10], versions=[1, 2])))
    core.flush()
    (windows,) = core._sources[SOURCE].values()
    size = sum(own for _, own, _ in windows.held())
    core._memory_bytes = size
    core.process(batch(predictions([20], versions=[2]), first=2))
    core.flush()
    assert len(list(windows.held())) == 2
    core._memory_bytes = size - 1
    core.process(batch(predictions([30], versions=[2]), first=3))
    core.flush()
    assert [key.version for _, _, key in windows.held()] == [2]


def test_only_windows_that_are_closed_lie_in_the_store_and_no_longer_than_they_may() -> None:
    store = MemoryStore()
    core = SketchCore(catalog(1), store)

    def kept() -> list[bytes]:
        return [key for key, _ in store.scan(b"", b"\xff")]

    def take(time: int, first: int) -> None:
        core.process(batch(predictions([time]), first=first))
        core.flush()

    take(10, 0)
    assert kept() == []
    take(SIZE + LATENESS, 1)
    assert kept() == [b"m/predictions/0/0/1/-1"]
    take(20, 2)  # late
    assert kept() == [b"m/predictions/0/0/1/-1"]
    take(SIZE + LATENESS + RETENTION, 3)
    assert kept() == [b"m/predictions/0/100/1/-1"]
    core.drop(SOURCE)
    assert kept() == []


def test_rows_of_many_windows_are_flushed_before_these_take_more_than_they_may() -> None:
    core = SketchCore(catalog(1), flush_interval_ms=1 << 40)
    core.process(batch(predictions([10])))
    core.flush()
    (windows,) = core._sources[SOURCE].values()
    ((_, size, _),) = windows.held()
    core._memory_bytes = 6 * size
    for number in range(5):
        core.process(batch(predictions([100 + SIZE * number]), first=1 + number))
        # Half of what they may take is left to those that were there before.
        assert core.commit_due(0) is (number >= 3)
    core.flush()
    assert not core.commit_due(0)


def test_windows_of_another_topic_are_no_part_of_a_models() -> None:
    """It was removed, and declared again with topics of its own."""
    before, after = SketchCore(catalog(1)), SketchCore(catalog(1))
    before.process(batch(predictions([10, 20])))
    before.flush()
    state = {
        key: value.replace(b"m.predictions", b"o.predictions")
        for key, value in before.snapshot().items()
        if value is not None
    }
    after.restore(SOURCE, state)
    after.process(batch(predictions([30])))
    (partial,) = flushed(after)
    assert (partial.source, partial.statistics.rows) == (OffsetRange("m.predictions", 0, 0, 1), 1)


X, Y = declaration().numeric


@pytest.mark.parametrize(
    "declared",
    [
        replace(declaration(), numeric=(Y, X)),
        replace(declaration(), windows=replace(declaration().windows, size=SIZE // 2)),
    ],
    ids=["columns", "size"],
)
def test_windows_of_another_shape_are_no_part_of_a_models(declared: Declaration) -> None:
    """It was removed, and declared again with its features in another order, or other windows."""
    before = SketchCore(catalog(1))
    before.process(batch(predictions([10, 20])))
    before.flush()
    state = {key: value for key, value in before.snapshot().items() if value is not None}
    after = SketchCore(catalog(1, declared=declared))
    after.restore(SOURCE, state)
    after.process(batch(predictions([30]), first=2))
    (partial,) = flushed(after)
    assert (partial.source, partial.statistics.rows) == (OffsetRange("m.predictions", 0, 2, 3), 1)


def test_windows_in_memory_say_what_they_take() -> None:
    core = SketchCore(catalog(1))
    core.process(batch(predictions(list(range(90)) * 50)))
    ((_, size, _),) = [one for windows in core._sources[SOURCE].values() for one in windows.held()]
    columns = 1 + len(declaration().numeric)
    assert 2_000 * columns < size < 100_000 * columns


def test_a_row_behind_the_watermark_and_the_lateness_is_late() -> None:
    core = SketchCore(catalog(1))
    core.process(batch(predictions([10, SIZE + LATENESS - 1, 20, SIZE + LATENESS, 30])))
    assert [(p.start, p.late, p.statistics.rows) for p in flushed(core)] == [(0, 1, 3), (100, 0, 2)]


@pytest.mark.parametrize("absurd", [2**63 - 1, 1 << 61, -1])
def test_rows_at_times_that_nothing_has_are_rejected_and_make_none_look_late(absurd: int) -> None:
    sound, core = SketchCore(catalog(1)), SketchCore(catalog(1))
    values = batch(predictions([10, absurd, 20, 30])).values
    outputs = core.process(
        RecordBatch("m.predictions", 0, [0, 1, 2, 3], [0] * 4, [b"k"] * 4, values)
    )
    (letter,) = outputs.dead_letters
    assert (letter.reason, letter.offset, letter.value) == (Reason.OUT_OF_LIMITS, 1, values[1])
    left = [values[row] for row in (0, 2, 3)]
    sound.process(RecordBatch("m.predictions", 0, [0, 2, 3], [0] * 3, [b"k"] * 3, left))
    assert flushed(core) == flushed(sound)


def test_times_are_those_of_a_model_not_of_others_that_are_read_beside_it() -> None:
    wide, narrow = declaration(), declaration()
    assert _shape(wide) == _shape(narrow)
    narrow = replace(narrow, events=replace(narrow.events, latest=wide.events.latest - 1))
    assert _shape(wide) != _shape(narrow)


def test_a_row_after_the_retention_is_counted_and_left_out() -> None:
    meter = CountingMeter()
    core = SketchCore(catalog(1), meter=meter)
    end = SIZE + LATENESS + RETENTION
    core.process(batch(predictions([10, end - 1, 20, end, 30, 40])))
    partials = flushed(core)
    assert partials[0].source == OffsetRange("m.predictions", 0, 0, 3)
    assert meter.counts[metrics.TOO_LATE_ROWS.name, "m", "predictions"] == 2


def test_expired_windows_leave_the_state() -> None:
    core = SketchCore(catalog(1))
    core.process(batch(predictions([10])))
    core.flush()
    assert core.snapshot()["m/predictions/0/0/1/-1"] is not None
    core.process(batch(predictions([SIZE + LATENESS + RETENTION]), first=1))
    core.flush()
    changes = core.snapshot()
    assert changes["m/predictions/0/0/1/-1"] is None
    assert changes["m/predictions/0/watermark"] == b"420"


def test_an_unknown_version_is_asked_for_before_anything_changes() -> None:
    known = catalog(1)
    core = SketchCore(known)
    records = batch(predictions([10, 20], versions=[1, 2]))
    with pytest.raises(ControlBehindError, match="version 2"):
        core.process(records)
    assert not core.commit_due(1 << 40)
    assert core.flush().sends == []
    known.versions.update(catalog(2).versions)
    core.process(records)
    assert [p.statistics.rows for p in flushed(core)] == [1, 1]


def test_version_0_needs_no_profile() -> None:
    core = SketchCore(catalog())
    core.process(batch(predictions([10], versions=0)))
    assert flushed(core)[0].statistics.numeric[0].bins == ()


def test_undecodable_rows_become_dead_letters() -> None:
    good = encode_predictions(predictions([10]))
    core = SketchCore(catalog(1))
    outputs = core.process(raw_batch([b"garbage!!!!!", *good, None], "m.predictions", first=5))
    assert [(d.offset, d.reason, d.service) for d in outputs.dead_letters] == [
        (5, Reason.NOT_AVRO, "featurestats"),
        (7, Reason.EMPTY, "featurestats"),
    ]
    assert flushed(core)[0].source == OffsetRange("m.predictions", 0, 6, 7)


def test_a_commit_is_due_after_the_interval_or_enough_rows() -> None:
    core = SketchCore(catalog(1), flush_interval_ms=1000, flush_rows=3)
    assert not core.commit_due(0)
    core.process(batch(predictions([10])))
    assert not core.commit_due(5000)
    assert not core.commit_due(5999)
    assert core.commit_due(6000)
    core.flush()
    assert not core.commit_due(9000)
    core.process(batch(predictions([10, 20, 30]), first=1))
    assert core.commit_due(9000)


def test_many_partials_are_written_less_often() -> None:
    core = SketchCore(catalog(1), flush_interval_ms=1000, columns_per_s=2)
    core.process(batch(predictions([10, 110, 210])))
    assert core.commit_due(0) is core.commit_due(999) is False
    assert core.commit_due(1000)
    (send,) = core.flush().sends
    columns = 1 + len(declaration().numeric) + len(declaration().categorical)
    wait = 1000 * len(send) * columns // 2
    assert wait > 1000
    core.process(batch(predictions([220]), first=3))
    assert core.commit_due(2000) is core.commit_due(1999 + wait) is False
    assert core.commit_due(2000 + wait)
    core.flush()
    core.process(batch(predictions([230]), first=4))
    core.on_time(100_000)
    assert core.commit_due(100_000 + max(1000, 1000 * columns // 2))


def test_a_dropped_source_is_forgotten() -> None:
    core = SketchCore(catalog(1))
    core.process(batch(predictions([10])))
    core.flush()
    core.process(batch(predictions([10]), partition=1))
    core.drop(SOURCE)
    assert [p.source.partition for p in flushed(core)] == [1]
    assert all(key.startswith("m/predictions/1/") for key in core.snapshot())


def test_the_state_scope_is_the_models_control_partition() -> None:
    core = SketchCore(catalog(1))
    expected = (catalog().topics.partition("m"), "m/predictions/0/")
    assert core.state_scope(SOURCE) == [expected]


class FixedClock:
    def now(self) -> int:
        return 0

    def monotonic(self) -> float:
        return 0.0


def window_and_log(reference: Profile | None = None) -> tuple[Window, MemoryLog]:
    times = np.random.default_rng(0).integers(0, 300, 200).tolist()
    records = batch(outcomes(times, versions=[t % 2 + 1 for t in times], shadows=3))
    partial = run(SketchCore(catalog(1, 2)), records, [50, 120])[100, 1, 3]
    log = MemoryLog(FixedClock())
    log.ensure_topics([TopicSpec("m.outcomes", 2)])
    producer = log.producer("test")
    producer.send(Send("m.outcomes", records.keys, [*records.values], 0))
    producer.flush(1.0)
    window = Window(
        model="m",
        stream=Stream.OUTCOMES,
        start=100,
        end=200,
        version=1,
        shadow=3,
        revision=0,
        rows=partial.statistics.rows,
        late=partial.late,
        sources=(partial.source,),
        watermark=300,
        statistics=partial.statistics,
        digest=statistics_digest(partial.statistics),
    )
    return window, log


def test_a_window_is_recomputed_from_the_log_bit_for_bit() -> None:
    window, log = window_and_log()
    assert verify_window(log, declaration(), profile(), window)
    assert recompute_window(log, declaration(), profile(), window).rows == window.rows


def test_a_window_that_leaves_a_row_out_does_not_verify() -> None:
    window, log = window_and_log()
    (source,) = window.sources
    shorter = OffsetRange(source.topic, source.partition, source.start, source.end - 1)
    changed = Window(
        **{f: getattr(window, f) for f in window.__slots__ if f != "sources"}, sources=(shorter,)
    )
    assert not verify_window(log, declaration(), profile(), changed)


def test_a_window_of_a_partition_that_is_gone_cannot_be_verified() -> None:
    window, _ = window_and_log()
    log = MemoryLog(FixedClock())
    with pytest.raises(VerificationError, match=r"m\.outcomes/0"):
        verify_window(log, declaration(), profile(), window)
