"""Everything a window keeps of its rows, while rows still come in.

Equal rows give equal statistics, bit for bit, however they were split into batches: counts are
integers, sums exact, extremes and log-buckets do not depend on order.
"""

from __future__ import annotations

import numpy as np

from driftloop.kernel.codec.blocks import (
    I64,
    Categories,
    Features,
    OutcomeBlock,
    PredictionBlock,
)
from driftloop.kernel.declaration import Declaration, Task
from driftloop.kernel.errors import ConfigurationError, DecodeError
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import Profile, Stream, WindowStatistics
from driftloop.kernel.statistics import segment_kernels
from driftloop.kernel.statistics.category_sketch import category_sketches
from driftloop.kernel.statistics.loss_sketch import LossSketch
from driftloop.kernel.statistics.losses import bounded_log_loss
from driftloop.kernel.statistics.numeric_sketch import NumericSketch
from driftloop.kernel.statistics.segment_sketch import SegmentSketch
from driftloop.kernel.statistics.segments import segment_column

SCORE = "score"
"""Name of the last numeric column: the champion's score."""


class Sketch:
    """Mutable statistics of one window.

    ``profile`` is that of the window's version; None (version 0) means no bins, levels or bets.
    ``shadow``: whether the window's rows have a shadow's scores.
    """

    __slots__ = ("_categorical", "_loss", "_numeric", "_segments", "rows")

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
        self._numeric = NumericSketch(
            [*names, SCORE], [*(references.get(name) for name in names), score]
        )
        self._categorical = category_sketches(
            [feature.name for feature in declaration.categorical],
            None if profile is None else profile.categorical,
        )
        cut_by = segment_column(declaration, profile, stream)
        self._segments = SegmentSketch(profile, stream, cut_by) if profile and cut_by >= 0 else None
        self._loss: LossSketch | None = None
        if stream is Stream.OUTCOMES:
            if declaration.task is not Task.BINARY:
                raise ConfigurationError(
                    f"model {declaration.name!r} is {declaration.task}: windows of outcomes are "
                    "made for binary models only"
                )
            upper = profile.loss.upper if profile is not None and profile.loss.upper > 0 else None
            self._loss = LossSketch(upper, shadow=shadow)

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
        slots = self._update_features(block.features, rows)
        first = block.features.numeric.shape[1]
        self._numeric.update(block.scores[:, :1], rows, first)
        if self._segments is not None:
            segment = self._segments.segments(slots[self._segments.column])
            self._segments.add_rows(segment)
            self._segments.add_numeric(block.features.numeric, rows, segment, 0)
            self._segments.add_numeric(block.scores[:, :1], rows, segment, first)
            for column, found in enumerate(slots):
                self._segments.add_categorical(found, segment, column)
        self.rows += len(rows)

    def update_outcomes(self, block: OutcomeBlock, rows: I64) -> None:
        """Take in the chosen rows of a block."""
        slots = self._update_features(block.features, rows)
        self._numeric.update(block.scores[:, :1], rows, block.features.numeric.shape[1])
        score, label = block.scores[rows, 0], block.label[rows]
        if self._loss is not None:
            self._loss.update(score, label, block.shadow_scores[rows, 0])
        if self._segments is not None:
            segment = self._segments.segments(slots[self._segments.column])
            self._segments.add_rows(segment)
            usable = np.isfinite(score) & np.isfinite(label)
            score, label, segment = score[usable], label[usable], segment[usable]
            losses = bounded_log_loss(score, label)
            self._segments.add_losses(losses, (score > 0.5) != (label > 0.5), segment)
        self.rows += len(rows)

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

    def _update_features(self, features: Features, rows: I64) -> list[I64]:
        """Where each categorical column was counted, per row."""
        self._numeric.update(features.numeric, rows, 0)
        return [
            sketch.update(features.categories, column, rows)
            for column, sketch in enumerate(self._categorical)
        ]


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
    LossSketch(1.0, shadow=True).update(*(np.full(1, 0.5) for _ in range(3)))
    Sketch.from_statistics(declaration, None, Stream.PREDICTIONS, sketch.statistics())
