"""Which rows of a source partition were late, by the watermark of the rows before each.

That of a row depends on all rows before it. Where not all of them are read, what is known is the
least it can be, and by the windows on the topic the most it is likely to be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from driftloop.kernel.codec.blocks import I32, I64
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.placing import place
from driftloop.kernel.ports import TopicPartition
from driftloop.kernel.records import Window
from driftloop.kernel.windows import span

_BEFORE_ALL = -(1 << 62)


@dataclass(frozen=True, slots=True)
class Lateness:
    """What was allowed, and what is known of rows that are not read."""

    allowed: int
    """ms"""
    span: tuple[int, int]
    """From when to before when rows may be, event time, ms. Others became dead letters."""
    since: int
    """From when on it is known to have been in force: a timestamp of records, ms."""
    versions: I64
    """Rows of others became dead letters."""
    ends: Mapping[TopicPartition, tuple[I64, I64]]
    """Where windows begin, ascending, and the highest end of those that began by then."""

    @classmethod
    def of(
        cls, declared: Declaration, since: int, versions: Iterable[int], windows: Iterable[Window]
    ) -> Lateness:
        """By what is ``declared``; ``windows``: all of the stream that are known."""
        found: dict[TopicPartition, list[tuple[int, int]]] = {}
        for window in windows:
            for source in window.sources:
                at = TopicPartition(source.topic, source.partition)
                found.setdefault(at, []).append((source.start, window.end))
        ends = {}
        for at, pairs in found.items():
            starts, until = np.array(sorted(pairs), dtype=np.int64).T
            ends[at] = starts.copy(), np.maximum.accumulate(until)
        known = np.array(sorted(versions), dtype=np.int64)
        return cls(declared.windows.lateness, span(declared), since, known, ends)

    def before(self, source: TopicPartition, offset: int) -> int:
        """The most that the watermark is likely to be at an offset."""
        starts, ends = self.ends.get(source, (np.zeros(0, np.int64),) * 2)
        index = int(np.searchsorted(starts, offset))
        return int(ends[index - 1]) - 1 if index else _BEFORE_ALL


@dataclass(frozen=True, slots=True)
class Flags:
    """Of rows."""

    least: npt.NDArray[np.bool_]
    """Those that were late whatever came before what was read."""
    most: npt.NDArray[np.bool_]
    """Those that were late, if what came before is as the windows say."""
    certain: npt.NDArray[np.bool_]
    """Whether nothing is missing that decides it."""


class LateRows:
    """Of one source partition, read in the order of its offsets."""

    def __init__(self, lateness: Lateness, source: TopicPartition) -> None:
        self._lateness = lateness
        self._source = source
        self._next = 0
        self._all = True
        """Whether nothing was left out so far."""
        self._least = self._most = _BEFORE_ALL

    def go_on(self, start: int, end: int) -> None:
        """What is read next."""
        if start > self._next:
            self._all = False
            self._most = max(self._most, self._lateness.before(self._source, start))
        self._next = end

    def take(
        self, time: I64, version: I32, written: I64, sizes: Iterable[int]
    ) -> Mapping[int, Flags]:
        """By windows' size, of rows with these event times, versions and timestamps."""
        first, end = self._lateness.span
        counts = np.isin(version, self._lateness.versions) & (time >= first) & (time < end)
        time = np.where(counts, time, _BEFORE_ALL)
        certain = (written >= self._lateness.since) & self._all
        found = {
            size: Flags(
                self._late(time, size, self._least), self._late(time, size, self._most), certain
            )
            for size in sizes
        }
        highest = int(time.max(initial=_BEFORE_ALL))
        self._least, self._most = max(self._least, highest), max(self._most, highest)
        return found

    def _late(self, time: I64, size: int, watermark: int) -> npt.NDArray[np.bool_]:
        n = len(time)
        start, late, kept = np.zeros(n, np.int64), np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        bounds, marks = np.array([0, n]), np.array([watermark])
        closes = size + self._lateness.allowed
        place(np.ascontiguousarray(time), bounds, size, closes, closes, marks, start, late, kept)
        return late
