"""How much more the counts of a stream vary than those of independent rows.

Rows that are near in time are alike (weather stays for days), so a window's n rows say less than n
independent ones. The variance of counts over blocks of time, divided by what independent rows would
give, says how many rows tell as much as one independent row: the dispersion parameter of count data
(McCullagh and Nelder, Generalized Linear Models, 1989, section 4.5), called design effect of a
clustered sample (Rao and Scott, JASA 1981), and for long blocks the integrated autocorrelation time
that batch means estimate (Flegal and Jones, arXiv 0811.1729).

It is Pearson's statistic of homogeneity of the blocks by its expectation, each block weighted by
its rows::

    sum_b sum_k (o_bk - n_b p_k)^2 / p_k   /   (K - 1) (N^2 - sum_b n_b^2) / (N - 1)

where o_bk rows of block b lie in bin k of K, N in all, and p_k = sum_b o_bk / N. Given the margins,
the expectation is exactly 1 when the rows are exchangeable, though p is of the same rows. Where a
season is declared, windows are compared with their slot's rows: n_b p_k is then the sum over slots
of the block's rows there times the slot's shares, and the expectation that of rows exchangeable
within their slots.

Blocks are windows, and 2, 4, 8, ... windows together: dependence that reaches beyond a block shows
only in longer ones. Those are few, so their figure is noisy, and the largest of many would be
noise: a longer block counts only where it says significantly more than the shorter ones did (a
choice in the manner of Lepski, Theory of Probability and its Applications, 1991). What is within
the noise of independent rows is 1. What is not is told as its upper 95% bound, over the lengths of
which there are many blocks: tests and intervals that rely on it must not rely on luck.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from driftloop.kernel.codec.blocks import F64, I64

LEAST_BLOCKS = 8
"""Fewer blocks say nothing."""
NOISE = 0.025
"""Chance that independent rows of one column show a dispersion (two standard errors)."""
ENOUGH = 100.0
"""Degrees of freedom from which a length of blocks has a say in the upper bound."""
BOUND = NormalDist().inv_cdf(0.95)
ROW_BLOCK = 16
"""Consecutive rows that are taken for a window where times are unknown."""


def blocks_of(times: I64 | None, window: int, rows: int) -> I64:
    """The number of each row's window, shape (n,), given its time in ms.

    Consecutive rows are cut into blocks where times or windows are unknown (None, 0), or the rows
    lie in fewer than :data:`LEAST_BLOCKS` windows.
    """
    if times is not None and window > 0:
        found: I64 = times // window
        if len(np.unique(found)) >= LEAST_BLOCKS:
            return found
    return np.arange(rows, dtype=np.int64) // ROW_BLOCK


def dispersion(
    bins: I64, count: int, blocks: I64, *, ordered: bool = False, slots: I64 | None = None
) -> float:
    """Of n rows in ``bins``, shape (n,), of 0 to ``count`` - 1; at least 1.

    ``blocks``: :func:`blocks_of` these rows. ``ordered``: the bins are in the order of the values;
    then how much lies below the median counts too, for a location moves more slowly than a shape.
    ``slots``: those of a season, shape (n,); rows are then compared with their slot's alone, and
    what follows the season is no dispersion.
    """
    if len(bins) < 2 or count < 2:
        return 1.0
    numbers, index = np.unique(blocks, return_inverse=True)
    seasons, slot = (
        np.unique(slots, return_inverse=True) if slots is not None else (numbers[:1], 0 * index)
    )
    many = len(seasons)
    table = np.bincount((index * many + slot) * count + bins, minlength=len(numbers) * many * count)
    table = table.reshape(len(numbers), many, count).astype(np.int64)
    lengths = _lengths(numbers)
    if not lengths or np.count_nonzero(table.sum(axis=(0, 1))) < 2:
        return 1.0
    splits = (_pooled, _halves) if ordered else (_pooled,)
    z = NormalDist().inv_cdf(1.0 - NOISE / (len(splits) * len(lengths)))
    found, upper = 1.0, 1.0
    for starts in lengths:
        longer = np.add.reduceat(table, starts, axis=0)
        for split in splits:
            groups = split(longer.sum(axis=1))
            ratio, freedom = _ratio(np.stack([longer[..., g].sum(axis=-1) for g in groups], axis=2))
            if ratio > found * _noise(freedom, z):
                found = ratio
            if freedom >= ENOUGH:
                upper = max(upper, ratio / _noise(freedom, -BOUND))
    return max(found, upper) if found > 1.0 else 1.0


def share_dispersion(chosen: np.ndarray, blocks: I64, slots: I64 | None = None) -> float:
    """Of the share of the rows that are ``chosen``, boolean of shape (n,)."""
    return dispersion(np.asarray(chosen, dtype=np.int64), 2, blocks, slots=slots)


def _lengths(numbers: I64) -> list[I64]:
    """Per length of blocks where each block starts in the ascending numbers of windows."""
    found: list[I64] = []
    while True:
        starts = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1))
        if len(starts) < LEAST_BLOCKS:
            return found
        found.append(starts)
        numbers = numbers // 2


def _pooled(table: I64) -> list[list[int]]:
    """Which bins to take together so that each has at least a row per block on average, the rare
    ones first; at the least the most frequent one and the others."""
    totals = table.sum(axis=0)
    order = [place for place in np.argsort(totals, kind="stable").tolist() if totals[place]]
    groups: list[list[int]] = []
    pool: list[int] = []
    for place in order[:-1]:
        pool.append(place)
        if totals[pool].sum() >= len(table):
            groups.append(pool)
            pool = []
    if pool and groups:
        groups[-1] += pool
    elif pool:
        groups.append(pool)
    return [*groups, order[-1:]]


def _halves(table: I64) -> list[list[int]]:
    """The bins below the median and those above it."""
    below = np.cumsum(table.sum(axis=0))
    inner = np.flatnonzero((below > 0) & (below < below[-1]))
    at = int(inner[np.argmin(np.abs(below[inner] - below[-1] / 2))]) + 1
    return [list(range(at)), list(range(at, table.shape[1]))]


def _ratio(table: I64) -> tuple[float, float]:
    """The statistic by its expectation, shape (blocks, slots, bins) of counts, and as how many
    degrees of freedom of a chi-square it varies when the rows are independent."""
    parts: F64 = table.sum(axis=2).astype(np.float64)
    slots: F64 = parts.sum(axis=0)
    rows: F64 = parts.sum(axis=1)
    share: F64 = table.sum(axis=(0, 1)) / rows.sum()
    own: F64 = table.sum(axis=0) / np.maximum(slots, 1.0)[:, None]
    found = float((((table.sum(axis=1) - parts @ own) ** 2) / share).sum())
    # Of a slot's rows those in a block are drawn without replacement (hypergeometric).
    drawn = (parts * (slots - parts)).sum(axis=0) / np.maximum(slots - 1.0, 1.0)
    expected = float((drawn[:, None] * own * (1.0 - own) / share).sum())
    free = len(share) - 1
    total = float(rows.sum())
    # Variance of Pearson's statistic of one block: Haldane, Biometrika 1937.
    rare = float((1.0 / share).sum()) - len(share) ** 2 - 2 * len(share) + 2
    variance = float((rows * rows) @ (2.0 * free + np.maximum(rare / rows, 0.0)))
    if expected <= 0.0:
        return 1.0, 1.0
    return found / expected, 2.0 * (total * free) ** 2 / variance


def _noise(freedom: float, z: float) -> float:
    """The ratio that chance exceeds as seldom as a standard normal exceeds z (Wilson and Hilferty,
    PNAS 1931)."""
    part = 2.0 / (9.0 * freedom)
    return float((1.0 - part + z * part**0.5) ** 3)
