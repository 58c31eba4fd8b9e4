"""What a window of outcomes keeps of losses, while rows still come in (binary task).

A row counts here when its score and its label are finite, and among the paired rows when the
shadow's score is finite too.
"""

from __future__ import annotations

import numpy as np

from driftloop.kernel.codec.blocks import F64, I64
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import LossStatistics, PairedStatistics
from driftloop.kernel.statistics.exact import ExactSums
from driftloop.kernel.statistics.losses import (
    BETS,
    LOSS_BOUND,
    baseline_payoffs,
    bounded_log_loss,
    paired_payoffs,
)

SCORE_BINS = 64
"""Equal bins of [0, 1] in the histogram of scores by class."""

_CLASSES = 2


class LossSketch:
    """Losses, bets and calibration of the champion; with a shadow, the paired comparison."""

    __slots__ = (
        "_errors",
        "_histogram",
        "_labels",
        "_paired_counts",
        "_paired_sums",
        "_sums",
        "_upper",
    )

    def __init__(self, upper: float | None, *, shadow: bool) -> None:
        """``upper``: the version's loss baseline, > 0, that bets are placed against."""
        self._upper = upper
        self._labels: I64 = np.zeros(_CLASSES, dtype=np.int64)
        self._errors = 0
        self._histogram: I64 = np.zeros(SCORE_BINS * _CLASSES, dtype=np.int64)
        self._sums = ExactSums(2 + (len(BETS) if upper is not None else 0))
        """Loss, its square, then the bets."""
        self._paired_counts: I64 | None = np.zeros(3, dtype=np.int64) if shadow else None
        """Wins, losses, ties."""
        self._paired_sums = ExactSums(1 + 2 * len(BETS) if shadow else 0)
        """Shadow loss, then the bets on the shadow, then those against it."""

    def update(self, score: F64, label: F64, shadow_score: F64) -> None:
        """Take in rows; the arrays have one entry per row."""
        usable = np.isfinite(score) & np.isfinite(label)
        if not usable.all():
            score, label, shadow_score = score[usable], label[usable], shadow_score[usable]
        positive = label > 0.5
        self._labels += np.bincount(positive, minlength=_CLASSES)
        self._errors += int(np.count_nonzero((score > 0.5) != positive))
        bins = np.clip(score * SCORE_BINS, 0, SCORE_BINS - 1).astype(np.int64)
        self._histogram += np.bincount(bins * _CLASSES + positive, minlength=SCORE_BINS * _CLASSES)
        loss = bounded_log_loss(score, label)
        bets = () if self._upper is None else baseline_payoffs(loss, self._upper)
        self._sums.add(np.column_stack((loss, loss * loss, *bets)))
        if self._paired_counts is not None:
            both = np.isfinite(shadow_score)
            self._update_paired(loss[both], bounded_log_loss(shadow_score[both], label[both]))

    def statistics(self) -> LossStatistics:
        loss, loss_squares, *bets = self._sums.encode()
        return LossStatistics(
            rows=int(self._labels.sum()),
            labels=tuple(self._labels.tolist()),
            loss=loss,
            loss_squares=loss_squares,
            errors=self._errors,
            histogram=tuple(self._histogram.tolist()),
            bets=tuple(bets),
            paired=self._paired(),
        )

    def load(self, statistics: LossStatistics) -> None:
        """Go on from a record of the same version and shadow. Raises :class:`DecodeError`."""
        sums = (statistics.loss, statistics.loss_squares, *statistics.bets)
        if (
            len(sums) != len(self._sums.limbs)
            or len(statistics.labels) != _CLASSES
            or len(statistics.histogram) != len(self._histogram)
            or (statistics.paired is None) != (self._paired_counts is None)
        ):
            raise DecodeError(Reason.MALFORMED, "loss statistics of another version or shadow")
        self._labels[:] = statistics.labels
        self._errors = statistics.errors
        self._histogram[:] = statistics.histogram
        for column, data in enumerate(sums):
            self._sums.load(column, data)
        paired = statistics.paired
        if paired is not None and self._paired_counts is not None:
            self._paired_counts[:] = (paired.wins, paired.losses, paired.ties)
            for column, data in enumerate((paired.shadow_loss, *paired.better, *paired.worse)):
                self._paired_sums.load(column, data)

    def _update_paired(self, loss: F64, shadow_loss: F64) -> None:
        assert self._paired_counts is not None
        difference = (loss - shadow_loss) / LOSS_BOUND
        wins = int(np.count_nonzero(difference > 0))
        losses = int(np.count_nonzero(difference < 0))
        self._paired_counts += (wins, losses, len(difference) - wins - losses)
        better, worse = paired_payoffs(difference)
        self._paired_sums.add(np.column_stack((shadow_loss, *better, *worse)))

    def _paired(self) -> PairedStatistics | None:
        if self._paired_counts is None:
            return None
        wins, losses, ties = self._paired_counts.tolist()
        shadow_loss, *bets = self._paired_sums.encode()
        return PairedStatistics(
            rows=wins + losses + ties,
            wins=wins,
            losses=losses,
            ties=ties,
            shadow_loss=shadow_loss,
            better=tuple(bets[: len(BETS)]),
            worse=tuple(bets[len(BETS) :]),
        )
