"""How much more the counts of a stream vary than those of independent rows.

Rows that are near in time are alike (weather stays for days), so a window's n rows say less than n
independent ones. The variance of counts over blocks of time, divided by what independent rows would
give, says how many rows tell as much as one independent row: the dispersion parameter of count data
(McCullagh and Nelder, Generalized Linear Models, 1989, section 4.5), called design effect of a
clustered sample (Rao and Scott, JASA 1981).

It is Pearson's statistic of homogeneity of the blocks by its expectation, each block weighted by
its rows::

    sum_b sum_k (o_bk - n_b p_k)^2 / p_k   /   (K - 1) (N^2 - sum_b n_b^2) / (N - 1)

where o_bk rows of block b lie in bin k of K, N in all, and p_k = sum_b o_bk / N. Given the margins,
the expectation is exactly 1 when the rows are exchangeable, though p is of the same rows. Where a
season is declared, windows are compared with their slot's rows: n_b p_k is then the sum over slots
of the block's rows there times the slot's shares, and the expectation that of rows exchangeable
within their slots. Of ordered bins the sums of normal scores are looked at in the same way: a
location moves more slowly than a shape, and is spread thin over sixteen bins.

Whether there is a dispersion is asked of windows, and of 2, 4, 8, ... windows together, for
dependence that is weak and lasts shows only in long blocks; what is within the noise of independent
rows is 1. How large it is, dependence from window to window included, says the sum of the windows'
autocovariances as far as they are certain to be positive: the initial monotone sequence of Geyer
(Practical Markov Chain Monte Carlo, Statistical Science 7, 1992, section 3.3), and one standard
error of it. Or the upper 95% bound of the blocks' figure, over the lengths of which there are many,
if that is more: tests and intervals that rely on it must not rely on luck.

Few windows may all be alike by luck, and no test tells that they are not. Then
:func:`bounded_dispersion` takes the sum of autocovariances times what luck may be worth. Let d be
the true dispersion and D what is used. A bet's winnings are those of a fair bet to the power d/D,
so an e-detector on windows of n rows passes its threshold A about as seldom as exp(-a D/d), with
a = log(A/n): for winnings x of the starts so far, sum n x^r <= n (sum x)^r for r >= 1. With
D = c S, where S estimates d with the error of a chi-square of v degrees of freedom, the mean of
that is (1 + 2 a c / v)^(-v/2) (moment generating function), and that is exp(-a) where::

    c = v / (2 a) * (exp(2 a / v) - 1)

So on average over the luck of the estimate as many alarms come as were accepted: as a t-test's
quantile widens a normal one's. v is the number of windows by that of the covariances added up
(equivalent degrees of freedom; Priestley, section 6.2); c falls to 1 as windows come. What is weak
and lasts is within the noise of covariances, and shows in blocks of windows, so these have a say,
too: blocks of a length as the root of the number of windows (batch means; Flegal and Jones, Annals
of Statistics 38, 2010), of which there are enough for a bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from driftloop.kernel.codec.blocks import F64, I64

LEAST_BLOCKS = 8
"""Fewer blocks say nothing."""
NOISE = 0.025
"""Chance that independent rows of one column show a dispersion (two standard errors)."""
ENOUGH = 100.0
"""Degrees of freedom from which a length of blocks has a say in the upper bound."""
_NORMAL = NormalDist()
BOUND = _NORMAL.inv_cdf(0.95)
_ROUNDING = 1e-9
"""A ratio that is nothing but rounding."""
_LARGEST = 700.0
"""Of an exponent."""
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

    ``blocks``: :func:`blocks_of` these rows. ``ordered``: the bins are in the order of the values.
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
    return table_dispersion(
        numbers, table.reshape(len(numbers), many, count).astype(np.int64), ordered=ordered
    )


def table_dispersion(numbers: I64, table: I64, *, ordered: bool = False) -> float:
    """Of counts, shape (windows, slots, bins), in windows of these ascending numbers, (windows,).
    At least 1; see :func:`dispersion`."""
    lengths = _lengths(numbers)
    if not lengths or np.count_nonzero(table.sum(axis=(0, 1))) < 2:
        return 1.0
    measures = (_counts, _location) if ordered else (_counts,)
    z = _NORMAL.inv_cdf(1.0 - NOISE / (len(measures) * len(lengths)))
    shown, largest = False, 1.0
    for place, starts in enumerate(lengths):
        longer = np.add.reduceat(table, starts, axis=0)
        for measure in measures:
            deviations = measure(longer)
            ratio, freedom = deviations.ratio, deviations.freedom
            shown = shown or ratio > _noise(freedom, z)
            if freedom >= ENOUGH:
                largest = max(largest, ratio / _noise(freedom, -BOUND))
            if place == 0:
                largest = max(largest, deviations.lasting)
    return largest if shown else 1.0


def bounded_dispersion(
    numbers: I64, table: I64, evidence: float, *, ordered: bool = False
) -> float:
    """:func:`table_dispersion` of few windows, with what luck may be worth where a test asks for
    the log ``evidence`` > 0 (a, above). At least 1; at most all rows, where nothing is known."""
    rows = float(table.sum())
    if np.count_nonzero(table.sum(axis=(0, 1))) < 2:
        return 1.0
    if len(numbers) < LEAST_BLOCKS:
        return rows
    least = 2.0 * math.sqrt(len(numbers))
    starts = [starts for starts in _lengths(numbers) if len(starts) >= least][-1:]
    found = 1.0
    for measure in (_counts, _location) if ordered else (_counts,):
        found = max(found, measure(table).bound(evidence))
        for start in starts:
            longer = measure(np.add.reduceat(table, start, axis=0))
            found = max(found, longer.ratio * luck(longer.firm, evidence))
    return min(found, rows)


def luck(freedom: float, evidence: float) -> float:
    """c, above, for ``freedom`` v and ``evidence`` a, both positive: at least 1."""
    exponent = 2.0 * evidence / freedom
    if exponent > _LARGEST:
        return math.inf
    return math.expm1(exponent) / exponent if exponent > 0.0 else 1.0


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


@dataclass(frozen=True, slots=True)
class _Deviations:
    """How far blocks of rows are from what all rows say."""

    found: F64
    """Shape (blocks, dimensions), so scaled that squares may be added."""
    expected: float
    """Of the sum of their squares, when the rows are exchangeable."""
    freedom: float
    """As how many degrees of freedom of a chi-square that sum then varies."""
    firm: float
    """The same but for rare bins and far values: by luck they make the sum too large, seldom too
    small."""

    @property
    def ratio(self) -> float:
        return float((self.found**2).sum()) / self.expected

    @property
    def lasting(self) -> float:
        """The ratio with the covariances of blocks one after another, and one standard error."""
        found, covariances = self._long_run()
        # Variance of a sum of that many covariances: Priestley, Spectral Analysis and Time Series,
        # 1981, section 6.2.
        return found * (1.0 + math.sqrt(2.0 * covariances / self.freedom))

    def bound(self, evidence: float) -> float:
        """The same with what luck may be worth, instead of a standard error. Or the ratio so, where
        covariances are negative, which is taken for luck."""
        if self.ratio < _ROUNDING:
            return 0.0
        found, covariances = self._long_run()
        # Each covariance, but that of lag 0, is too low by the part of the long-run variance that
        # goes into the mean of all blocks.
        left = 1.0 - (covariances - 1) / len(self.found)
        if left <= 0.0:
            return math.inf
        found *= luck(self.firm / covariances, evidence) / left
        return float(max(found, self.ratio * luck(self.firm, evidence)))

    def _long_run(self) -> tuple[float, int]:
        """The ratio with the covariances of blocks one after another, and how many covariances that
        are, those of negative lags too: those of even and odd lag in pairs, of which the sum is
        positive and falls for a reversible chain."""
        blocks = len(self.found)
        # Padded, so that the newest blocks do not meet the oldest.
        spectrum = np.fft.rfft(self.found, 2 * blocks, axis=0)
        covariances = np.fft.irfft((np.abs(spectrum) ** 2).sum(axis=1), 2 * blocks)[:blocks]
        pairs = covariances[: blocks // 2 * 2].reshape(-1, 2).sum(axis=1)
        ended = np.flatnonzero(pairs <= 0.0)
        pairs = np.minimum.accumulate(pairs[: ended[0]] if len(ended) else pairs)
        if not len(pairs):
            return 0.0, 1
        found = float(2.0 * pairs.sum() - covariances[0]) / self.expected
        return found, 4 * len(pairs) - 1


_NONE = _Deviations(np.ones((1, 1)), 1.0, math.inf, math.inf)
"""Of rows that cannot differ."""


def _counts(table: I64) -> _Deviations:
    """Of counts, shape (blocks, slots, bins)."""
    groups = _pooled(table.sum(axis=1))
    table = np.stack([table[..., group].sum(axis=-1) for group in groups], axis=2)
    parts: F64 = table.sum(axis=2).astype(np.float64)
    rows: F64 = parts.sum(axis=1)
    share: F64 = table.sum(axis=(0, 1)) / rows.sum()
    own = _own(table)
    expected = float((_drawn(parts)[:, None] * own * (1.0 - own) / share).sum())
    if expected <= 0.0:
        return _NONE
    free = len(share) - 1
    # Variance of Pearson's statistic of one block: Haldane, Biometrika 1937.
    rare = float((1.0 / share).sum()) - len(share) ** 2 - 2 * len(share) + 2
    variance = float((rows * rows) @ (2.0 * free + np.maximum(rare / rows, 0.0)))
    found = (table.sum(axis=1) - parts @ own) / np.sqrt(share)
    freedom = 2.0 * (float(rows.sum()) * free) ** 2 / variance
    return _Deviations(found, expected, freedom, free * _blocks(rows))


def _location(table: I64) -> _Deviations:
    """Of the blocks' sums of the bins' normal scores (van der Waerden)."""
    parts: F64 = table.sum(axis=2).astype(np.float64)
    rows: F64 = parts.sum(axis=1)
    share: F64 = table.sum(axis=(0, 1)) / rows.sum()
    # An empty bin at either end has its middle there. SciPy, which has this too, waits for ever
    # where a worker's memory does not suffice to load it.
    middles = np.clip(np.cumsum(share) - 0.5 * share, 1e-9, 1.0 - 1e-9)
    scores: F64 = np.array([_NORMAL.inv_cdf(middle) for middle in middles.tolist()])
    scores -= share @ scores
    own = _own(table)
    means = own @ scores
    expected = float(_drawn(parts) @ (own @ scores**2 - means**2))
    if expected <= 0.0:
        return _NONE
    spread = float(share @ scores**2)
    excess = float(share @ scores**4) / spread**2 - 3.0
    variance = float((rows * rows) @ (2.0 + np.maximum(excess / rows, 0.0)))
    found = table.sum(axis=1) @ scores - parts @ means
    freedom = 2.0 * float(rows.sum()) ** 2 / variance
    return _Deviations(found[:, None], expected, freedom, _blocks(rows))


def _blocks(rows: F64) -> float:
    """As many blocks of equal size as tell as much as those with these rows (Kish)."""
    return float(rows.sum() ** 2 / (rows @ rows))


def _own(table: I64) -> F64:
    """Each slot's shares of the bins, (slots, bins)."""
    slots: F64 = table.sum(axis=(0, 2)).astype(np.float64)
    return np.asarray(table.sum(axis=0) / np.maximum(slots, 1.0)[:, None], dtype=np.float64)


def _drawn(parts: F64) -> F64:
    """Of a slot's rows those in a block are drawn without replacement (hypergeometric): per slot
    the sum over the blocks of rows times the finite population's correction."""
    slots: F64 = parts.sum(axis=0)
    drawn = (parts * (slots - parts)).sum(axis=0) / np.maximum(slots - 1.0, 1.0)
    return np.asarray(drawn, dtype=np.float64)


def _noise(freedom: float, z: float) -> float:
    """The ratio that chance exceeds as seldom as a standard normal exceeds z (Wilson and Hilferty,
    PNAS 1931)."""
    part = 2.0 / (9.0 * freedom)
    return float((1.0 - part + z * part**0.5) ** 3)
