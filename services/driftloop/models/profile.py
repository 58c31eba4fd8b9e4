"""The reference profile of a version: what its training data and its held-out scores looked like.

Features are profiled over all rows of training; the score and the loss over the held-out newest
rows, which the model that scored them was not trained on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from driftloop.kernel.codec.blocks import F64, Categories, Features
from driftloop.kernel.records.training import (
    CategoricalProfile,
    LossBaseline,
    NumericProfile,
    Profile,
)
from driftloop.kernel.statistics.losses import LOSS_BOUND, bounded_log_loss
from driftloop.models.baseline import binned
from driftloop.models.encoding import level_counts

MAX_BINS = 20
MAX_LEVELS = 500
"""Levels of a categorical profile. Rows of the levels beyond it are in no count: their number is
rows minus missing minus the counts."""
CONFIDENCE = 0.95
SCORE = "score"
_TARGETS = (16, 14, 12, 10)
"""Bins of equal mass aimed at; values that are heavy by themselves cost bins of their own."""


def make_profile(
    numeric: Sequence[str],
    categorical: Sequence[str],
    features: Features,
    held_out_scores: F64,
    held_out_labels: F64,
) -> Profile:
    """``features``: all rows a version is trained on, with the names of their columns;
    ``held_out_scores`` (m,) and ``held_out_labels`` (m,): the newest rows."""
    columns = [numeric_profile(name, features.numeric[:, i]) for i, name in enumerate(numeric)]
    columns.append(numeric_profile(SCORE, held_out_scores))
    losses = bounded_log_loss(held_out_scores, held_out_labels)
    errors = (held_out_scores > 0.5) != (held_out_labels > 0.5)
    levels = [
        categorical_profile(name, features.categories, i) for i, name in enumerate(categorical)
    ]
    return Profile(
        rows=len(features.numeric),
        numeric=tuple(columns),
        categorical=tuple(levels),
        loss=binned(
            loss_baseline(losses), bin_edges(losses), losses, errors, columns[-1], held_out_scores
        ),
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


def loss_baseline(losses: F64, confidence: float = CONFIDENCE) -> LossBaseline:
    """Mean of losses in [0, LOSS_BOUND] and the upper confidence bound of their expectation.

    Empirical Bernstein bound: Maurer and Pontil, arXiv 0907.3740, theorem 4. It takes the rows to
    be independent. Without two rows the bound is LOSS_BOUND.
    """
    rows = len(losses)
    mean = float(losses.mean()) if rows else 0.0
    upper = LOSS_BOUND
    if rows >= 2:
        log_term = math.log(2.0 / (1.0 - confidence))
        spread = math.sqrt(2.0 * float(losses.var(ddof=1)) * log_term / rows)
        slack = 7.0 * LOSS_BOUND * log_term / (3.0 * (rows - 1))
        upper = min(LOSS_BOUND, mean + spread + slack)
    return LossBaseline(rows=rows, mean=mean, upper=upper, bound=LOSS_BOUND)
