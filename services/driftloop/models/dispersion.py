"""How much more the counts of a stream vary than those of independent rows.

Rows that are near in time are alike (weather stays for days), so a window's n rows say less than n
independent ones. The variance of counts over blocks of time, divided by what independent rows would
give, says how many rows tell as much as one independent row: the dispersion parameter of count data
(McCullagh and Nelder, Generalized Linear Models, 1989, section 4.5), called design effect of a
clustered sample (Rao and Scott, JASA 1981).

It is the sum of the blocks' squared deviations by its expectation. A block of n_b rows deviates, on
scores x_k of the bins, by::

    sum_k x_k (o_bk - n_b p_k)

where o_bk of its rows lie in bin k, and p_k = sum_b o_bk / N. Given the margins, the expectation
is exact when the rows are exchangeable, though p is of the same rows. Where a season is declared,
windows are compared with their slot's rows: n_b p_k is then the sum over slots of the block's rows
there times the slot's shares, and the expectation that of rows exchangeable within their slots.
The scores are those that bets are on (``models.deviations``), for rows in clumps may move in one
direction alone: a location, a spread, one category. A mean over all directions would dilute it.

Whether there is a dispersion is asked of windows, and of 2, 4, 8, ... windows together, for
dependence that is weak and lasts shows only in long blocks; in each direction, in all of them
together (Pearson's statistic of homogeneity), and of what bets would have won on windows: more
than 1 / q times their stake has a chance of q at most. What is within the noise of independent
rows is 1.

How large it is, says the largest of

- the sum of the windows' autocovariances as far as they are certain to be positive: the initial
  monotone sequence of Geyer (Practical Markov Chain Monte Carlo, Statistical Science 7, 1992,
  section 3.3), and one standard error of it; and the upper 95% bound of the blocks' figure, over
  the lengths of which there are many: tests and intervals that rely on it must not rely on luck. Of
  single bins, on each of which little is staked, the part that is borne, and without a standard
  error, for the largest of many has luck in it already;
- the least under which no bet would have won on the blocks, on average. A sum of squares knows
  little of what is rare and large (a campaign that fills one category, in one window of twenty), a
  product of payoffs lives on it. For windows that vary as a normal distribution does, the two are
  the same.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from driftloop.kernel.codec.blocks import F64, I64
from driftloop.models.deviations import (
    LEAST_BLOCKS,
    Blocks,
    Directions,
    compared,
    directions,
    together,
)
from driftloop.models.fairness import LARGEST, fair, fair_mixture
from driftloop.models.payoffs import MIXTURE_WEIGHT, Betting

NOISE = 0.025
"""Chance that independent rows of one column show a dispersion (two standard errors)."""
ENOUGH = 99.0
"""Degrees of freedom from which a length of blocks has a say in the upper bound: of 100 blocks."""
_NORMAL = NormalDist()
BOUND = _NORMAL.inv_cdf(0.95)
_EVIDENCE = 16.0
"""a, log of what an e-detector may have to win on some tens of rows (a budget of 0.1, twenty
features). A bet with the stake w must win 1/w times as much, and bears a dispersion of
1 + log(1/w) / a in its direction (``drift.luck``)."""
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


def window_rows(times: I64, window: int) -> float:
    """The mean over rows of the number of rows in their window, given their times, shape (n,), in
    ms; 0 where :func:`blocks_of` gives no windows."""
    if window <= 0:
        return 0.0
    _, counts = np.unique(times // window, return_counts=True)
    if len(counts) < LEAST_BLOCKS:
        return 0.0
    return float((counts.astype(np.float64) ** 2).sum() / counts.sum())


def dispersion(
    bins: I64,
    count: int,
    blocks: I64,
    betting: Betting = Betting.ORDERED,
    *,
    slots: I64 | None = None,
) -> float:
    """Of n rows in ``bins``, shape (n,), of 0 to ``count`` - 1; at least 1.

    ``blocks``: :func:`blocks_of` these rows. ``betting``: which bets this is for. ``slots``: those
    of a season, shape (n,); rows are then compared with their slot's alone, and what follows the
    season is no dispersion, if slots were seen more than once.
    """
    if len(bins) < 2 or count < 2:
        return 1.0
    return table_dispersion(*tabled(bins, count, blocks, slots), betting)


def tabled(bins: I64, count: int, blocks: I64, slots: I64 | None = None) -> tuple[I64, I64]:
    """The ascending numbers of the blocks, (B,), and the counts of :func:`dispersion`'s rows in
    them, (B, slots, bins)."""
    numbers, index = np.unique(blocks, return_inverse=True)
    seasons, slot = (
        np.unique(slots, return_inverse=True) if slots is not None else (numbers[:1], 0 * index)
    )
    many = len(seasons)
    table = np.bincount((index * many + slot) * count + bins, minlength=len(numbers) * many * count)
    return numbers, table.reshape(len(numbers), many, count).astype(np.int64)


def table_dispersion(numbers: I64, table: I64, betting: Betting = Betting.ORDERED) -> float:
    """Of counts, shape (windows, slots, bins), in windows of these ascending numbers, (windows,).
    At least 1; see :func:`dispersion`."""
    numbers, table = some_rows(numbers, table)
    lengths = block_lengths(numbers)
    if not lengths or table.shape[2] < 2:
        return 1.0
    windows = compared(table)
    along = directions(windows.table.sum(axis=(0, 1)), betting)
    # Of a single direction, all together are the same.
    asked = len(along.stakes) + 1 if len(along.stakes) > 1 else 1
    z = _NORMAL.inv_cdf(1.0 - 0.5 * NOISE / (asked * len(lengths)))
    longer = (windows.longer(starts) for starts in lengths[1:])
    blocks = [windows, *(found for found in longer if found is not None)]
    found = [_shown(one, along, z) for one in blocks]
    won, stakes = windows.winnings(betting)
    surprise = np.exp(np.minimum(won, LARGEST)) @ stakes
    mixes = betting is Betting.UNORDERED
    if mixes:
        surprise += MIXTURE_WEIGHT * np.exp(np.minimum(windows.mixed(), LARGEST))
    if not any(shown for shown, _ in found) and surprise.max() < 2.0 * len(won) / NOISE:
        return 1.0
    deviations = windows.along(along)
    total, covariances = deviations.lasting()
    # Variance of a sum of that many covariances: Priestley, Spectral Analysis and Time Series,
    # 1981, section 6.2.
    lasting = total * (1.0 + np.sqrt(2.0 * covariances / deviations.freedom))
    single = slice(deviations.single, None)
    lasting[single] = total[single] * _borne(along)[single]
    many = [one for one in blocks[1:] if len(one.rows) >= ENOUGH]
    sizes = [
        *(size for _, size in found),
        float(lasting.max()),
        fair(won),
        *(fair(one.winnings(betting)[0]) for one in many),
        *(fair_mixture(one) for one in (windows, *many) if mixes),
    ]
    # As many as there are rows: nothing is known.
    return max(1.0, min(max(sizes), float(table.sum())))


def share_dispersion(chosen: np.ndarray, blocks: I64, slots: I64 | None = None) -> float:
    """Of the share of the rows that are ``chosen``, boolean of shape (n,), and must not rise."""
    return dispersion(np.asarray(chosen, dtype=np.int64), 2, blocks, Betting.UPPER, slots=slots)


def some_rows(numbers: I64, table: I64) -> tuple[I64, I64]:
    """Only the windows and the bins with rows."""
    held = table.any(axis=(1, 2))
    return numbers[held], table[held][..., table.any(axis=(0, 1))]


def block_lengths(numbers: I64) -> list[I64]:
    """Per length of blocks where each block starts in the ascending numbers of windows."""
    found: list[I64] = []
    while True:
        starts = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1))
        if len(starts) < LEAST_BLOCKS:
            return found
        found.append(starts)
        numbers = numbers // 2


def _shown(blocks: Blocks, along: Directions, z: float) -> tuple[bool, float]:
    """Whether blocks vary by more than noise, and by how much surely, of what is known well."""
    found = blocks.along(along)
    pooled, much = together(blocks)
    ratios, freedoms = [*found.ratio.tolist(), pooled], [*found.freedom.tolist(), much]
    shown, size = False, 1.0
    for place, (ratio, freedom) in enumerate(zip(ratios, freedoms, strict=True)):
        shown = shown or ratio > _noise(freedom, z)
        if freedom < ENOUGH:
            continue
        if found.single <= place < len(found.freedom):
            # The largest of many has luck in it already.
            size = max(size, ratio * float(_borne(along)[place]))
        else:
            size = max(size, ratio / _noise(freedom, -BOUND))
    return shown, size


def _borne(along: Directions) -> F64:
    """What part of a direction's dispersion must be taken off its bets."""
    return np.asarray(_EVIDENCE / (_EVIDENCE - np.log(along.stakes)), dtype=np.float64)


def _noise(freedom: float, z: float) -> float:
    """The ratio that chance exceeds as seldom as a standard normal exceeds z (Wilson and Hilferty,
    PNAS 1931)."""
    part = 2.0 / (9.0 * freedom)
    return float((1.0 - part + z * part**0.5) ** 3)
