"""The reference profile of a version: what its training data and its held-out scores looked like.

Features are profiled over all rows of training; the score and the loss over the held-out newest
rows, which the model that scored them was not trained on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from driftloop.kernel.codec.blocks import F64, Categories, Features
from driftloop.kernel.records.training import (
    CategoricalProfile,
    NumericProfile,
    Profile,
)
from driftloop.kernel.statistics.criterion import BINARY, Criterion
from driftloop.kernel.statistics.layout import PREDICTED, SCORE
from driftloop.models.baseline import loss_baseline
from driftloop.models.encoding import level_counts

MAX_BINS = 20
MAX_LEVELS = 500
"""Levels of a categorical profile. Rows of the levels beyond it are in no count: their number is
rows minus missing minus the counts."""
_TARGETS = (16, 14, 12, 10)
"""Bins of equal mass aimed at; values that are heavy by themselves cost bins of their own."""


def make_profile(
    numeric: Sequence[str],
    categorical: Sequence[str],
    features: Features,
    held_out_scores: F64,
    held_out_labels: F64,
    criterion: Criterion = BINARY,
) -> Profile:
    """``features``: all rows a version is trained on, with the names of their columns;
    ``held_out_scores`` (m, C) and ``held_out_labels`` (m,): the newest rows."""
    columns = [numeric_profile(name, features.numeric[:, i]) for i, name in enumerate(numeric)]
    score = criterion.watched(held_out_scores)[:, 0]
    columns.append(numeric_profile(SCORE, score))
    judged = criterion.judge(held_out_scores, held_out_labels)
    levels = [
        categorical_profile(name, features.categories, i) for i, name in enumerate(categorical)
    ]
    predicted = criterion.predicted(held_out_scores)
    levels += [class_profile(predicted, i) for i in range(len(predicted.levels))]
    return Profile(
        rows=len(features.numeric),
        numeric=tuple(columns),
        categorical=tuple(levels),
        loss=loss_baseline(judged, criterion.bound, bin_edges(judged.loss), columns[-1], score),
    )


def numeric_profile(name: str, values: F64) -> NumericProfile:
    """Bins of about equal mass. Minimum and maximum are 0 when every value is missing."""
    present = values[~np.isnan(values)]
    edges = bin_edges(present)
    counts = np.bincount(np.searchsorted(edges, present, side="left"), minlength=len(edges) + 1)
    return NumericProfile(
        name=name,
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
        missing=len(values) - len(present),
        # Adding 0.0 makes -0.0 and 0.0 the same bytes, whichever came first.
        minimum=float(present.min()) + 0.0 if len(present) else 0.0,
        maximum=float(present.max()) + 0.0 if len(present) else 0.0,
    )


def bin_edges(present: F64) -> F64:
    """Inner edges of at most MAX_BINS bins; an edge is the largest value of its bin.

    Few distinct values get a bin each. Otherwise bins of about equal mass, and a value heavy
    enough to fill a bin gets it alone: quantiles by themselves put all of a column that is mostly
    one value into one bin, blind to any change.
    """
    distinct, counts = np.unique(present, return_counts=True)
    distinct = distinct + 0.0
    if len(distinct) <= _TARGETS[0]:
        return distinct[:-1]
    cumulative = np.cumsum(counts)
    for target in _TARGETS:
        last = _last_of_bins(counts, cumulative, len(present) / target)
        if len(last) <= MAX_BINS:
            break
    return distinct[last[:-1]]


def _last_of_bins(
    counts: np.ndarray[tuple[int], np.dtype[np.int64]],
    cumulative: np.ndarray[tuple[int], np.dtype[np.int64]],
    mass: float,
) -> list[int]:
    """Index of the last distinct value of each bin."""
    heavy = np.flatnonzero(counts >= mass)
    last: list[int] = []
    first = 0
    while first < len(counts):
        before = int(cumulative[first - 1]) if first else 0
        end = min(int(np.searchsorted(cumulative, before + mass)), len(counts) - 1)
        at = int(np.searchsorted(heavy, first))
        if at < len(heavy) and heavy[at] <= end:
            end = first if heavy[at] == first else int(heavy[at]) - 1
        last.append(end)
        first = end + 1
    return last


def categorical_profile(name: str, categories: Categories, column: int) -> CategoricalProfile:
    """The levels seen, ascending; of more than MAX_LEVELS the most frequent."""
    counts = level_counts(categories, column)
    levels = categories.levels[column]
    seen = sorted(
        (-int(count), level) for level, count in zip(levels, counts, strict=True) if count
    )
    kept = sorted((level, -negative) for negative, level in seen[:MAX_LEVELS])
    return CategoricalProfile(
        name=name,
        levels=tuple(level for level, _ in kept),
        counts=tuple(count for _, count in kept),
        missing=int((categories.codes[:, column] < 0).sum()),
    )


def class_profile(predicted: Categories, column: int) -> CategoricalProfile:
    """The most probable classes. Every class is a level: one that was never the most probable is
    known none the less."""
    counts = level_counts(predicted, column)
    return CategoricalProfile(PREDICTED, predicted.levels[column], tuple(counts.tolist()), 0)
