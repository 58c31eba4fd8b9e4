"""Everything a window keeps of its rows, while rows still come in.

Equal rows give equal statistics, bit for bit, however they were split into batches: counts are
integers, sums exact, extremes and log-buckets do not depend on order.
"""

from __future__ import annotations

import numpy as np

from driftloop.kernel import placing
from driftloop.kernel.codec.blocks import (
    F64,
    I64,
    Categories,
    Features,
    OutcomeBlock,
    PredictionBlock,
)
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import Profile, Stream, WindowStatistics
from driftloop.kernel.statistics import segment_kernels
from driftloop.kernel.statistics.category_sketch import category_sketches
from driftloop.kernel.statistics.criterion import Criterion
from driftloop.kernel.statistics.layout import SCORE
from driftloop.kernel.statistics.loss_sketch import LossSketch
from driftloop.kernel.statistics.numeric_sketch import NumericSketch
from driftloop.kernel.statistics.segment_sketch import SegmentSketch
from driftloop.kernel.statistics.segments import segment_column


class Sketch:
    """Mutable statistics of one window.

    ``profile`` is that of the window's version; None (version 0) means no bins, levels.
    ``shadow``: whether the window's rows have a shadow's scores.
    """

    __slots__ = ("_categorical", "_criterion", "_loss", "_numeric", "_segments", "rows")

    def __init__(
        self,
        declaration: Declaration,
        profile: Profile | None,
        stream: Stream,
        *,
        shadow: bool = False,
    ) -> None:
        names = [feature.name for feature in declaration.numeric]
        references = {} if profile is None else {p.name: p for p in profile.numeric[:-1]}
        score = None if profile is None else profile.numeric[-1]
        self.rows = 0
        self._criterion = Criterion.of(declaration)
        self._numeric = NumericSketch(
            [*names, SCORE], [*(references.get(name) for name in names), score]
        )
        self._categorical = category_sketches(
            [*(feature.name for feature in declaration.categorical), *self._criterion.categorical],
            None if profile is None else profile.categorical,
        )
        cut_by = segment_column(declaration, profile, stream)
        self._segments = SegmentSketch(profile, stream, cut_by) if profile and cut_by >= 0 else None
        self._loss: LossSketch | None = None
        if stream is Stream.OUTCOMES:
            baseline = None if profile is None else profile.loss
            self._loss = LossSketch(self._criterion, baseline, shadow=shadow)

    @classmethod
    def from_statistics(
        cls,
        declaration: Declaration,
        profile: Profile | None,
        stream: Stream,
        statistics: WindowStatistics,
        *,
        shadow: bool = False,
    ) -> Sketch:
        """Go on where ``statistics`` stopped. Raises :class:`DecodeError` where they belong to
        another declaration or profile."""
        sketch = cls(declaration, profile, stream, shadow=shadow)
        sketch._load(statistics)
        return sketch

    def update_predictions(self, block: PredictionBlock, rows: I64) -> None:
        """Take in the chosen rows of a block."""
        score, slots = self._update_columns(block.features, block.scores[rows], rows)
        if self._segments is not None:
            segment = self._segments.segments(slots[self._segments.column])
            self._segments.add_rows(segment)
            self._segments.add_numeric(block.features.numeric, rows, segment, 0)
            every, first = np.arange(len(rows)), block.features.numeric.shape[1]
            self._segments.add_numeric(score, every, segment, first)
            for column, found in enumerate(slots):
                self._segments.add_categorical(found, segment, column)
        self.rows += len(rows)

    def update_outcomes(self, block: OutcomeBlock, rows: I64) -> None:
        """Take in the chosen rows of a block."""
        scores = block.scores[rows]
        _, slots = self._update_columns(block.features, scores, rows)
        if self._loss is not None:
            judged, usable = self._loss.update(scores, block.label[rows], block.shadow_scores[rows])
            if self._segments is not None:
                segment = self._segments.segments(slots[self._segments.column])
                self._segments.add_rows(segment)
                self._segments.add_losses(judged.loss, judged.wrong, segment[usable])
        self.rows += len(rows)

    @property
    def nbytes(self) -> int:
        """Memory it takes, about."""
        parts = (self._numeric, *self._categorical, self._loss, self._segments)
        return sum(part.nbytes for part in parts if part is not None)

    def statistics(self) -> WindowStatistics:
        """As a record."""
        return WindowStatistics(
            rows=self.rows,
            numeric=self._numeric.statistics(),
            categorical=tuple(column.statistics() for column in self._categorical),
            loss=None if self._loss is None else self._loss.statistics(),
            segments=() if self._segments is None else self._segments.statistics(),
        )

    def _load(self, statistics: WindowStatistics) -> None:
        if (
            len(statistics.categorical) != len(self._categorical)
            or (statistics.loss is None) != (self._loss is None)
            or bool(statistics.segments) != (self._segments is not None)
        ):
            raise DecodeError(Reason.MALFORMED, "window statistics of another declaration")
        self.rows = statistics.rows
        self._numeric.load(statistics.numeric)
        for column, counts in zip(self._categorical, statistics.categorical, strict=True):
            column.load(counts)
        if self._loss is not None and statistics.loss is not None:
            self._loss.load(statistics.loss)
        if self._segments is not None:
            self._segments.load(statistics.segments)

    def _update_columns(self, features: Features, scores: F64, rows: I64) -> tuple[F64, list[I64]]:
        """``scores`` (n, C) are the chosen rows' alone. Returns the column ``score``, (n, 1), and
        where each categorical column was counted, (n,) each."""
        every = np.arange(len(rows))
        score = self._criterion.watched(scores)
        self._numeric.update(features.numeric, rows, 0)
        self._numeric.update(score, every, features.numeric.shape[1])
        declared = len(features.categories.levels)
        slots = [
            sketch.update(features.categories, column, rows)
            for column, sketch in enumerate(self._categorical[:declared])
        ]
        predicted = self._criterion.predicted(scores)
        slots += [
            sketch.update(predicted, column, every)
            for column, sketch in enumerate(self._categorical[declared:])
        ]
        return score, slots


def warm(declaration: Declaration) -> None:
    """Compile every kernel a sketch uses (seconds on a cold cache, then from disk)."""
    features = len(declaration.numeric)
    kinds = len(declaration.categorical)
    block = PredictionBlock(
        ids=[b""],
        event_time=np.zeros(1, dtype=np.int64),
        version=np.zeros(1, dtype=np.int32),
        scores=np.zeros((1, declaration.scores)),
        features=Features(
            np.zeros((1, features)),
            Categories(np.full((1, kinds), -1, dtype=np.int32), ((),) * kinds),
        ),
        shadow_version=np.full(1, -1, dtype=np.int32),
        shadow_scores=np.full((1, declaration.scores), np.nan),
        source_partition=np.zeros(1, dtype=np.int32),
        source_offset=np.zeros(1, dtype=np.int64),
    )
    sketch = Sketch(declaration, None, Stream.PREDICTIONS)
    sketch.update_predictions(block, np.zeros(1, dtype=np.int64))
    segment_kernels.warm()
    placing.warm()
    half = np.full((1, declaration.scores), 0.5)
    LossSketch(Criterion.of(declaration), None, shadow=True).update(half, np.zeros(1), half)
    Sketch.from_statistics(declaration, None, Stream.PREDICTIONS, sketch.statistics())
