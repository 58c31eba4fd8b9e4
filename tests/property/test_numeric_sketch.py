"""The compiled pass over numeric columns against plain Python, value by value."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.kernel.codec.blocks import F64
from driftloop.kernel.records import NumericProfile, NumericStatistics
from driftloop.kernel.statistics.exact import encode_sum
from driftloop.kernel.statistics.numeric_sketch import (
    LARGEST_BUCKET,
    SMALLEST_BUCKET,
    NumericSketch,
)
from driftloop.kernel.statistics.sketch_kernels import bucket_floor

LARGEST = float(np.finfo(np.float64).max)
ROWS = 5000
"""More than are added before carries move, several times."""


def values(kind: str, rng: np.random.Generator) -> F64:
    match kind:
        case "usual":
            return rng.standard_normal(ROWS)
        case "one bucket":  # and all edges within it
            return 1000.0 + rng.standard_normal(ROWS)
        case "few distinct":
            return rng.integers(-2, 3, ROWS).astype(np.float64) * -1.0
        case "every scale":
            return rng.choice([-1.0, 1.0], ROWS) * 10.0 ** rng.uniform(-320, 308, ROWS)
        case "largest":
            return np.where(rng.random(ROWS) < 0.5, LARGEST, np.nextafter(LARGEST, 0.0))
        case "least":
            return rng.choice([5e-324, -5e-324, 2.2250738585072014e-308, 1e-310, 0.0, -0.0], ROWS)
        case "cancelling":
            half = 10.0 ** rng.uniform(-20, 20, ROWS // 2)
            return rng.permutation(np.concatenate([half, -half]))
        case _:
            usual = rng.standard_normal(ROWS)
            usual[rng.random(ROWS) < 0.2] = np.nan
            usual[rng.random(ROWS) < 0.1] = np.inf
            usual[rng.random(ROWS) < 0.1] = -np.inf
            return usual


KINDS = [
    "usual",
    "one bucket",
    "few distinct",
    "every scale",
    "largest",
    "least",
    "cancelling",
    "holes",
]


def reference(column: F64) -> NumericProfile:
    known = column[np.isfinite(column)]
    edges = sorted(set(np.quantile(known, np.linspace(0.05, 0.95, 16)).tolist()) - {math.inf})
    counts = (1,) * (len(edges) + 1)
    low, high = np.quantile(known, [0.01, 0.99])
    return NumericProfile("x", tuple(edges), counts, 0, float(low), float(high))


def sketched(column: F64, known: NumericProfile | None, cuts: list[int]) -> NumericStatistics:
    """Beside another column, that the one asked about is not the only."""
    sketch = NumericSketch(["x", "y"], [known, None])
    matrix = np.ascontiguousarray(np.stack([column, -column], axis=1))
    for rows in np.split(np.arange(len(column)), cuts):
        sketch.update(matrix, rows, 0)
    return sketch.statistics()[0]


@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_is_that_of_plain_python(kind: str) -> None:
    column = values(kind, np.random.default_rng(1))
    known = reference(column)
    finite = [x + 0.0 for x in column.tolist() if math.isfinite(x)]
    for profile in (known, None):
        found = sketched(column, profile, [])
        assert found.count == len(finite)
        assert found.missing == int(np.isnan(column).sum())
        assert (found.minimum, found.maximum) == (min(finite), max(finite))
        assert found.sum == encode_sum(finite)
        squares = [min(x * x, LARGEST) for x in finite]
        assert found.squares == encode_sum(squares)
        buckets = dict(zip(found.buckets, found.bucket_counts, strict=True))
        assert sum(buckets.values()) == len(finite)
        for x, times in Counter(finite).items():
            (own,) = [k for k in buckets if within(x, k)]
            assert buckets[own] >= times
        if profile is None:
            assert found.bins == ()
            continue
        places = np.searchsorted(profile.edges, finite)
        assert found.bins == tuple(np.bincount(places, minlength=len(profile.edges) + 1).tolist())
        outside = [x for x in finite if x < profile.minimum or x > profile.maximum]
        assert found.outside == len(outside)


def within(x: float, bucket: int) -> bool:
    size = min(abs(x), math.nextafter(2.0**64, 0.0))
    if size < 2.0**-64:
        return bucket == (-1 if x < 0.0 else 0)
    x = math.copysign(size, x)
    if bucket >= 0:
        return not math.copysign(1.0, x) < 0 and bucket_floor(bucket) <= x < above(bucket + 1)
    return x < 0 and -above(-bucket) < x <= bucket_floor(bucket)


def above(bucket: int) -> float:
    end = bucket_floor(bucket)
    return end if math.isfinite(end) else math.inf


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 2**32 - 1),
    cuts=st.lists(st.integers(0, ROWS), max_size=6),
)
def test_few_rows_at_a_time_give_what_many_give(kind: str, seed: int, cuts: list[int]) -> None:
    column = values(kind, np.random.default_rng(seed))
    known = reference(column)
    whole = sketched(column, known, [])
    assert sketched(column, known, sorted(cuts)) == whole
    assert sketched(column, known, list(range(50, ROWS, 50))) == whole


def test_a_column_has_no_more_buckets_than_its_bounds_whatever_its_values() -> None:
    rng = np.random.default_rng(3)
    column = rng.choice([-1.0, 1.0], 400_000) * 10.0 ** rng.uniform(-320, 308, 400_000)
    sketch = NumericSketch(["x"], [None])
    sketch.update(column[:, None], np.arange(len(column)), 0)
    (found,) = sketch.statistics()
    assert 2000 < len(found.buckets) <= 2 * (LARGEST_BUCKET - SMALLEST_BUCKET + 2)
    assert sum(found.bucket_counts) == len(column)


@given(
    values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30),
    cut=st.integers(0, 30),
)
def test_it_does_not_matter_whether_parts_or_the_whole_are_bounded(
    values: list[float], cut: int
) -> None:
    column = np.array(values)
    first, second = NumericSketch(["x"], [None]), NumericSketch(["x"], [None])
    first.update(column[:, None], np.arange(min(cut, len(values))), 0)
    second.load(first.statistics())
    second.update(column[:, None], np.arange(min(cut, len(values)), len(values)), 0)
    whole = NumericSketch(["x"], [None])
    whole.update(column[:, None], np.arange(len(values)), 0)
    assert second.statistics() == whole.statistics()
