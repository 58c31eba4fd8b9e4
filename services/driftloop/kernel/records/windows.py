"""Windows and the partials they are merged from.

A window is tumbling in event time and belongs to one model, stream, version and shadow, so each
row lies in exactly one window and each window has one reference profile.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from driftloop.kernel.records.provenance import OffsetRange


class Stream(enum.StrEnum):
    """Which rows a window is of."""

    PREDICTIONS = "predictions"
    OUTCOMES = "outcomes"


@dataclass(frozen=True, slots=True)
class NumericStatistics:
    """Of one numeric column over a window's rows. The column ``score`` is the champion's score: the
    probability of class 1; multiclass, that of the most probable class; regression, the value."""

    name: str
    count: int
    """Finite values."""
    missing: int
    """NaN values."""
    sum: bytes
    """Exact sum of the finite values (canonical superaccumulator)."""
    squares: bytes
    """Exact sum of the rounded squares (canonical superaccumulator)."""
    minimum: float
    """NaN when ``count`` is 0; so is ``maximum``."""
    maximum: float
    bins: tuple[int, ...]
    """Counts on the version's reference bins, one more than its edges; empty without a profile.
    Bin i holds edges[i-1] < x <= edges[i]."""
    buckets: tuple[int, ...]
    """Log-bucket indices, ascending, of the non-empty buckets; magnitudes below 2**-64 lie in
    that of 0, those from 2**64 on in the last."""
    bucket_counts: tuple[int, ...]
    outside: int = 0
    """Finite values outside the reference's extremes; 0 without a profile."""


@dataclass(frozen=True, slots=True)
class CategoricalStatistics:
    """Of one categorical column over a window's rows."""

    name: str
    count: int
    """Present values, known or not."""
    missing: int
    levels: tuple[int, ...]
    """Counts on the profile's levels, in its order; empty without a profile."""
    unseen: int
    """Values that are not among the profile's levels; 0 without a profile."""


@dataclass(frozen=True, slots=True)
class PairedStatistics:
    """Champion against shadow on the same rows.

    ``d`` is the champion's bounded loss minus the shadow's, divided by the loss bound, so in
    [-1, 1]; positive where the shadow is better.
    """

    rows: int
    wins: int
    """Rows the shadow predicts better."""
    losses: int
    ties: int
    shadow_loss: bytes
    """Exact sum of the shadow's bounded losses (canonical superaccumulator)."""
    better: tuple[bytes, ...]
    """Per lambda of ``BETS``: exact sum of log(1 + lambda d)."""
    worse: tuple[bytes, ...]
    """Per lambda of ``BETS``: exact sum of log(1 - lambda d)."""


@dataclass(frozen=True, slots=True)
class LossStatistics:
    """What outcomes say of the champion's predictions."""

    rows: int
    labels: tuple[int, ...]
    """Rows per class; for a regression empty."""
    loss: bytes
    """Exact sum of the bounded losses (canonical superaccumulator): log loss with scores clipped so
    that no row loses more than ``LOSS_BOUND``; of a regression, the absolute error, cut at the
    declared bound."""
    loss_squares: bytes
    errors: int
    """Rows whose most probable class is not the label; 0 of a regression."""
    histogram: tuple[int, ...]
    """Counts of rows per score bin, 64 equal ones of [0, 1], and by it, fastest: binary, the class;
    multiclass, whether the most probable class was wrong, then right. Empty of a regression."""
    bets: tuple[bytes, ...]
    """Always empty: bets on the loss are placed on :attr:`bins` since the schema's version 2."""
    paired: PairedStatistics | None
    bins: tuple[int, ...] = ()
    """Counts on the bins of the version's loss baseline; empty without one."""


@dataclass(frozen=True, slots=True)
class SegmentStatistics:
    """Counts of the rows of one segment: those whose segment feature has this level."""

    level: str
    rows: int
    counts: tuple[int, ...]
    """In the layout of the version's profile for the stream, ``kernel.statistics.layout``."""


@dataclass(frozen=True, slots=True)
class WindowStatistics:
    """Sufficient statistics of a window's rows: equal bits however the rows came."""

    rows: int
    numeric: tuple[NumericStatistics, ...]
    """The declared numeric features in order, then ``score``."""
    categorical: tuple[CategoricalStatistics, ...]
    """The declared categorical features in order; of a multiclass model then ``predicted``."""
    loss: LossStatistics | None
    """Of outcomes only."""
    segments: tuple[SegmentStatistics, ...] = ()
    """In the order of the segment feature's levels in the profile, each of them; empty where no
    segment is declared, and without a profile."""


@dataclass(frozen=True, slots=True)
class Partial:
    """Everything one source partition has contributed to a window up to an end offset: cumulative,
    so the one with the highest ``end_offset`` replaces the others."""

    model: str
    stream: Stream
    start: int
    end: int
    version: int
    shadow: int
    """-1 without a shadow; always -1 for predictions."""
    source: OffsetRange
    """From the first row that fell into the window to the offset the partial reflects."""
    late: int
    """Rows that came when the partition's watermark had passed the window's end and the allowed
    lateness."""
    watermark: int
    """An event time the source partition has reached, such that every row before it is in this
    partial or an earlier one. The last partial of a flush has the highest event time seen."""
    source_partitions: int
    """How many partitions the source topic has."""
    statistics: WindowStatistics


@dataclass(frozen=True, slots=True)
class Window:
    """A closed window. Late rows make a new revision; the highest one counts."""

    model: str
    stream: Stream
    start: int
    end: int
    version: int
    shadow: int
    revision: int
    rows: int
    late: int
    sources: tuple[OffsetRange, ...]
    """Per source partition, in order. The window's rows are those of these ranges with event time
    in [start, end) and this version and shadow."""
    watermark: int
    statistics: WindowStatistics
    digest: str
    """SHA-256 (hex) of the Avro encoding of ``statistics``."""
    parts: int = 1
    """How many windows of this stream, start and version there were, this one included, when it was
    given out: one for each shadow. All of them are written, those without late rows one after
    another. 0: an older release did not tell."""

    @property
    def id(self) -> str:
        return window_id(self.model, self.stream, self.start, self.version, self.shadow)


def window_id(model: str, stream: Stream, start: int, version: int, shadow: int) -> str:
    """A window's name, the same for all its revisions."""
    return f"{model}/{stream}/{start}/{version}/{shadow if shadow >= 0 else '-'}"
