"""The numeric columns of a window, while rows still come in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from driftloop.kernel.codec.blocks import F64, I32, I64
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import NumericProfile, NumericStatistics
from driftloop.kernel.statistics.exact import ExactSums
from driftloop.kernel.statistics.sketch_kernels import (
    NO_KEY,
    held_buckets,
    insert_buckets,
    numeric_pass,
)

_SLOTS = 32
"""Of a new bucket table: 16 buckets before it grows. Most windows of a thousand models have few
rows."""
SMALLEST_BUCKET, LARGEST_BUCKET = 8 * (1023 - 64), 8 * (1023 + 64) - 1
"""Of magnitudes that records tell apart, 2**-64 to 2**64: smaller ones count as 0, larger ones in
the last. A column then has 2,050 buckets at the most, some 10 kB, whatever its values are; in a
double's exponents there is room for 33,000, and the records of few such columns are too large."""


class NumericReference:
    """What the profiles of C numeric columns say of bins and range, as arrays for kernels."""

    __slots__ = ("edge_counts", "edges", "limits")

    def __init__(self, profiles: Sequence[NumericProfile | None]) -> None:
        columns = len(profiles)
        widest = max((len(p.edges) for p in profiles if p is not None), default=0)
        self.edges: F64 = np.zeros((columns, widest))
        self.edge_counts: I64 = np.full(columns, -1, dtype=np.int64)
        """-1 without a profile."""
        self.limits: F64 = np.tile([-math.inf, math.inf], (columns, 1))
        """Values beyond are outside; without a reference value, none is."""
        for column, profile in enumerate(profiles):
            if profile is not None:
                self.edge_counts[column] = len(profile.edges)
                self.edges[column, : len(profile.edges)] = profile.edges
                if any(profile.counts):
                    self.limits[column] = (profile.minimum, profile.maximum)

    def __len__(self) -> int:
        return len(self.edges)


