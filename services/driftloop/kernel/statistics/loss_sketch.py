"""What a window of outcomes keeps of losses, while rows still come in.

A row counts here when its scores and its label can be judged, and among the paired rows when the
shadow's scores can be, too.
"""

from __future__ import annotations

import numpy as np

from driftloop.kernel.codec.blocks import F64, I64
from driftloop.kernel.declaration import Task
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import LossBaseline, LossStatistics, PairedStatistics
from driftloop.kernel.statistics.criterion import Bools, Criterion, Judged
from driftloop.kernel.statistics.exact import ExactSums
from driftloop.kernel.statistics.losses import BETS, paired_payoffs

SCORE_BINS = 64
"""Equal bins of [0, 1] in the histogram of scores."""


class LossSketch:
    """Losses and calibration of the champion; with a shadow, the paired comparison."""

    __slots__ = (
        "_bins",
        "_criterion",
        "_edges",
        "_errors",
        "_histogram",
        "_labels",
        "_paired_counts",
        "_paired_sums",
        "_rows",
        "_sums",
    )

    def __init__(
        self, criterion: Criterion, baseline: LossBaseline | None, *, shadow: bool
    ) -> None:
        """``baseline``: the version's, on whose bins losses are counted."""
        self._criterion = criterion
        self._rows = 0
        self._labels: I64 = np.zeros(criterion.label_classes, dtype=np.int64)
        self._errors = 0
        pairs = 0 if criterion.task is Task.REGRESSION else 2 * SCORE_BINS
        self._histogram: I64 = np.zeros(pairs, dtype=np.int64)
        bins, edges = (len(baseline.counts), baseline.edges) if baseline else (0, ())
        self._edges: F64 = np.array(edges, dtype=np.float64)
        self._bins: I64 = np.zeros(bins, dtype=np.int64)
        self._sums = ExactSums(2)
        """Loss, its square."""
        self._paired_counts: I64 | None = np.zeros(3, dtype=np.int64) if shadow else None
        """Wins, losses, ties."""
        self._paired_sums = ExactSums(1 + 2 * len(BETS) if shadow else 0)
        """Shadow loss, then the bets on the shadow, then those against it."""

    @property
    def nbytes(self) -> int:
        """Of its arrays."""
        sums = self._sums.limbs.nbytes + self._paired_sums.limbs.nbytes
        return sums + self._histogram.nbytes + self._bins.nbytes

    def update(self, scores: F64, labels: F64, shadow_scores: F64) -> tuple[Judged, Bools]:
        """Take in n rows: scores (n, C), labels (n,), the shadow's scores (n, C). Returns how those
        that count were judged, and which they are, (n,)."""
        usable = self._criterion.usable(scores, labels)
        if not usable.all():
            scores, labels, shadow_scores = scores[usable], labels[usable], shadow_scores[usable]
        judged = self._criterion.judge(scores, labels)
        self._rows += len(labels)
        self._errors += int(np.count_nonzero(judged.wrong))
        self._count_classes(scores, labels, judged)
        if len(self._bins):
            found = np.searchsorted(self._edges, judged.loss, side="left")
            self._bins += np.bincount(found, minlength=len(self._bins))
        self._sums.add(np.column_stack((judged.loss, judged.loss * judged.loss)))
        if self._paired_counts is not None:
            both = self._criterion.usable(shadow_scores, labels)
            shadow = self._criterion.judge(shadow_scores[both], labels[both])
            self._update_paired(judged.loss[both], shadow.loss)
        return judged, usable

    def statistics(self) -> LossStatistics:
        loss, loss_squares = self._sums.encode()
        return LossStatistics(
            rows=self._rows,
            labels=tuple(self._labels.tolist()),
            loss=loss,
            loss_squares=loss_squares,
            errors=self._errors,
            histogram=tuple(self._histogram.tolist()),
            bets=(),
            paired=self._paired(),
            bins=tuple(self._bins.tolist()),
        )

    def load(self, statistics: LossStatistics) -> None:
        """Go on from a record of the same version and shadow. Raises :class:`DecodeError`."""
        if (
            statistics.bets
            or len(statistics.labels) != len(self._labels)
            or len(statistics.histogram) != len(self._histogram)
            or len(statistics.bins) != len(self._bins)
            or (statistics.paired is None) != (self._paired_counts is None)
        ):
            raise DecodeError(Reason.MALFORMED, "loss statistics of another version or shadow")
        self._rows = statistics.rows
        self._labels[:] = statistics.labels
        self._errors = statistics.errors
        self._histogram[:] = statistics.histogram
        self._bins[:] = statistics.bins
        for column, data in enumerate((statistics.loss, statistics.loss_squares)):
            self._sums.load(column, data)
        paired = statistics.paired
        if paired is not None and self._paired_counts is not None:
            self._paired_counts[:] = (paired.wins, paired.losses, paired.ties)
            for column, data in enumerate((paired.shadow_loss, *paired.better, *paired.worse)):
                self._paired_sums.load(column, data)

    def _count_classes(self, scores: F64, labels: F64, judged: Judged) -> None:
        """Labels by class; scores by bin, and by class or whether they were right."""
        task = self._criterion.task
        if task is Task.REGRESSION:
            return
        if task is Task.BINARY:
            second = labels > 0.5
            self._labels += np.bincount(second, minlength=2)
        else:
            second = ~judged.wrong
            self._labels += np.bincount(labels.astype(np.int64), minlength=len(self._labels))
        score = self._criterion.watched(scores)[:, 0]
        # A score that is no probability must not overflow on its way to the last bin.
        bins = (np.clip(score, 0.0, 1.0 - 0.5 / SCORE_BINS) * SCORE_BINS).astype(np.int64)
        self._histogram += np.bincount(bins * 2 + second, minlength=2 * SCORE_BINS)

    def _update_paired(self, loss: F64, shadow_loss: F64) -> None:
        assert self._paired_counts is not None
        difference = (loss - shadow_loss) / self._criterion.bound
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
