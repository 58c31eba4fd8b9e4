"""Statistics are equal, bit for bit, however the rows were split, ordered and partitioned."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.kernel.errors import DecodeError
from driftloop.kernel.records import Profile, Stream, WindowStatistics
from driftloop.kernel.statistics.merge import merge_all, merge_statistics, statistics_digest
from driftloop.kernel.statistics.reading import auc, exact_sum, mean, quantile, std
from driftloop.kernel.statistics.sketch import SCORE, Sketch
from window_builders import declaration, outcomes, predictions, profile

ROWS = 300
BLOCK = outcomes([0] * ROWS, shadows=2)
PROFILES: list[Profile | None] = [None, profile()]


def of_rows(rows: list[int] | np.ndarray, reference: Profile | None) -> WindowStatistics:
    sketch = Sketch(declaration(), reference, Stream.OUTCOMES, shadow=True)
    sketch.update_outcomes(BLOCK, np.asarray(rows, dtype=np.int64))
    return sketch.statistics()


@pytest.mark.parametrize("reference", PROFILES)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_order_and_split_gives_the_same_digest(
    reference: Profile | None, data: st.DataObject
) -> None:
    order = np.array(data.draw(st.permutations(range(ROWS))))
    cuts = sorted(data.draw(st.lists(st.integers(0, ROWS), max_size=5)))
    whole = statistics_digest(of_rows(np.arange(ROWS), reference))

    parts = [of_rows(part, reference) for part in np.split(order, cuts)]
    assert statistics_digest(merge_all(parts)) == whole

    stepwise = Sketch(declaration(), reference, Stream.OUTCOMES, shadow=True)
    for part in np.split(order, cuts):
        stepwise.update_outcomes(BLOCK, part)
        stepwise = Sketch.from_statistics(
            declaration(), reference, Stream.OUTCOMES, stepwise.statistics(), shadow=True
        )
    assert statistics_digest(stepwise.statistics()) == whole


PARTS = st.lists(st.integers(0, ROWS - 1), max_size=20)


@settings(max_examples=15, deadline=None)
@given(PARTS, PARTS, PARTS)
def test_merging_is_associative_and_commutative(a: list[int], b: list[int], c: list[int]) -> None:
    x, y, z = (of_rows(rows, profile()) for rows in (a, b, c))
    left = merge_statistics(merge_statistics(x, y), z)
    right = merge_statistics(x, merge_statistics(z, y))
    assert statistics_digest(left) == statistics_digest(right)


def test_no_rows_are_neutral() -> None:
    some, none = of_rows([1, 2, 3], profile()), of_rows([], profile())
    assert statistics_digest(merge_statistics(some, none)) == statistics_digest(some)


def test_other_windows_do_not_merge() -> None:
    with pytest.raises(DecodeError):
        merge_statistics(of_rows([1], profile()), of_rows([1], None))


def test_counts_are_those_of_plain_numpy() -> None:
    statistics = of_rows(np.arange(ROWS), profile())
    x = BLOCK.features.numeric[:, 0]
    finite = x[np.isfinite(x)]
    column = statistics.numeric[0]
    assert (column.count, column.missing) == (len(finite), ROWS - len(finite))
    assert exact_sum(column.sum) == math.fsum(finite)
    assert (column.minimum, column.maximum) == (finite.min(), finite.max())
    bins = np.bincount(np.searchsorted((-1.0, 0.0, 1.0), finite), minlength=4)
    assert column.bins == tuple(bins)
    assert column.outside == int(np.sum((finite < -2.0) | (finite > 2.0))) > 0
    assert sum(column.bucket_counts) == len(finite)
    assert list(column.buckets) == sorted(column.buckets)
    assert statistics.numeric[-1].name == SCORE
    kinds = BLOCK.features.categories.codes[:, 0]
    (kind,) = statistics.categorical
    assert kind.levels == (int(np.sum(kinds == 2)), int(np.sum(kinds == 0)))
    assert (kind.unseen, kind.missing) == (int(np.sum(kinds == 1)), int(np.sum(kinds == -1)))


def test_version_0_has_no_bins_levels_or_bets() -> None:
    statistics = of_rows(np.arange(ROWS), None)
    assert all(column.bins == () for column in statistics.numeric)
    assert statistics.categorical[0].levels == ()
    assert statistics.categorical[0].unseen == 0
    assert statistics.loss is not None
    assert statistics.loss.bets == ()


def test_nothing_is_outside_without_reference_values() -> None:
    known = profile()
    empty = replace(known.numeric[0], edges=(), counts=(0,), minimum=0.0, maximum=0.0)
    without = replace(known, numeric=(empty, *known.numeric[1:]))
    for reference in (None, without):
        assert of_rows(np.arange(ROWS), reference).numeric[0].outside == 0


def test_infinite_values_are_not_outside() -> None:
    block = predictions([0] * 4)
    block.features.numeric[:, 0] = [math.inf, -math.inf, 3.0, math.nan]
    sketch = Sketch(declaration(), profile(), Stream.PREDICTIONS)
    sketch.update_predictions(block, np.arange(4))
    assert sketch.statistics().numeric[0].outside == 1


def test_losses_agree_with_their_definition() -> None:
    loss = of_rows(np.arange(ROWS), profile()).loss
    assert loss is not None
    assert loss.paired is not None
    score, label = BLOCK.scores[:, 0], BLOCK.label
    clipped = np.clip(score, 0.01, 0.99)
    expected = -np.log(np.where(label == 1, clipped, 1 - clipped))
    assert exact_sum(loss.loss) == pytest.approx(expected.sum())
    assert exact_sum(loss.loss_squares) == pytest.approx((expected**2).sum())
    assert loss.labels == (int(np.sum(label == 0)), int(np.sum(label == 1)))
    assert loss.errors == int(np.sum((score > 0.5) != (label == 1)))
    assert sum(loss.histogram) == loss.rows == ROWS
    assert loss.paired.wins + loss.paired.losses + loss.paired.ties == ROWS
    wins, pairs = 0.0, 0
    for positive in score[label == 1]:
        for negative in score[label == 0]:
            pairs += 1
            wins += (positive > negative) + 0.5 * (positive == negative)
    assert auc(loss.histogram) == pytest.approx(wins / pairs, abs=0.01)


def test_rows_without_a_score_or_label_count_in_no_loss() -> None:
    scores = BLOCK.scores.copy()
    scores[0] = np.nan
    label = BLOCK.label.copy()
    label[1] = np.nan
    sketch = Sketch(declaration(), profile(), Stream.OUTCOMES, shadow=True)
    sketch.update_outcomes(replace(BLOCK, scores=scores, label=label), np.arange(5))
    statistics = sketch.statistics()
    assert statistics.rows == 5
    assert statistics.loss is not None
    assert statistics.loss.rows == 3


def test_infinite_values_and_negative_zero_do_not_depend_on_order() -> None:
    values = [-0.0, 0.0, math.inf, -math.inf, 1e200, -1e200, 5e-324]
    digests = set()
    for order in (values, values[::-1], [0.0, -0.0, *values[2:]]):
        block = predictions([0] * len(values))
        block.features.numeric[:, 0] = order
        block.features.numeric[:, 1] = 0.0
        block.scores[:] = 0.5
        block.features.categories.codes[:] = 0
        sketch = Sketch(declaration(), profile(), Stream.PREDICTIONS)
        sketch.update_predictions(block, np.arange(len(values)))
        assert sketch.statistics().numeric[0].count == 5
        digests.add(statistics_digest(sketch.statistics()))
    assert len(digests) == 1


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(-1e19, 1e19, allow_subnormal=False), min_size=1, max_size=200))
def test_quantiles_are_within_a_sixteenth(values: list[float]) -> None:
    block = predictions([0] * len(values))
    block.features.numeric[:, 0] = values
    sketch = Sketch(declaration(), None, Stream.PREDICTIONS)
    sketch.update_predictions(block, np.arange(len(values)))
    column = sketch.statistics().numeric[0]
    for q in (0.0, 0.1, 0.5, 0.9, 1.0):
        true = np.quantile(values, q, method="lower")
        assert quantile(column, q) == pytest.approx(true, rel=1 / 16, abs=2.0**-64)
    assert mean(column) == pytest.approx(np.mean(values), rel=1e-6, abs=1e4)
    assert std(column) >= 0
