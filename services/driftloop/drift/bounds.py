"""What a reference sample of finite size leaves possible: the null hypotheses of the detectors.

A reference estimated from n rows is not the truth. Bets against the estimate itself win money in
the long run without any drift, so every payoff here is priced at the worst distribution that the
reference leaves possible at a given confidence. The limits hold for all bins and all streams of a
version at once with chance 1 - CONFIDENCE_ERROR (a union bound over the streams).
"""

from __future__ import annotations

import math

import numpy as np

from driftloop.kernel.codec.blocks import F64

CONFIDENCE_ERROR = 0.05
"""Chance, per version, that some stream's true distribution lies outside its limits."""

_STAGES = 3
_GRID: F64 = np.linspace(-1.0, 1.0, 17)


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


def largest_means(shares: F64, payoffs: F64, radius: float) -> F64:
    """Upper bounds of sum(p * f) over every p with KL(shares || p) <= ``radius``, for each row f of
    ``payoffs``. Shapes: shares (K,), payoffs (B, K), the result (B,).

    For such p and any v >= max(f), by Jensen's inequality (the sums over shares > 0),
    v - sum(p f) >= sum(s (p/s) (v - f)) >= exp(sum(s log(p/s)) + sum(s log(v - f))), so
    sum(p f) <= v - exp(sum(s log(v - f)) - radius). Any v gives a valid bound and the best v the
    exact maximum, so the search for it need not be exact. Bins never seen are covered: p may put
    mass there, at the price of the radius.
    """
    top = payoffs.max(axis=1)
    spread = top - payoffs.min(axis=1)
    best: F64 = top.copy()
    if not math.isfinite(radius):
        return best
    seen = shares > 0.0
    weights = shares[seen]
    distances = top[:, None] - payoffs[:, seen]
    # Convex in v, hence with one minimum in log(v - top): a grid, and finer ones around its best.
    scale = np.log(np.where(spread > 0.0, spread, 1.0))[:, None]
    reach = math.log1p(1.0 / radius) if radius > 0.0 else 20.0
    center = np.zeros_like(scale) + (reach + 3.0 - 25.0) / 2.0
    half = (reach + 3.0 + 25.0) / 2.0
    for _ in range(_STAGES):
        steps = center + half * _GRID
        gaps = np.exp(scale + steps)
        means = (weights * np.log(gaps[:, :, None] + distances[:, None, :])).sum(axis=2)
        bounds = top[:, None] + gaps - np.exp(means - radius)
        at = bounds.argmin(axis=1)[:, None]
        best = np.minimum(best, np.take_along_axis(bounds, at, axis=1)[:, 0])
        center = np.take_along_axis(steps, at, axis=1)
        half *= _GRID[1] - _GRID[0]
    return np.asarray(np.where(spread > 0.0, best, top), dtype=np.float64)


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
