"""How far blocks of rows are from what all rows say, in each direction that the drift tests bet in.

A direction is a score per bin, and a block deviates by the sum of its rows' scores less what as
many rows of the same season's slots have on average. Two-sided bets go in those of normal scores
(van der Waerden), of their squares, and of each large bin by itself; bets on the upper end in that
of Savage's scores, -log(1 - p). Bets move along the order of the bins of categories, too; beside
them are those on all directions together, of which :func:`together` tells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np

from driftloop.kernel.codec.blocks import F64, I64
from driftloop.models import mixtures
from driftloop.models.payoffs import (
    BIN_WEIGHT,
    MIXTURE_PART,
    SCALE_WEIGHT,
    SHIFT_WEIGHT,
    Betting,
    largest_bins,
    payoffs,
)

LEAST_BLOCKS = 8
"""Fewer blocks say nothing, and so do fewer degrees of freedom than these have."""
_NORMAL = NormalDist()
_ROUNDING = 1e-12
"""Of a variance that is nothing but rounding."""
_TOGETHER = 1024
"""Blocks, to bound the memory."""


@dataclass(frozen=True, slots=True)
class Directions:
    """Of one stream."""

    scores: F64
    """Shape (E, K)."""
    chosen: I64
    """Bins that are directions by themselves, after those of scores."""
    stakes: F64
    """Shape (D,): the part of the bets that goes in each of the two together."""


def directions(totals: I64, betting: Betting) -> Directions:
    """Of a stream whose bins have ``totals`` rows, shape (K,), two of them at least some."""
    share: F64 = totals / totals.sum()
    high = np.cumsum(share)
    none: I64 = np.zeros(0, dtype=np.int64)
    if np.count_nonzero(totals) == 2:  # All directions are one.
        last = np.flatnonzero(totals)[-1]
        one = (np.arange(len(totals)) == last).astype(np.float64)
        return Directions(one[None, :], none, np.ones(1))
    # An empty bin at either end has its middle there.
    middles = np.clip(high - 0.5 * share, 1e-9, 1.0 - 1e-9)
    if betting is Betting.UPPER:
        return Directions(-np.log1p(-middles)[None, :], none, np.ones(1))
    normal = np.array([_NORMAL.inv_cdf(middle) for middle in middles.tolist()])
    chosen = largest_bins(totals)
    # By fewer rows a bin shows nothing.
    chosen = chosen[totals[chosen] >= LEAST_BLOCKS]
    normal = normal - share @ normal
    single = [BIN_WEIGHT / max(1, len(chosen))] * len(chosen)
    ends = np.array([SHIFT_WEIGHT, SCALE_WEIGHT])
    if betting is Betting.UNORDERED:
        ends = ends * (1.0 - MIXTURE_PART)
    return Directions(np.stack([normal, normal**2]), chosen, np.concatenate([ends, single]))


@dataclass(frozen=True)
class Blocks:
    """Counts of blocks of rows, compared with all rows of their slots."""

    table: I64
    """Shape (blocks, slots, K). No slot is empty."""

    @cached_property
    def parts(self) -> F64:
        """Rows, (blocks, slots)."""
        return np.asarray(self.table.sum(axis=2), dtype=np.float64)

    @cached_property
    def rows(self) -> F64:
        """Of each block."""
        return np.asarray(self.parts.sum(axis=1), dtype=np.float64)

    @cached_property
    def own(self) -> F64:
        """Each slot's shares of the bins, (slots, K)."""
        shares = self.table.sum(axis=0) / self.parts.sum(axis=0)[:, None]
        return np.asarray(shares, dtype=np.float64)

    @cached_property
    def share(self) -> F64:
        return np.asarray(self.table.sum(axis=(0, 1)) / self.rows.sum(), dtype=np.float64)

    @cached_property
    def drawn(self) -> F64:
        """Of a slot's rows those in a block are drawn without replacement (hypergeometric): per
        slot the sum over the blocks of rows times the finite population's correction."""
        slots: F64 = self.parts.sum(axis=0)
        drawn = (self.parts * (slots - self.parts)).sum(axis=0) / np.maximum(slots - 1.0, 1.0)
        return np.asarray(drawn, dtype=np.float64)

    @cached_property
    def free(self) -> float:
        """The part of the deviations that is free: each slot's add up to nothing."""
        cells = int(np.count_nonzero(self.parts))
        return float(1.0 - self.parts.shape[1] / cells)

    @cached_property
    def equal(self) -> float:
        """As many blocks of equal size as tell as much as those with these rows (Kish)."""
        return float(self.rows.sum() ** 2 / (self.rows @ self.rows))

    @cached_property
    def deviations(self) -> F64:
        """Of the blocks' counts, (blocks, K)."""
        return np.asarray(self.table.sum(axis=1) - self.parts @ self.own, dtype=np.float64)

    def longer(self, starts: I64) -> Blocks | None:
        """Those from each of ``starts`` to the next as one; None where too little can be compared
        in these."""
        return known(np.add.reduceat(self.table, starts, axis=0))

    def along(self, found: Directions) -> Deviations:
        """In these directions."""
        chosen, scores = found.chosen, found.scores
        centred = scores - (scores @ self.share)[:, None]
        squares = centred * centred
        share, own = self.share[chosen], self.own[:, chosen]
        odds = share * (1.0 - share)
        spread = np.concatenate([squares @ self.share, odds])
        varied = self.own @ squares.T - (self.own @ centred.T) ** 2
        expected = self.drawn @ np.concatenate([varied, own * (1.0 - own)], axis=1)
        fourth = np.concatenate([(squares * squares) @ self.share, odds * (1.0 - 3.0 * odds)])
        sure = (spread > _ROUNDING) & (expected > _ROUNDING * self.rows.sum())
        excess = np.maximum(fourth / np.where(sure, spread * spread, 1.0) - 3.0, 0.0)
        variance = 2.0 * (self.rows @ self.rows) + self.rows.sum() * excess
        freedom = 2.0 * self.rows.sum() ** 2 / variance * self.free
        deviations = self.deviations
        moved = np.concatenate([deviations @ scores.T, deviations[:, chosen]], axis=1)
        return Deviations(
            np.where(sure, moved, 0.0),
            np.where(sure, expected, 1.0),
            np.asarray(freedom, dtype=np.float64),
            self.equal * self.free,
            len(scores),
        )

    def winnings(self, betting: Betting) -> tuple[F64, F64]:
        """Log winnings that each bet would have had on each block, (blocks, bets), within a bag
        as large as all rows, and what is staked on each bet; without those on all directions."""
        logs, stakes = payoffs(self.share, betting)
        won = self.deviations @ logs.T + self.rows[:, None] * (logs @ self.share)
        return np.asarray(won, dtype=np.float64), stakes

    def mixed(self, power: float = 1.0) -> F64:
        """The same of those on all directions, (blocks,), with the dispersion 1 / ``power``."""
        bag = power * self.rows.sum() * self.share
        found: F64 = np.empty(len(self.rows))
        for start in range(0, len(found), _TOGETHER):
            some = slice(start, start + _TOGETHER)
            # As in the others, rows are taken off their slots'.
            usual = self.rows[some, None] * self.share
            counts = power * np.maximum(usual + self.deviations[some], 0.0)
            found[some] = mixtures.log_e(counts, bag)
        return found


