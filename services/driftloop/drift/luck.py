"""How much more the counts of a stream vary than those of independent rows, said of few windows.

Few windows may all be alike by luck, and no test tells that they are not. So what they show
(``models.variation``) is multiplied by what luck may be worth. Let d be the true dispersion and D
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

from scipy.special import gammainc, gammaincc

from driftloop.kernel.codec.blocks import I64
from driftloop.kernel.records import Variation
from driftloop.models.payoffs import Betting
from driftloop.models.variation import table_variation

_LEAST_LOSS = math.log(1.1)
_LEAST, _MOST = -3.0, 20.0
"""Natural logarithms of what luck may be worth; more is infinite."""
_STEPS = 30


def bounded_dispersion(
    numbers: I64, table: I64, evidence: float, betting: Betting = Betting.ORDERED
) -> float:
    """``models.dispersion.table_dispersion`` of few windows, with what luck may be worth where a
    test asks for the log ``evidence`` > 0 (a, above). At least 1; at most all rows, where nothing
    is known."""
    return bounded(table_variation(numbers, table, betting), evidence)


def bounded(found: Variation, evidence: float) -> float:
    """The same of what was found in the windows."""
    if not found.least:
        return float(max(1, found.rows))
    told = zip(found.ratios, found.freedoms, found.stakes, strict=True)
    sizes = [_bound(ratio, luck(freedom, evidence, stake)) for ratio, freedom, stake in told]
    return min(max(1.0, found.least, *sizes), float(found.rows))


def evidence(threshold: float, rows: float) -> float:
    """What a test with this log ``threshold`` asks for, in windows of so many rows."""
    return max(1.0, threshold - math.log(max(1.0, rows)))


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


def _bound(ratio: float, lucky: float) -> float:
    """What nothing is known of may be anything, though nothing of it shows."""
    return math.inf if math.isinf(lucky) else ratio * lucky