class NumericSketch:
    """Statistics of C numeric columns; the state is what :func:`numeric_pass` says."""

    __slots__ = (
        "_bins",
        "_counts",
        "_extremes",
        "_keys",
        "_names",
        "_places",
        "_reference",
        "_squares",
        "_sums",
        "_tallies",
        "_used",
    )

    def __init__(self, names: Sequence[str], profiles: Sequence[NumericProfile | None]) -> None:
        columns = len(names)
        self._names = tuple(names)
        self._counts: I64 = np.zeros((columns, 3), dtype=np.int64)
        self._extremes: F64 = np.tile([math.inf, -math.inf], (columns, 1))
        self._sums = ExactSums(columns)
        self._squares = ExactSums(columns)
        self._reference = NumericReference(profiles)
        self._bins: I64 = np.zeros((columns, self._reference.edges.shape[1] + 1), dtype=np.int64)
        self._new_tables(0)

    def update(self, values: F64, rows: I64, first_column: int) -> None:
        """Take in ``values[rows]``, shape (n, F), C-contiguous, as columns ``first_column``..."""
        column, row = 0, 0
        while column < values.shape[1]:
            column, row = numeric_pass(
                values,
                rows,
                first_column,
                column,
                row,
                self._counts,
                self._extremes,
                self._reference.limits,
                self._sums.limbs,
                self._squares.limbs,
                self._reference.edges,
                self._reference.edge_counts,
                self._bins,
                self._keys,
                self._tallies,
                self._places,
                self._used,
            )
            if column < values.shape[1]:
                self._make_room()

    @property
    def nbytes(self) -> int:
        """Of its arrays."""
        tables = self._keys.nbytes + self._tallies.nbytes + self._places.nbytes
        sums = self._sums.limbs.nbytes + self._squares.limbs.nbytes
        return tables + sums + self._bins.nbytes + self._reference.edges.nbytes

    def statistics(self) -> tuple[NumericStatistics, ...]:
        """As a record, the columns in order."""
        buckets, amounts, ends = (part.tolist() for part in self._held())
        columns = zip(
            self._names,
            self._counts.tolist(),
            self._extremes.tolist(),
            self._sums.encode(),
            self._squares.encode(),
            self._bins.tolist(),
            (self._reference.edge_counts + 1).tolist(),
            pairwise([0, *ends]),
            strict=True,
        )
        return tuple(
            NumericStatistics(
                name=name,
                count=count,
                missing=missing,
                sum=total,
                squares=squares,
                minimum=least if count else math.nan,
                maximum=greatest if count else math.nan,
                bins=tuple(bins[:binned]),
                buckets=tuple(buckets[low:high]),
                bucket_counts=tuple(amounts[low:high]),
                outside=outside,
            )
            for (
                name,
                (count, missing, outside),
                (least, greatest),
                total,
                squares,
                bins,
                binned,
                (low, high),
            ) in columns
        )

    def load(self, statistics: Sequence[NumericStatistics]) -> None:
        """Go on from a record of the same columns and profile. Raises :class:`DecodeError`."""
        if tuple(s.name for s in statistics) != self._names:
            raise DecodeError(
                Reason.MALFORMED,
                f"statistics of columns {[s.name for s in statistics]}, expected {self._names}",
            )
        self._new_tables(max((len(s.buckets) for s in statistics), default=0))
        for column, s in enumerate(statistics):
            expected = int(self._reference.edge_counts[column]) + 1
            if len(s.bins) != expected or len(s.buckets) != len(s.bucket_counts):
                raise DecodeError(
                    Reason.MALFORMED,
                    f"column {s.name!r} has {len(s.bins)} bins and {len(s.buckets)} buckets with "
                    f"{len(s.bucket_counts)} counts; its profile has {expected} bins",
                )
            self._counts[column] = (s.count, s.missing, s.outside)
            if s.count:
                self._extremes[column] = (s.minimum, s.maximum)
            self._sums.load(column, s.sum)
            self._squares.load(column, s.squares)
            self._bins[column, :expected] = s.bins
            indices = np.asarray(s.buckets, dtype=np.int64)
            self._insert(column, indices, np.asarray(s.bucket_counts, dtype=np.int64))

    def _held(self) -> tuple[I64, I64, I64]:
        """The buckets of all columns one after the other, ascending in each, their counts, and
        where those of each column end."""
        buckets, amounts = np.empty((2, int(self._used.sum())), np.int64)
        ends = np.empty(len(self._names), np.int64)
        held_buckets(
            self._keys, self._tallies, SMALLEST_BUCKET, LARGEST_BUCKET, buckets, amounts, ends
        )
        used = int(ends[-1]) if len(ends) else 0
        return buckets[:used], amounts[:used], ends

    def _make_room(self) -> None:
        """Larger tables, where what lies beyond the bounds does not give enough room."""
        buckets, amounts, ends = self._held()
        bounds = list(pairwise([0, *ends.tolist()]))
        self._new_tables(max(high - low for low, high in bounds))
        for column, (low, high) in enumerate(bounds):
            self._insert(column, buckets[low:high], amounts[low:high])

    def _new_tables(self, most: int) -> None:
        """Empty ones, for so many buckets of a column and as many that are yet to come."""
        columns, slots = len(self._names), _SLOTS
        while slots < 4 * most:
            slots *= 2
        self._keys: I32 = np.full((columns, slots), NO_KEY, dtype=np.int32)
        self._tallies: I64 = np.zeros((columns, slots), dtype=np.int64)
        self._places: I32 = np.zeros((columns, slots), dtype=np.int32)
        self._used: I64 = np.zeros(columns, dtype=np.int64)

    def _insert(self, column: int, indices: I64, amounts: I64) -> None:
        edges = self._reference.edges[column, : max(0, int(self._reference.edge_counts[column]))]
        insert_buckets(
            self._keys[column],
            self._tallies[column],
            self._places[column],
            edges,
            indices,
            amounts,
        )
        self._used[column] = len(indices)