def compared(table: I64) -> Blocks:
    """Of counts in windows, (windows, slots, K). Where most rows are in slots that were seen once,
    nothing tells a slot's rows from what windows do by themselves: windows are then compared with
    the rows of all slots, and what follows the season counts as variation."""
    found = known(table)
    return Blocks(table.sum(axis=1, keepdims=True)) if found is None else found


def known(table: I64) -> Blocks | None:
    """Of the slots with rows in two blocks at least, if they have half of all rows."""
    seen = np.count_nonzero(table.sum(axis=2), axis=0)
    if int(seen.min()) < 2:
        rows = table.sum()
        table = table[:, seen >= 2]
        if 2 * table.sum() < rows or not table.size:
            return None
        seen = seen[seen >= 2]
    if seen.sum() - len(seen) < LEAST_BLOCKS - 1:
        return None
    return Blocks(table)


@dataclass(frozen=True, slots=True)
class Deviations:
    """Of blocks, in D directions."""

    found: F64
    """Shape (blocks, D)."""
    expected: F64
    """Of the sum of their squares, when the rows are exchangeable, (D,)."""
    freedom: F64
    """As how many degrees of freedom of a chi-square that sum then varies, (D,)."""
    firm: float
    """The same but for rare bins and far values: by luck they make the sum too large, seldom too
    small."""
    single: int
    """The first of the directions of one bin."""

    @property
    def ratio(self) -> F64:
        return np.asarray((self.found**2).sum(axis=0) / self.expected, dtype=np.float64)

    def lasting(self, *, together: bool = False) -> tuple[F64, I64]:
        """The ratio with the covariances of blocks one after another, and how many covariances that
        are, those of negative lags too: those of even and odd lag in pairs, of which the sum is
        positive and falls for a reversible chain. How many is asked of all single bins together,
        and of the other directions if they are ``together``: of many, some have many by luck."""
        blocks, single = len(self.found), self.single
        # Padded, so that the newest blocks do not meet the oldest.
        spectrum = np.fft.rfft(self.found, 2 * blocks, axis=0)
        covariances = np.fft.irfft(np.abs(spectrum) ** 2, 2 * blocks, axis=0)[:blocks]
        covariances /= self.expected
        pairs = covariances[: blocks // 2 * 2].reshape(-1, 2, len(self.expected)).sum(axis=1)
        asked = pairs.copy()
        asked[:, single:] = pairs[:, single:].sum(axis=1, keepdims=True)
        if together:
            asked[:, :single] = pairs[:, :single].sum(axis=1, keepdims=True)
        positive = np.minimum.accumulate(asked > 0.0, axis=0)
        pairs = np.where(positive, np.minimum.accumulate(np.maximum(pairs, 0.0), axis=0), 0.0)
        many = positive.sum(axis=0)
        total = np.where(many > 0, 2.0 * pairs.sum(axis=0) - covariances[0], 0.0)
        return total, np.maximum(4 * many - 1, 1).astype(np.int64)


def together(blocks: Blocks) -> tuple[float, float]:
    """Of all directions, Pearson's statistic by its expectation, and its degrees of freedom. Rare
    bins are taken together, so that each has a row per block on average."""
    groups = _pooled(blocks.table.sum(axis=1))
    own = np.stack([blocks.own[:, group].sum(axis=1) for group in groups], axis=1)
    share = np.array([blocks.share[group].sum() for group in groups])
    expected = float((blocks.drawn[:, None] * own * (1.0 - own) / share).sum())
    if expected <= 0.0:
        return 1.0, math.inf
    found = np.stack([blocks.deviations[:, group].sum(axis=1) for group in groups], axis=1)
    rows, free = blocks.rows, len(share) - 1
    # Variance of Pearson's statistic of one block: Haldane, Biometrika 1937.
    rare = float((1.0 / share).sum()) - len(share) ** 2 - 2 * len(share) + 2
    variance = 2.0 * free * float(rows @ rows) + max(rare, 0.0) * float(rows.sum())
    freedom = 2.0 * (float(rows.sum()) * free) ** 2 / variance * blocks.free
    return float((found**2 / share).sum()) / expected, freedom


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
