"""What a reference sample of finite size leaves possible: the null hypotheses of the detectors.

A reference estimated from n rows is not the truth. Bets against the estimate itself win money in
the long run without any drift, so every payoff here is priced at the worst distribution that the
reference leaves possible at a given confidence. The limits hold for all bins and all streams of a
version at once with chance 1 - CONFIDENCE_ERROR (a union bound over the streams).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

CONFIDENCE_ERROR = 0.05
"""Chance, per version, that some stream's true distribution lies outside its limits."""

_STEPS = 50
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


def divergence_radius(rows: int, bins: int, error: float) -> float:
    """The r with P(KL(empirical || true) >= r) <= error for ``rows`` draws from ``bins`` classes.

    R. Agrawal, Finite-sample concentration of the multinomial in relative entropy, arXiv
    1904.02291, theorem 1.2: for t = n r > k - 1 the chance is at most e**-t (e t / (k-1))**(k-1).
    Infinite without rows, 0 for a single bin.
    """
    freedom = bins - 1
    if freedom <= 0:
        return 0.0
    if rows <= 0:
        return math.inf
    log_error = math.log(error)
    low, high = float(freedom), 2.0 * freedom - 4.0 * log_error + 8.0
    for _ in range(100):
        t = 0.5 * (low + high)
        if -t + freedom * (1.0 + math.log(t / freedom)) > log_error:
            low = t
        else:
            high = t
    return high / rows


def largest_mean(shares: Sequence[float], payoffs: Sequence[float], radius: float) -> float:
    """An upper bound of sum(p * payoffs) over every p with KL(shares || p) <= ``radius``.

    For such p and any v >= max(payoffs), by Jensen's inequality (the sum over shares > 0),
    v - sum(p f) >= sum(s (p/s) (v - f)) >= exp(sum(s log(p/s)) + sum(s log(v - f))), so
    sum(p f) <= v - exp(sum(s log(v - f)) - radius). Any v gives a valid bound and the best v the
    exact maximum, so the search for it need not be exact. Bins never seen are covered: p may put
    mass there, at the price of the radius.
    """
    top = max(payoffs)
    spread = top - min(payoffs)
    if spread <= 0.0 or not math.isfinite(radius):
        return top
    seen = [(s, top - f) for s, f in zip(shares, payoffs, strict=True) if s > 0.0]

    def bound(log_gap: float) -> float:
        gap = math.exp(log_gap)
        mean_log = math.fsum(s * math.log(gap + distance) for s, distance in seen)
        return top + gap - math.exp(mean_log - radius)

    # Convex in v, hence unimodal in log(v - top): golden section.
    low = math.log(spread) - 25.0
    high = math.log(spread) + math.log1p(1.0 / radius if radius > 0.0 else 1e9) + 3.0
    a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_a, at_b = bound(a), bound(b)
    best = min(top, at_a, at_b)
    for _ in range(_STEPS):
        if at_a <= at_b:
            high, b, at_b = b, a, at_a
            a = high - _GOLDEN * (high - low)
            at_a = bound(a)
            best = min(best, at_a)
        else:
            low, a, at_a = a, b, at_b
            b = low + _GOLDEN * (high - low)
            at_b = bound(b)
            best = min(best, at_b)
    return best


def share_upper_bound(hits: int, rows: int, error: float) -> float:
    """An upper confidence bound of a share: the largest u with rows * kl(hits/rows || u) <=
    log(1/error) (Chernoff; Hoeffding 1963, theorem 1). 1 without rows."""
    if rows <= 0:
        return 1.0
    share = hits / rows
    limit = -math.log(error) / rows
    low, high = share, 1.0
    for _ in range(100):
        u = 0.5 * (low + high)
        if u <= share or _binary_divergence(share, u) <= limit:
            low = u
        else:
            high = u
    return high


def _binary_divergence(p: float, q: float) -> float:
    if q >= 1.0:
        return 0.0 if p >= 1.0 else math.inf
    out = 0.0
    if p > 0.0:
        out += p * math.log(p / q)
    if p < 1.0:
        out += (1.0 - p) * math.log((1.0 - p) / (1.0 - q))
    return out
