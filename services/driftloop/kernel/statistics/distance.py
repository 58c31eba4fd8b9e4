"""How far the features of some rows are from those of a profile."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from driftloop.kernel.codec.blocks import F64
from driftloop.kernel.records import Profile, WindowStatistics
from driftloop.kernel.statistics.layout import PREDICTED


def profile_counts(profile: Profile) -> list[F64]:
    """Per feature its counts: bins, then missing; or levels, then others, then missing."""
    found = [np.array([*c.counts, c.missing], dtype=np.float64) for c in profile.numeric[:-1]]
    for column in profile.categorical:
        if column.name != PREDICTED:
            other = max(0, profile.rows - sum(column.counts) - column.missing)
            counts = [*column.counts, other, column.missing]
            found.append(np.array(counts, dtype=np.float64))
    return found


def window_counts(statistics: WindowStatistics) -> list[F64]:
    """The same of a window's rows."""
    found = [np.array([*c.bins, c.missing], dtype=np.float64) for c in statistics.numeric[:-1]]
    found += [
        np.array([*c.levels, c.unseen, c.missing], dtype=np.float64)
        for c in statistics.categorical
        if c.name != PREDICTED
    ]
    return found


def distance(counts: Sequence[F64], reference: Sequence[F64]) -> float:
    """Sum over the features of their triangular discrimination (Topsoe, IEEE Transactions on
    Information Theory, 2000), less what chance gives of it.

    With shares p and q of a bin it is the sum of 2 (p - q)^2 / (p + q): near q a chi-square
    distance, at most 4 however rare a bin was.
    """
    total = 0.0
    for found, known in zip(counts, reference, strict=True):
        n, m = found.sum(), known.sum()
        if n > 0 and m > 0:
            p, q = found / n, known / m
            used = p + q > 0
            chance = (np.count_nonzero(used) - 1) * (1.0 / n + 1.0 / m)
            apart = float((2.0 * (p - q)[used] ** 2 / (p + q)[used]).sum())
            total += max(0.0, apart - float(chance))
    return total
