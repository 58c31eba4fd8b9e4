"""The Shiryaev-Roberts e-detector on windows, and the budget it keeps.

For each bet on a stream, M becomes (M + n) * E with every window: n is the window's number of rows
and E its e-value, the product of the bet's payoffs over the rows (``drift.bets``). While the
payoffs of a window have a mean of at most 1 given what came before, M minus the rows seen so far is
a supermartingale (Shin, Ramdas, Rinaldo, arXiv 2203.03532, section 3; a mean over bets of such M is
one again). So is the sum of M over all streams, minus streams x rows.

An alarm of one stream asks for M >= A and puts its M back to 0, that is, takes at least A out of
that sum, which never gets below 0. So the expected number of alarms of a stream in N rows is at
most N / A. The budget is shared out over all streams (:func:`threshold`), so it holds for all
streams, bets and looks together, however they depend on each other. Segments part the rows among
them: all segments of a stream together have no more rows than the stream, so they cost as much as
one more. Asking for an effect as well only takes alarms away.

Rows that come in clumps (one cause behind many rows, as weather is behind all flights of an hour)
tell less than independent ones. With a dispersion d, the rows that tell as much as one, E ** (1/d)
is taken: d equal rows then count as one, and for rows that only partly agree it is the
approximation of batch means (the log-likelihood of a mean with its variance d times as large).

Assumed: given its number of rows, a window's rows are exchangeable with the reference's, up to
clumps no larger than the dispersion tells. Each window's E is exactly valid then. That windows may
be multiplied is exact for rows taken one at a time; for whole windows it holds as far as the mean
of f over a bin stands for the ranks within it, which ``tests/unit/test_false_alarms.py`` bounds by
simulation. It fails where the reference is no sample of what is served: one taken in summer makes
winter an alarm, which is true of the data, if no news to its owner (declare a season, or
``first_weeks``).
"""

from __future__ import annotations

import math

import numpy as np

from driftloop.kernel.codec.blocks import F64

EMPTY = -1e9
"""Log of M = 0: finite, so that it can be stored."""
LOG_TEN = math.log(10.0)
"""Of an M ten times as large."""


def threshold(streams: int, false_alarms_per_100k: float) -> float:
    """What the log of a stream's M must reach: ``false_alarms_per_100k`` > 0 is for ``streams`` of
    them together."""
    return math.log(streams) + math.log(100_000.0 / false_alarms_per_100k)


def advance(log_m: F64, log_e: F64, rows: F64) -> F64:
    """log M after a window of ``rows`` >= 0 rows with log e-values ``log_e``; the shapes fit."""
    with np.errstate(divide="ignore"):
        start = np.log(rows)
    return np.asarray(np.logaddexp(log_m, start) + log_e, dtype=np.float64)


def log_mean(log_m: F64, log_weights: F64, axis: int) -> F64:
    """Log of the weighted mean of M along an axis; ``log_weights`` fits ``log_m``."""
    weighted = log_m + log_weights
    top = weighted.max(axis=axis, keepdims=True)
    total = np.exp(weighted - top).sum(axis=axis, keepdims=True)
    return np.asarray(np.squeeze(top + np.log(total), axis=axis), dtype=np.float64)


_LIKELY = math.log(100.0)
"""Of the likelihood interval of an onset (Pawitan, In All Likelihood, 2001, section 2.6)."""


def onset(scores: F64) -> int:
    """Where the change most likely began: the index from which the sum of the windows' log
    e-values, (W,) with W > 0, to the end is largest (where a CUSUM of them last left 0)."""
    sums = np.cumsum(scores[::-1])
    return len(scores) - 1 - int(np.argmax(sums))


def earliest_onset(scores: F64) -> int:
    """Where it may have begun at the earliest: the first index from which the sum to the end is
    within log 100 of the largest. A slight change may have begun long before it shows."""
    sums = np.cumsum(scores[::-1])[::-1]
    return int(np.argmax(sums >= sums.max() - _LIKELY))
