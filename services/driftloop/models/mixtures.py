"""Bets in all directions at once, for bins whose order means nothing.

Of N rows of a bag n are a window's: the part f = n / N. If nothing has changed, each N_k rows of a
bin k are there for the window by the same chance f, and it has C_k of them. The bet is that each
bin has a chance of its own, drawn from a beta distribution with the mean f::

    E = prod_k  BetaBinomial(C_k; N_k, a_k f, a_k (1 - f)) / Binomial(C_k; N_k, f)

with a_k = (1 - f) g N_k: the bins' shares vary as Dirichlet's with the concentration g n do. Where
the window is more than half of the bag, the rest of it is bet on instead (as in ``drift.bets``): it
is parted from the window by the same chance, and what is the smaller part tells how much can show.

Its mean over all windows of n rows is P(n) / Binomial(n; N, f), where P is of the sum of the bins'
C_k under the bet: it has the binomial's mean n and varies by more, so n itself is less likely. No
proof that this never exceeds 1 is known to us; it does not in tens of thousands of bags enumerated
exactly, of which ``tests/unit/test_mixtures.py`` repeats some hundreds. Bets on single bins are
priced by the shares of a bag that has the window in (``drift.bets``). To price this one so would
ask for what every bin teaches the bag, which with 500 of them is most of what a window shows.

It grows fastest, per row, for windows of which the change is evident at once: with K bins that are
sqrt(40 K) / w^2 rows, where w^2 is the sum of (share - share before)^2 / share before, and g then
is sqrt(K / 40). So windows are put together until they are as many (``drift.mixtures``), for the
``EFFECTS`` w^2, which is about the population stability index.
"""

from __future__ import annotations

import math

import numpy as np

from driftloop.kernel.codec.blocks import F64

EFFECTS: F64 = np.array([0.04, 0.08, 0.16, 0.32])
"""w^2, of which each is found soonest by one of as many bets."""
_EVIDENT = 40.0
_TINY = 1e-300
_SHIFT = 8
"""Stirling's series is used from here on: then its error is below 1e-11."""


def lengths(bins: int) -> F64:
    """Rows of a window for each of :data:`EFFECTS`, of a stream with so many bins."""
    return math.sqrt(_EVIDENT * bins) / EFFECTS


def strength(bins: int) -> float:
    """g of a stream with so many bins."""
    return math.sqrt(bins / _EVIDENT)


def log_terms(counts: F64, bag: F64, part: F64, strengths: F64 | float) -> F64:
    """Log E of each bin; what is given fits each other. ``counts``: of a window, C; ``bag``: that
    has the window in, N >= C; ``part``: f, of each bin's stream; ``strengths``: g. 0 where the
    window is none or all of its stream's rows. All may be divided by a dispersion: E is then the
    mean over the bet of its payoffs to the power of one over it, which is valid as well (Jensen).
    """
    known = (part > 0.0) & (part < 1.0) & (bag > 0.0)
    over = part > 0.5
    f = np.where(known, np.where(over, 1.0 - part, part), 0.5)
    total = np.where(known, bag, 1.0)
    hits = np.where(known, np.clip(np.where(over, bag - counts, counts), 0.0, total), 0.0)
    rest = total - hits
    chance = (1.0 - f) * strengths * total
    mine, theirs = chance * f, chance * (1.0 - f)
    found = log_gamma(mine + hits) - log_gamma(mine)
    found += log_gamma(theirs + rest) - log_gamma(theirs)
    found -= log_gamma(chance + total) - log_gamma(chance)
    found -= hits * np.log(f) + rest * np.log1p(-f)
    return np.asarray(np.where(known, found, 0.0), dtype=np.float64)


def log_e(counts: F64, bag: F64) -> F64:
    """Log E of windows, (...), of one stream: what they count on its bins, (..., K), within bags,
    (..., K), that have them in; both may be divided by a dispersion."""
    rows = counts.sum(axis=-1, keepdims=True)
    part = rows / np.maximum(bag.sum(axis=-1, keepdims=True), _TINY)
    terms = log_terms(counts, bag, np.broadcast_to(part, counts.shape), strength(counts.shape[-1]))
    return np.asarray(terms.sum(axis=-1), dtype=np.float64)


def log_gamma(x: F64) -> F64:
    """Logarithm of the gamma function of x > 0 (Abramowitz and Stegun, 6.1.15 and 6.1.41). NumPy
    has none, and training must not load SciPy (``models.payoffs``)."""
    product = x.copy()
    for step in range(1, _SHIFT):
        product *= x + step
    z = x + _SHIFT
    inverse = 1.0 / z
    square = inverse * inverse
    series = 1.0 / 12.0 + square * (-1.0 / 360.0 + square * (1.0 / 1260.0 - square / 1680.0))
    stirling = (z - 0.5) * np.log(z) - z + 0.5 * math.log(2.0 * math.pi) + inverse * series
    return np.asarray(stirling - np.log(product), dtype=np.float64)
