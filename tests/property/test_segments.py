"""Counts by segment: those of the segment's rows, whatever the batches, partitions and restarts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.kernel.codec.blocks import OutcomeBlock, PredictionBlock
from driftloop.kernel.declaration import CategoricalFeature
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.records import (
    CategoricalProfile,
    Profile,
    ReferenceCounts,
    SegmentStatistics,
    Stream,
    Window,
    WindowStatistics,
)
from driftloop.kernel.statistics.checks import check_statistics, shape_of
from driftloop.kernel.statistics.layout import Layout
from driftloop.kernel.statistics.losses import bounded_log_loss
from driftloop.kernel.statistics.merge import merge_all, merge_statistics, statistics_digest
from driftloop.kernel.statistics.segments import MOST_SEGMENTS, segment_column, segment_levels
from driftloop.kernel.statistics.sketch import Sketch
from window_builders import declaration, outcomes, predictions, profile

ROWS = 300
BLOCKS = {
    Stream.PREDICTIONS: predictions([0] * ROWS),
    Stream.OUTCOMES: outcomes([0] * ROWS),
}


def segmented(levels: Sequence[str] = ("a", "b")) -> Profile:
    loss = replace(profile().loss, edges=(0.5, 1.0), counts=(5, 3, 2))
    plain = replace(profile(), loss=loss)
    parts = [
        ReferenceCounts(stream, -1, level, 5, (0,) * Layout(plain, stream).length)
        for stream in Stream
        for level in levels
    ]
    return replace(plain, references=tuple(parts))


def empty(stream: Stream) -> Sketch:
    return Sketch(declaration(), segmented(), stream)


def update(sketch: Sketch, block: PredictionBlock | OutcomeBlock, rows: np.ndarray) -> None:
    if isinstance(block, OutcomeBlock):
        sketch.update_outcomes(block, rows)
    else:
        sketch.update_predictions(block, rows)


def of_rows(stream: Stream, rows: np.ndarray | list[int]) -> WindowStatistics:
    sketch = empty(stream)
    update(sketch, BLOCKS[stream], np.asarray(rows, dtype=np.int64))
    return sketch.statistics()


def expected(stream: Stream, rows: np.ndarray) -> tuple[int, ...]:
    """Of a window of these rows."""
    if stream is Stream.PREDICTIONS:
        whole = Window("m", stream, 0, 1, 1, -1, 0, 0, 0, (), 0, of_rows(stream, rows), "")
        return tuple(Layout(segmented(), stream).of_window(whole).tolist())
    score, label = BLOCKS[stream].scores[rows, 0], BLOCKS[Stream.OUTCOMES].label[rows]
    bins = np.searchsorted(segmented().loss.edges, bounded_log_loss(score, label))
    return (*np.bincount(bins, minlength=3).tolist(), int(((score > 0.5) != (label > 0.5)).sum()))


@pytest.mark.parametrize("stream", list(Stream))
def test_a_segment_counts_what_a_window_of_its_rows_would(stream: Stream) -> None:
    codes = BLOCKS[stream].features.categories.codes[:, 0]
    levels = BLOCKS[stream].features.categories.levels[0]
    found = of_rows(stream, np.arange(ROWS))
    assert [segment.level for segment in found.segments] == ["a", "b"]
    for segment in found.segments:
        own = np.flatnonzero(codes == levels.index(segment.level))
        assert segment.rows == len(own) > 0
        assert segment.counts == expected(stream, own)
    check_statistics(found)


@pytest.mark.parametrize("stream", list(Stream))
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_order_split_and_restart_gives_the_same_digest(
    stream: Stream, data: st.DataObject
) -> None:
    order = np.array(data.draw(st.permutations(range(ROWS))))
    cuts = sorted(data.draw(st.lists(st.integers(0, ROWS), max_size=5)))
    whole = statistics_digest(of_rows(stream, np.arange(ROWS)))
    parts = np.split(order, cuts)
    assert statistics_digest(merge_all(of_rows(stream, part) for part in parts)) == whole

    stepwise = empty(stream)
    for part in parts:
        update(stepwise, BLOCKS[stream], part)
        stepwise = Sketch.from_statistics(declaration(), segmented(), stream, stepwise.statistics())
    assert statistics_digest(stepwise.statistics()) == whole


def test_infinite_values_are_counted_in_no_segment() -> None:
    block = predictions([0] * 3)
    block.features.numeric[:, 0] = [np.inf, -np.inf, np.nan]
    block.features.categories.codes[:] = 2
    sketch = empty(Stream.PREDICTIONS)
    sketch.update_predictions(block, np.arange(3))
    a = sketch.statistics().segments[0]
    assert (a.rows, a.counts[:6]) == (3, (0, 0, 0, 0, 1, 0))


@pytest.mark.parametrize(
    "reference", [None, profile(), segmented(["z"]), replace(segmented(), categorical=())]
)
def test_there_are_no_segments_without_references_of_them(reference: Profile | None) -> None:
    assert segment_column(declaration(), reference, Stream.PREDICTIONS) == -1
    sketch = Sketch(declaration(), reference, Stream.PREDICTIONS)
    sketch.update_predictions(BLOCKS[Stream.PREDICTIONS], np.arange(0))
    assert sketch.statistics().segments == ()


def test_of_many_levels_the_most_frequent_are_segments_in_the_profile_s_order() -> None:
    levels = tuple(f"l{i:02}" for i in range(MOST_SEGMENTS + 4))
    counts = tuple(i % 10 + 1 for i in range(len(levels)))
    rare = {"l00", "l01", "l10", "l11"}
    found = segment_levels(CategoricalProfile("kind", levels, counts, 0))
    assert found == tuple(v for v in levels if v not in rare)


def test_of_features_with_the_same_levels_the_one_with_as_many_rows_is_the_segment() -> None:
    declared = replace(
        declaration(), categorical=(CategoricalFeature("other"), CategoricalFeature("kind"))
    )
    kind = profile().categorical[0]
    other = replace(kind, name="other", counts=(6, 4))
    both = replace(segmented(), categorical=(other, kind))
    assert segment_column(declared, both, Stream.OUTCOMES) == 1


def test_what_is_declared_changes_no_segment_of_a_version() -> None:
    plain = declaration()
    for segment in ("", "kind", "another"):
        declared = replace(plain, alerts=replace(plain.alerts, segment=segment))
        assert segment_column(declared, segmented(), Stream.PREDICTIONS) == 0


def test_segments_of_another_length_are_of_another_window() -> None:
    some = of_rows(Stream.PREDICTIONS, [1, 2])
    longer = tuple(replace(s, counts=(*s.counts, 0)) for s in some.segments)
    assert shape_of(some) != shape_of(replace(some, segments=longer))
    with pytest.raises(DecodeError, match="segments"):
        Sketch.from_statistics(
            declaration(), segmented(), Stream.PREDICTIONS, replace(some, segments=longer)
        )
    for without in (replace(some, segments=()), replace(some, segments=some.segments[:1])):
        with pytest.raises(DecodeError):
            merge_statistics(some, without)
        assert shape_of(some) != shape_of(without)
        with pytest.raises(DecodeError):
            Sketch.from_statistics(declaration(), segmented(), Stream.PREDICTIONS, without)


@pytest.mark.parametrize(
    "bad",
    [
        SegmentStatistics("a", -1, ()),
        SegmentStatistics("a", 3, (-1,)),
        SegmentStatistics("a", 3, (4,)),
        SegmentStatistics("a", ROWS + 1, ()),
        SegmentStatistics("b", 1, ()),
    ],
)
def test_counts_that_cannot_be_are_rejected(bad: SegmentStatistics) -> None:
    good = of_rows(Stream.PREDICTIONS, np.arange(ROWS))
    with pytest.raises(DecodeError):
        check_statistics(replace(good, segments=(bad, good.segments[1])))
