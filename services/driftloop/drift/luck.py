"""How much more the counts of a stream vary than those of independent rows, said of few windows.

Few windows may all be alike by luck, and no test tells that they are not. So what they show
(``models.deviations``) is multiplied by what luck may be worth. Let d be the true dispersion and D
what is used. A bet's winnings are those of a fair bet to the power d/D, so an e-detector on
windows of n rows passes its threshold A about as seldom as exp(-a D/d), with a = log(A/n): for
winnings x of the starts so far, sum n x^r <= n (sum x)^r for r >= 1. Where D is larger than d,
nothing is credited: as seldom as accepted, exp(-a), and no less. Bets on which a part w of all is
staked have to win 1/w times as much before all of M is A: a + log(1/w) takes a's place.

D = c S, where S estimates d with the error of a chi-square of v degrees of freedom. c is such that
on average over that luck as many alarms come as were accepted, if rows come in clumps in one
direction that bets go in::

    E exp(-(a + log(1/w)) min(1, c S / d)) = exp(-a)

which widens what is known as a t-test's quantile widens a normal one's. Where clumps show in
several directions, the largest of their D is used of all, which is more than each needs. Bets that
go in one direction alone leave nothing to lose, so a tenth more alarms are accepted of them (w = 1
/ 1.1).

v is the number of windows, less one per season slot that they are compared within, over that of
the covariances added up (equivalent degrees of freedom; Priestley, Spectral Analysis and Time
Series, 1981, section 6.2); c falls to a / (a + log(1/w)) as windows come. What is weak and lasts
is within the noise of covariances, and shows in blocks of windows, so these have a say, too:
blocks of a length as the root of the number of windows (batch means; Flegal and Jones, Annals of
Statistics 38, 2010).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy.special import gammainc, gammaincc

from driftloop.kernel.codec.blocks import F64, I64
from driftloop.models.deviations import LEAST_BLOCKS, Deviations, compared, directions, fair
from driftloop.models.dispersion import block_lengths, some_rows

_ROUNDING = 1e-9
"""A ratio that is nothing but rounding."""
_LEAST_LOSS = math.log(1.1)
_LEAST, _MOST = -3.0, 20.0
"""Natural logarithms of what luck may be worth; more is infinite."""
_STEPS = 30


def bounded_dispersion(numbers: I64, table: I64, evidence: float, *, upper: bool = False) -> float:
    """``models.dispersion.table_dispersion`` of few windows, with what luck may be worth where a
    test asks for the log ``evidence`` > 0 (a, above). At least 1; at most all rows, where nothing
    is known."""
    rows = float(table.sum())
    numbers, table = some_rows(numbers, table)
    if table.shape[2] < 2:
        return 1.0
    if len(numbers) < LEAST_BLOCKS:
        return rows
    windows = compared(table)
    along = directions(windows.table.sum(axis=(0, 1)), upper=upper)
    least = 2.0 * math.sqrt(len(numbers))
    starts = [starts for starts in block_lengths(numbers) if len(starts) >= least][-1:]
    found = [windows, *(windows.longer(start) for start in starts)]
    sizes = [fair(windows.winnings(upper=upper)[0])]
    for place, blocks in enumerate(found):
        if blocks is not None:
            shown = blocks.along(along)
            sizes.append(_bound(shown, evidence, along.stakes, lasting=place == 0))
    return min(max(1.0, *sizes), rows)


@lru_cache(maxsize=4096)
def luck(freedom: float, evidence: float, stake: float) -> float:
    """c, above, for ``freedom`` v, ``evidence`` a and ``stake`` w, all positive. Many streams ask
    for the same."""
    loss = max(-math.log(stake), _LEAST_LOSS)
    asked, half = evidence + loss, 0.5 * freedom
    least, most = _LEAST, _MOST
    for _ in range(_STEPS):
        middle = 0.5 * (least + most)
        c = math.exp(middle)
        # The moment generating function of a chi-square, cut off where nothing is credited.
        lucky = math.exp(evidence - half * math.log1p(asked * c / half))
        found = lucky * gammainc(half, half / c + asked)
        found += math.exp(-loss) * gammaincc(half, half / c)
        least, most = (middle, most) if found > 1.0 else (least, middle)
    return math.inf if most == _MOST else math.exp(most)


def _lucks(freedom: F64, evidence: float, stakes: F64) -> F64:
    """Of each direction."""
    pairs = zip(freedom.tolist(), stakes.tolist(), strict=True)
    return np.array([luck(v, evidence, stake) for v, stake in pairs])


def _bound(found: Deviations, evidence: float, stakes: F64, *, lasting: bool) -> float:
    """The largest of the directions: its ratio, with what luck may be worth; ``lasting``: or that
    with the covariances of windows one after another. Where these are negative, that is taken for
    luck."""
    ratio = found.ratio
    shown = ratio > _ROUNDING
    if not shown.any():
        return 0.0
    firm = np.full(len(ratio), found.firm)
    size = ratio * _lucks(firm, evidence, stakes)
    if lasting:
        long_run, covariances = found.lasting(together=True)
        # Each covariance, but that of lag 0, is too low by the part of the long-run variance that
        # goes into the mean of all blocks.
        left = 1.0 - (covariances - 1) / len(found.found)
        lucks = _lucks(firm / covariances, evidence, stakes)
        # What nothing is known of may be anything, though nothing of it shows.
        unknown = np.isinf(lucks)
        bound = np.where(unknown, math.inf, long_run * np.where(unknown, 1.0, lucks))
        bound = np.where(left > 0.0, bound / np.maximum(left, _ROUNDING), math.inf)
        size = np.maximum(size, bound)
    return float(size[shown].max())
