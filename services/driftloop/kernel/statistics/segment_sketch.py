"""Counts of a window's rows by segment, while rows still come in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from driftloop.kernel.codec.blocks import F64, I64
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import Profile, SegmentStatistics, Stream
from driftloop.kernel.statistics.layout import Layout
from driftloop.kernel.statistics.numeric_sketch import NumericReference
from driftloop.kernel.statistics.segment_kernels import count_slots, count_values
from driftloop.kernel.statistics.segments import segments_of

Bools = npt.NDArray[np.bool_]


class SegmentSketch:
    """Counts in the layout of a profile and stream, for each segment of one feature."""

    __slots__ = (
        "_counts",
        "_levels",
        "_loss_edges",
        "_numeric",
        "_rows",
        "_segment_of_slot",
        "_starts",
        "column",
    )

    def __init__(self, profile: Profile, stream: Stream, column: int) -> None:
        """``column``: of the segment feature among the categorical ones."""
        layout = Layout(profile, stream)
        self.column = column
        self._levels = segments_of(profile, stream)
        known = profile.categorical[column].levels
        index = {level: i for i, level in enumerate(self._levels)}
        # Values that are no level of the profile, and missing ones, are in no segment.
        self._segment_of_slot: I64 = np.array([*(index.get(v, -1) for v in known), -1, -1])
        self._starts: I64 = np.array([place.bins.start for place in layout.places], dtype=np.int64)
        self._numeric = NumericReference(profile.numeric)
        self._loss_edges: F64 = np.array(profile.loss.edges, dtype=np.float64)
        self._rows: I64 = np.zeros(len(self._levels), dtype=np.int64)
        self._counts: I64 = np.zeros((len(self._levels), layout.length), dtype=np.int64)

    @property
    def nbytes(self) -> int:
        """Of its arrays."""
        return self._counts.nbytes + self._segment_of_slot.nbytes + self._numeric.edges.nbytes

    def segments(self, slots: I64) -> I64:
        """The segment of rows with these slots of the segment feature (its levels, then unseen,
        then missing); -1: none."""
        return self._segment_of_slot[slots]

    def add_rows(self, segment: I64) -> None:
        """Shape (n,); to be called once for each row."""
        self._rows += np.bincount(segment[segment >= 0], minlength=len(self._rows))

    def add_numeric(self, values: F64, rows: I64, segment: I64, first: int) -> None:
        """Take in ``values[rows]``, shape (n, F), as numeric columns ``first``... of the profile;
        ``segment``, shape (n,), of these rows."""
        last = first + values.shape[1]
        known = self._numeric
        count_values(
            values,
            rows,
            segment,
            known.edges[first:last],
            known.edge_counts[first:last],
            known.limits[first:last],
            self._starts[first:last],
            self._counts,
        )

    def add_categorical(self, slots: I64, segment: I64, column: int) -> None:
        """``slots``: levels, then unseen, then missing."""
        count_slots(slots, segment, self._starts[len(self._numeric) + column], self._counts)

    def add_losses(self, losses: F64, wrong: Bools, segment: I64) -> None:
        """Bounded losses of rows of outcomes, and whether the most probable class is not the label;
        each of shape (n,)."""
        bins = np.searchsorted(self._loss_edges, losses, side="left")
        count_slots(bins, segment, 0, self._counts)
        count_slots(
            np.zeros(int(wrong.sum()), np.int64),
            segment[wrong],
            len(self._loss_edges) + 1,
            self._counts,
        )

    def statistics(self) -> tuple[SegmentStatistics, ...]:
        """As a record, each segment of the profile."""
        return tuple(
            SegmentStatistics(level, rows, tuple(counts))
            for level, rows, counts in zip(
                self._levels, self._rows.tolist(), self._counts.tolist(), strict=True
            )
        )

    def load(self, statistics: Sequence[SegmentStatistics]) -> None:
        """Go on from a record of the same profile and feature. Raises :class:`DecodeError`."""
        length = self._counts.shape[1]
        if tuple(s.level for s in statistics) != self._levels or any(
            len(s.counts) != length for s in statistics
        ):
            raise DecodeError(
                Reason.MALFORMED,
                f"segments {[(s.level, len(s.counts)) for s in statistics]}, expected "
                f"{self._levels} with {length} counts each",
            )
        self._rows[:] = [s.rows for s in statistics]
        self._counts[:] = [s.counts for s in statistics]
