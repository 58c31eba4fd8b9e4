"""Which outcome windows a training run is made from."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from driftloop.kernel.decisions import merge_ranges
from driftloop.kernel.records import OffsetRange, Window


@dataclass(frozen=True, slots=True)
class Labelled:
    """What a run needs to know of one outcome window."""

    id: str
    start: int
    end: int
    revision: int
    rows: int
    sources: tuple[OffsetRange, ...]

    @classmethod
    def of(cls, window: Window) -> Labelled:
        return cls(
            window.id, window.start, window.end, window.revision, window.rows, window.sources
        )

    def to_plain(self) -> list[Any]:
        sources = [[s.topic, s.partition, s.start, s.end] for s in self.sources]
        return [self.id, self.start, self.end, self.revision, self.rows, sources]

    @classmethod
    def from_plain(cls, plain: list[Any]) -> Labelled:
        id, start, end, revision, rows, sources = plain
        return cls(id, start, end, revision, rows, tuple(OffsetRange(*part) for part in sources))


@dataclass(frozen=True, slots=True)
class Dataset:
    """Outcomes with outcome time in [start, end), lying in ``sources``."""

    start: int
    end: int
    rows: int
    sources: tuple[OffsetRange, ...]


class Labels:
    """A model's outcome windows, in the order of their ends.

    An end is *settled* once a window with a later end was seen: since windows of a stream close in
    the order of their ends, no window of a settled end is still to come but for late revisions.
    """

    def __init__(self) -> None:
        self._windows: dict[str, Labelled] = {}
        self._order: list[tuple[int, int, str]] = []
        self._ends: list[int] = []

    def put(self, window: Labelled) -> bool:
        """Take in a window, or a higher revision of one. Whether that changed anything."""
        known = self._windows.get(window.id)
        if known is not None and known.revision >= window.revision:
            return False
        self._windows[window.id] = window
        if known is None:
            insort(self._order, (window.end, window.start, window.id))
            at = bisect_left(self._ends, window.end)
            if at == len(self._ends) or self._ends[at] != window.end:
                self._ends.insert(at, window.end)
        return True

    @property
    def newest(self) -> int | None:
        """The highest end."""
        return self._ends[-1] if self._ends else None

    @property
    def settled(self) -> int | None:
        """The highest settled end."""
        return self._ends[-2] if len(self._ends) > 1 else None

    def ends(self, first: int, last: int) -> list[int]:
        """The distinct ends in [first, last], ascending."""
        return self._ends[bisect_left(self._ends, first) : bisect_right(self._ends, last)]

    def row_counts(self, ends: list[int], history: int) -> list[int]:
        """Per end the rows of the dataset up to it, see :meth:`dataset`; history 0 or at least a
        window's size."""
        by_end = [0, *accumulate(self._windows[id].rows for _, _, id in self._order)]
        until = [by_end[bisect_right(self._order, end, key=lambda item: item[0])] for end in ends]
        if not history:
            return until
        by_start = sorted((window.start, window.rows) for window in self._windows.values())
        before = [0, *accumulate(rows for _, rows in by_start)]
        return [
            max(0, count - before[bisect_left(by_start, end - history, key=lambda item: item[0])])
            for end, count in zip(ends, until, strict=True)
        ]

    def dataset(self, at: int, history: int) -> Dataset | None:
        """The windows with end <= at and, unless history is 0, start >= at - history."""
        chosen = self._chosen(at, history)
        if not chosen:
            return None
        return Dataset(
            start=min(window.start for window in chosen),
            end=max(window.end for window in chosen),
            rows=sum(window.rows for window in chosen),
            sources=merge_ranges(part for window in chosen for part in window.sources),
        )

    def prune(self, oldest: int) -> list[str]:
        """Forget windows that start before ``oldest``. Returns their ids."""
        gone = [id for _, start, id in self._order if start < oldest]
        for id in gone:
            del self._windows[id]
        if gone:
            self._order = [item for item in self._order if item[1] >= oldest]
            self._ends = sorted({item[0] for item in self._order})
        return gone

    def _chosen(self, at: int, history: int) -> list[Labelled]:
        last = bisect_right(self._order, at, key=lambda item: item[0])
        oldest = at - history if history else None
        return [
            self._windows[id]
            for _, start, id in self._order[:last]
            if oldest is None or start >= oldest
        ]
