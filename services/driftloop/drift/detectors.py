"""What is watched: one detector per stream, each a set of bets and an effect.

A detector is fixed by a version's profile and holds no state. Windows reach it as vectors of
numbers (``drift.observations``), of which it knows its own part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from driftloop.drift.bounds import divergence_radius, largest_means, share_upper_bound
from driftloop.kernel.codec.blocks import F64
from driftloop.kernel.records import AlertKind, LossBaseline
from driftloop.kernel.statistics.losses import BETS

MEMORIES = (500, 4000)
"""Rows of recent windows that a bet on bins is learned from: short for sharp changes, long for
slight ones."""
_WEIGHTS = (0.3, 1.0)
_MISSING_STEPS = (0.01, 0.03, 0.1, 0.3, 0.9)


class Detector(Protocol):
    """One stream's test. Vectors are observations of whole windows or sums of them."""

    @property
    def kind(self) -> AlertKind: ...
    @property
    def subject(self) -> str: ...
    @property
    def effect_name(self) -> str: ...

    def rows(self, window: F64) -> int:
        """Rows the test sees of the window."""
        ...

    def log_e(self, window: F64, recent: Sequence[F64]) -> tuple[float, ...]:
        """Log e-value per bet. ``recent``: sums of the windows before, one per MEMORIES."""
        ...

    def scores(
        self, windows: Sequence[F64], recent: Sequence[F64], log_m: Sequence[float]
    ) -> list[float]:
        """Per window the log payoff of the bet that in hindsight was best; ``recent`` as in
        :meth:`log_e`, but with the newest window. For locating a change, not for testing."""
        ...

    def effect(self, total: F64) -> float:
        """How large the change is, over the summed windows."""
        ...


class BinDetector:
    """Has the distribution over a column's bins changed?

    A row in bin b pays f[b] / Z. f mixes 1 with the ratio of recent shares to the reference's (a
    plug-in bet, as in conformal test martingales with a betting function constant on bins: Vovk et
    al., arXiv 2102.10439); it is fixed before the window, so bin counts suffice. Z is the largest
    mean f can have under any distribution the reference leaves possible, so the mean payoff is at
    most 1 under each of them.
    """

    effect_name = "psi"

    def __init__(
        self, kind: AlertKind, subject: str, part: slice, counts: Sequence[int], error: float
    ) -> None:
        """``counts`` are the reference's; ``error`` is the chance its limits may fail with."""
        self.kind = kind
        self.subject = subject
        self._part = part
        self._rows = sum(counts)
        bins = len(counts)
        reference = np.array(counts, dtype=np.float64)
        self._shares: F64 = reference / max(self._rows, 1)
        self._smooth: F64 = (reference + 0.5) / (self._rows + 0.5 * bins)
        self._radius = divergence_radius(self._rows, bins, error)

    def rows(self, window: F64) -> int:
        return int(window[self._part].sum())

    def log_e(self, window: F64, recent: Sequence[F64]) -> tuple[float, ...]:
        counts = window[self._part]
        ratios = np.repeat([self._ratios(total) for total in recent], len(_WEIGHTS), axis=0)
        weights = np.tile(_WEIGHTS, len(recent))[:, None]
        payoffs = 1.0 - weights + weights * ratios
        prices = np.log(largest_means(self._shares, payoffs, self._radius))
        won = (counts * np.log(payoffs)).sum(axis=1)
        return tuple((won - counts.sum() * prices).tolist())

    def scores(
        self, windows: Sequence[F64], recent: Sequence[F64], log_m: Sequence[float]
    ) -> list[float]:
        memory = recent[_best(log_m) // len(_WEIGHTS)]
        logs = np.log(self._ratios(memory))
        return [float((window[self._part] * logs).sum()) for window in windows]

    def effect(self, total: F64) -> float:
        """Population stability index, less what sampling alone adds to it on average, (bins - 1)
        (1/rows + 1/reference rows); at least 0."""
        counts = total[self._part]
        rows = float(counts.sum())
        if rows <= 0.0 or self._rows <= 0:
            return 0.0
        bins = len(counts)
        shares = (counts + 0.5) / (rows + 0.5 * bins)
        psi = float(((shares - self._smooth) * np.log(shares / self._smooth)).sum())
        return max(0.0, psi - (bins - 1) * (1.0 / rows + 1.0 / self._rows))

    def _ratios(self, recent: F64) -> F64:
        """Recent shares over the reference's, drawn towards 1 as by one reference row per bin."""
        counts = recent[self._part]
        prior = float(len(counts))
        shares: F64 = (counts + prior * self._smooth) / (counts.sum() + prior)
        return shares / self._smooth


class MissingDetector:
    """Is a feature missing more often than the reference's upper confidence bound u?

    A bet on the share q > u pays q/u for a missing value and (1-q)/(1-u) for a present one: mean 1
    at u, less below.
    """

    kind = AlertKind.MISSING_VALUES
    effect_name = "missing_share"

    def __init__(self, subject: str, part: slice, missing: int, rows: int, error: float) -> None:
        """``part`` holds (missing, present)."""
        self.subject = subject
        self._part = part
        self._share = missing / max(rows, 1)
        upper = share_upper_bound(missing, rows, error)
        alternatives = [upper + (1.0 - upper) * step for step in _MISSING_STEPS]
        self._logs = [
            (math.log(q / upper), math.log((1.0 - q) / (1.0 - upper)))
            if upper < 1.0
            else (0.0, 0.0)
            for q in alternatives
        ]

    def rows(self, window: F64) -> int:
        return int(window[self._part].sum())

    def log_e(self, window: F64, recent: Sequence[F64]) -> tuple[float, ...]:
        missing, present = window[self._part].tolist()
        return tuple(missing * lost + present * kept for lost, kept in self._logs)

    def scores(
        self, windows: Sequence[F64], recent: Sequence[F64], log_m: Sequence[float]
    ) -> list[float]:
        best = _best(log_m)
        return [self.log_e(window, ())[best] for window in windows]

    def effect(self, total: F64) -> float:
        """Increase of the missing share over the reference's."""
        missing, present = total[self._part].tolist()
        rows = missing + present
        return float(missing / rows) - self._share if rows else 0.0


class LossDetector:
    """Is the mean bounded loss above the upper confidence bound of the version's baseline?

    The windows bring the sums of the bets' log payoffs with them
    (``kernel.statistics.losses.baseline_payoffs``). Observations are (rows, loss, payoffs...).
    """

    kind = AlertKind.CONCEPT_DRIFT
    subject = "loss"
    effect_name = "loss_increase"

    def __init__(self, baseline: LossBaseline) -> None:
        self._mean = baseline.mean

    def rows(self, window: F64) -> int:
        return int(window[0])

    def log_e(self, window: F64, recent: Sequence[F64]) -> tuple[float, ...]:
        return tuple(window[2 : 2 + len(BETS)].tolist())

    def scores(
        self, windows: Sequence[F64], recent: Sequence[F64], log_m: Sequence[float]
    ) -> list[float]:
        best = _best(log_m)
        return [float(window[2 + best]) for window in windows]

    def effect(self, total: F64) -> float:
        """Increase of the mean loss over the baseline's, nats."""
        return float(total[1] / total[0]) - self._mean if total[0] else 0.0


def _best(log_m: Sequence[float]) -> int:
    return max(range(len(log_m)), key=lambda index: log_m[index])
