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
    """Sum of :func:`distances` over the features."""
    return float(distances(counts, reference).sum())


def distances(counts: Sequence[F64], reference: Sequence[F64]) -> F64:
    """Of each feature, shape (F,), the triangular discrimination (Topsoe, IEEE Transactions on
    Information Theory, 2000), less what chance gives of it.

    With shares p and q of a bin it is the sum of 2 (p - q)^2 / (p + q): near q a chi-square
    distance, at most 4 however rare a bin was.
    """
    if [len(found) for found in counts] != [len(known) for known in reference]:
        raise ValueError("the features have other bins than the reference's")
    if not counts:
        return np.zeros(0)
    sizes = np.array([len(found) for found in counts])
    starts = np.cumsum([0, *sizes[:-1]])
    owner = np.repeat(np.arange(len(sizes)), sizes)
    found, known = np.concatenate(counts), np.concatenate(reference)
    n, m = np.add.reduceat(found, starts), np.add.reduceat(known, starts)
    some = (n > 0) & (m > 0)
    n, m = np.where(some, n, 1.0), np.where(some, m, 1.0)
    p, q = found / n[owner], known / m[owner]
    both = p + q
    used = both > 0
    parts = np.where(used, 2.0 * (p - q) ** 2 / np.where(used, both, 1.0), 0.0)
    chance = (np.add.reduceat(used.astype(np.float64), starts) - 1.0) * (1.0 / n + 1.0 / m)
    apart = np.maximum(np.add.reduceat(parts, starts) - chance, 0.0)
    return np.asarray(np.where(some, apart, 0.0), dtype=np.float64)
