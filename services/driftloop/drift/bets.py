"""What a row pays: conformal bets on the bin it falls into.

The reference rows and those seen since are a bag; if nothing has changed, a new row is as likely to
be any of the bag as any other, so its rank p in it (ties broken at random) is uniform on [0, 1]. A
bet is a density f on [0, 1], fixed once and for all, and pays f(p): mean 1. Products of such
payoffs are conformal test martingales (Vovk, Gammerman, Shafer: Algorithmic Learning in a Random
World, 2nd ed., section 8.1; with the reference as the first rows: Vovk et al., arXiv 2102.10439).
Ranks are known up to bins, so a bin pays the mean of f over its part of [0, 1].

A window is ranked within the bag that has it in: its n rows are then n draws without replacement
from payoffs whose mean is 1, and the mean of their product is at most 1 (Maclaurin's inequality),
in whatever order they came. So bin counts suffice.

A window with more rows than the bag would be ranked among its own rows, and a change in it would
hardly show. There the bag's rows are bet on, each bet *turned round*: where the window's rows are
bet to rank high within the bag, the bag's are bet to rank low within both. That is as valid. Of all
rows of both the bag's are draws without replacement as much as the window's are, and a turned bet
is a density on [0, 1], too. So its payoffs have a mean of 1 over these rows, and Maclaurin's
inequality holds for their product over the bag's: of m numbers >= 0 with mean 1 the products of k
have the mean e_k / C(m, k) <= (e_1 / m)^k = 1 (Hardy, Littlewood, Polya: Inequalities, theorem 52).
Which side is bet on follows from the numbers of rows alone. Windows may be multiplied as before:
given the rows of both together, how they are parted is independent of the order in which the bag
came about, which the payoffs of earlier windows are made of. So the product of all has at most the
mean of the product of all but the last, and so on down to the first. A bag without rows pays 1.

Two families:

- *two-sided*, for distributions: normal scores z = Phi^-1(p) shifted by ``SHIFTS`` or scaled by
  ``SCALES`` (density ratios of normals), and for each large bin the bet that it grows;
- *upper*, for losses, errors and shares that must not rise: power martingales a (1 - p)^(a - 1)
  with the exponents ``POWERS``. On two bins, of which the upper has the share s, that is the bet
  that the share is s^a.

How strong they are, and what is staked on each: ``models.payoffs``. Where the order of the bins
means nothing, half of what is staked on shifts and scales is on all directions at once instead
(``models.mixtures``).
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri

from driftloop.kernel.codec.blocks import F64, I64
from driftloop.models.payoffs import GROWTH, POWERS, SCALES, SHIFTS

_TINY = 1e-300


def tilts(high: F64, starts: I64, turned: bool = False) -> F64:
    """Log payoffs, shape (..., TILTS, G), of bins that lie side by side and reach up to ``high``,
    (..., G), in [0, 1], each from where the one before ends, those of ``starts`` from 0; 0 for bins
    of no width. ``turned``: of the bets turned round."""
    ends = ndtri(high)[..., None, :]
    shifts, scales = (-SHIFTS, 1.0 / SCALES) if turned else (SHIFTS, SCALES)
    below = np.concatenate([ndtr(ends - shifts[:, None]), ndtr(ends / scales[:, None])], axis=-2)
    return _logs(widths(below, starts), widths(high, starts)[..., None, :])


def powers(high: F64, starts: I64, turned: bool = False) -> F64:
    """Log payoffs, shape (..., len(POWERS), G), likewise."""
    exponents = 1.0 / POWERS if turned else POWERS
    below = 1.0 - (1.0 - high[..., None, :]) ** exponents[:, None]
    return _logs(widths(below, starts), widths(high, starts)[..., None, :])


def widths(high: F64, starts: I64) -> F64:
    """Of bins that reach up to ``high``, (..., G): each from where the one before ends."""
    low = np.empty_like(high)
    low[..., 1:] = high[..., :-1]
    low[..., starts] = 0.0
    return np.asarray(high - low, dtype=np.float64)


def growth(share: F64, turned: bool = False) -> tuple[F64, F64]:
    """Log payoffs of a row in, and of one outside of, a bin of this share that is bet to grow (to
    shrink, where the bet is ``turned``)."""
    exponent = 1.0 / GROWTH if turned else GROWTH
    inside = np.where(share > 0.0, (exponent - 1.0) * np.log(np.maximum(share, _TINY)), 0.0)
    outside = 1.0 - share
    left = np.where(
        (share > 0.0) & (outside > 0.0),
        np.log(np.maximum(1.0 - share**exponent, _TINY)) - np.log(np.maximum(outside, _TINY)),
        0.0,
    )
    return np.asarray(inside, dtype=np.float64), np.asarray(left, dtype=np.float64)


def _logs(mass: F64, width: F64) -> F64:
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.maximum(mass, _TINY)) - np.log(width)
    return np.asarray(np.where(width > 0.0, logs, 0.0), dtype=np.float64)
