"""The Shiryaev-Roberts e-detector on windows, and the budget it keeps.

For each bet on a stream, M becomes (M + n) * E with every window: n is the window's number of rows
and E its e-value, the product of the bet's payoffs over the rows. Provided the payoffs were fixed
before the window and have a mean of at most 1 per row under the null hypothesis, M minus the rows
seen so far is a supermartingale (Shin, Ramdas, Rinaldo, arXiv 2203.03532, section 3; a mean over
bets of such M is one again). So is the sum of M over all streams, minus streams x rows.

An alarm of one stream asks for M >= A = streams x 100,000 / budget, and puts its M back to 0, that
is, takes at least A out of that sum. The sum never gets below 0, so the expected number of alarms
in N rows is at most streams x N / A = N x budget / 100,000: the budget holds for all streams, bets
and looks together (the sum over features is that of Vovk et al., arXiv 2102.10439). Asking for an
effect as well only takes alarms away. Streams may depend on each other in any way.

Assumed: given the past and its number of rows, a window's rows are exchangeable draws from one
distribution allowed by the null hypothesis, and the reference limits hold (``drift.bounds``). It
fails where rows of one window come in clumps (one cause behind many rows, as weather is behind all
flights of an hour): E then multiplies what is one observation many times. It also fails where the
reference is no sample of what is served: one taken in summer makes winter an alarm, which is
true of the data, if no news to its owner.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def threshold(streams: int, false_alarms_per_100k: float) -> float:
    """What the log of a stream's M must reach. ``streams`` is how many are watched."""
    return math.log(streams) + math.log(100_000.0 / false_alarms_per_100k)


def advance(log_m: Sequence[float] | None, log_e: Sequence[float], rows: int) -> tuple[float, ...]:
    """log M of every bet after a window of ``rows`` > 0 rows with log e-values ``log_e``."""
    start = math.log(rows)
    if log_m is None:
        return tuple(start + e for e in log_e)
    return tuple(_log_add(start, m) + e for m, e in zip(log_m, log_e, strict=True))


def level(log_m: Sequence[float]) -> float:
    """Log of the mean of M over the bets."""
    top = max(log_m)
    return top + math.log(math.fsum(math.exp(m - top) for m in log_m) / len(log_m))


def onset(scores: Sequence[float]) -> int:
    """Where the change most likely began: the index from which the sum of the windows' log
    e-values to the end is largest (where a CUSUM of them last left 0)."""
    best, best_sum, total = len(scores) - 1, -math.inf, 0.0
    for index in range(len(scores) - 1, -1, -1):
        total += scores[index]
        if total > best_sum:
            best, best_sum = index, total
    return best


def _log_add(a: float, b: float) -> float:
    top = max(a, b)
    return top + math.log1p(math.exp(min(a, b) - top))
