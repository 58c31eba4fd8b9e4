"""Numbers for people and tests, read off window statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence

from driftloop.kernel.records import NumericStatistics
from driftloop.kernel.statistics.exact import exact_sum
from driftloop.kernel.statistics.sketch_kernels import bucket_middle

__all__ = ["auc", "exact_sum", "mean", "quantile", "std"]


def mean(statistics: NumericStatistics) -> float:
    """Of the finite values; NaN without any."""
    return exact_sum(statistics.sum) / statistics.count if statistics.count else math.nan


def std(statistics: NumericStatistics) -> float:
    """Standard deviation of the finite values (ddof 0); NaN without any."""
    if not statistics.count:
        return math.nan
    centre = mean(statistics)
    variance = exact_sum(statistics.squares) / statistics.count - centre * centre
    return math.sqrt(max(0.0, variance))


def quantile(statistics: NumericStatistics, q: float) -> float:
    """The value at rank q (in [0, 1]) of the finite values, within 1/16 of itself where its
    magnitude is between 2**-64 and 2**64; NaN without any."""
    if not statistics.count:
        return math.nan
    rank = q * (statistics.count - 1)
    below = 0
    for index, count in zip(statistics.buckets, statistics.bucket_counts, strict=True):
        below += count
        if below > rank:
            return min(max(bucket_middle(index), statistics.minimum), statistics.maximum)
    return statistics.maximum


def auc(histogram: Sequence[int]) -> float:
    """Area under the ROC curve from :attr:`LossStatistics.histogram`: rows of one score bin count
    as ties. NaN without rows of both classes."""
    wins = 0.0
    negatives_below = 0
    positives = sum(histogram[1::2])
    for negative, positive in zip(histogram[0::2], histogram[1::2], strict=True):
        wins += positive * (negatives_below + negative / 2)
        negatives_below += negative
    pairs = positives * negatives_below
    return wins / pairs if pairs else math.nan
