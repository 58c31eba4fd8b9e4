"""The rows of many windows, put together again in one pass over each topic partition."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from driftloop.cli.held_offsets import range_text
from driftloop.cli.late_rows import Lateness, LateRows
from driftloop.kernel import sharing
from driftloop.kernel.codec.mapping import to_plain
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.ports import Clock, Log, RecordBatch, TopicPartition
from driftloop.kernel.records import OffsetRange, Profile, Stream, Window, WindowStatistics
from driftloop.kernel.statistics.merge import merge_statistics, statistics_digest
from driftloop.kernel.statistics.sketch import Sketch
from driftloop.kernel.window_rows import decode_rows
from driftloop.kernel.windows import WindowKey, times_of

_GAP = 20_000
"""Reading over so many offsets that no window wants is quicker than starting to read anew."""
_BATCH_ROWS = 8192
_TELL_EVERY_S = 2.0


class Task:
    """One window to recompute."""

    def __init__(self, window: Window, declaration: Declaration, profile: Profile | None) -> None:
        self.window = window
        self.declaration = declaration
        self._profile = profile
        self._pending = len(window.sources)
        self._open = 0
        self._sketch: Sketch | None = None
        self._statistics: WindowStatistics | None = None
        self._held: set[OffsetRange] = set()
        """Of the ranges that it names those with rows of it."""
        self._late: list[tuple[int, int, bool]] = []
        """Least and most rows that were late, and whether that is certain."""

    @property
    def name(self) -> str:
        return f"window {self.window.id} revision {self.window.revision}"

    def open(self) -> None:
        """A partition of the pass under way has rows of it."""
        self._open += 1

    def sketch(self, source: OffsetRange) -> Sketch:
        """For rows that lie in one of the ranges it names."""
        self._held.add(source)
        if self._sketch is None:
            self._sketch = self._new()
        return self._sketch

    def late(self, least: int, most: int, *, certain: bool) -> None:
        """Of some of its rows, so many were late."""
        self._late.append((least, most, certain))

    def close(self) -> bool:
        """One of the opened partitions is beyond it. Whether it was the last of all."""
        self._open -= 1
        self._pending -= 1
        if self._open == 0 and self._sketch is not None:
            more = self._sketch.statistics()
            known = self._statistics
            self._statistics = more if known is None else merge_statistics(known, more)
            self._sketch = None
        return self._pending == 0

    def _new(self) -> Sketch:
        window = self.window
        return Sketch(self.declaration, self._profile, window.stream, shadow=window.shadow >= 0)

    def doubt(self) -> str:
        """What differs from what is likely; empty when nothing does. For one without
        :meth:`difference`."""
        return self._late_rows()[0]

    def difference(self) -> str:
        """What differs; empty when nothing does. Lets go of the statistics."""
        found = self._statistics or self._new().statistics()
        self._statistics = None
        window = self.window
        if found.rows != window.rows:
            return f"it says {window.rows} rows, the log gives {found.rows}"
        for source in window.sources:
            if source not in self._held:
                return f"it names {range_text(source)}: no row of it lies there"
        digest = statistics_digest(found)
        if digest == window.digest == statistics_digest(window.statistics):
            text, certain = self._late_rows()
            return text if certain else ""
        if digest == window.digest:
            return "its digest is right, but its statistics are others"
        where = _first_difference(to_plain(window.statistics), to_plain(found))
        return f"{where} differs" if where else "its statistics are right, but its digest is not"

    def _late_rows(self) -> tuple[str, bool]:
        """What its count of late rows differs from, if it does, and whether that is certain."""
        late = self.window.late
        least, most = (sum(part[side] for part in self._late) for side in (0, 1))
        if not self._late:
            most = self.window.rows
        if least <= late <= most:
            return "", True
        given = f"{least}" if least == most else f"{least} to {most}"
        text = f"it says that {late} of its rows were late, the log gives {given}"
        impossible = late < least or late > self.window.rows
        return text, impossible or all(certain for _, _, certain in self._late)


@dataclass(frozen=True, slots=True)
class _Part:
    """One window's share of a topic partition."""

    task: Task
    range: OffsetRange
    first: int
    """Of the window's rows, event time, ms."""
    end: int


class Lane:
    """One topic partition, and the windows that have rows in it."""

    def __init__(
        self,
        source: TopicPartition,
        stream: Stream,
        declaration: Declaration,
        lateness: Lateness | None = None,
        *,
        from_start: bool = False,
    ) -> None:
        """With ``lateness`` late rows are counted, too; ``from_start``: whether the log still has
        the partition's first."""
        self._late = None if lateness is None else LateRows(lateness, source)
        self._near = _GAP if lateness is not None and from_start else 0
        """Starting from the first row is as quick from here."""
        self.source = source
        self.read = 0
        """Offsets passed so far, of :attr:`total`."""
        self._stream = stream
        self._declaration = declaration
        self._parts: dict[int, dict[WindowKey, _Part]] = defaultdict(dict)
        """By window size, of which a model has one unless its declaration was changed."""

    def add(self, task: Task, source: OffsetRange) -> None:
        window = task.window
        key = WindowKey(window.start, window.version, window.shadow)
        times = times_of(window.start, window.end, self._declaration)
        self._parts[window.end - window.start][key] = _Part(task, source, *times)

    def parts(self) -> list[_Part]:
        return [part for parts in self._parts.values() for part in parts.values()]

    @cached_property
    def total(self) -> int:
        return sum(end - start for start, end in self._segments())

    def batches(self, log: Log) -> Iterator[list[Task]]:
        """Reads on, a batch at a time; the windows it has come to the end of."""
        parts = self.parts()
        ends = [(part.range.end, index) for index, part in enumerate(parts)]
        heapq.heapify(ends)
        before = 0
        for start, end in self._segments():
            if self._late is not None:
                self._late.go_on(start, end)
            for batch in log.read(self.source, start, end, limit=_BATCH_ROWS):
                self._take(batch)
                self.read = before + batch.next_offset - start
                passed = []
                while ends and ends[0][0] <= batch.next_offset:
                    passed.append(parts[heapq.heappop(ends)[1]].task)
                yield passed
            before += end - start
        self.read = before
        yield [parts[index].task for _, index in ends]

    def _segments(self) -> list[tuple[int, int]]:
        """Offsets to read, ascending."""
        found: list[tuple[int, int]] = []
        spans = sorted((part.range.start, part.range.end) for part in self.parts())
        if spans and spans[0][0] <= self._near:
            spans.insert(0, (0, 0))
        for start, end in spans:
            if found and start <= found[-1][1] + _GAP:
                found[-1] = (found[-1][0], max(found[-1][1], end))
            else:
                found.append((start, end))
        return found

    def _take(self, everyones: RecordBatch) -> None:
        batch = sharing.of_model(self._declaration, everyones)
        rows = decode_rows(self._declaration, self._stream, batch.values)
        offsets = np.asarray(batch.offsets, dtype=np.int64)[rows.rows]
        everything = np.arange(len(rows), dtype=np.int64)
        written = np.asarray(batch.timestamps, dtype=np.int64)[rows.rows]
        late = (
            None
            if self._late is None
            else self._late.take(rows.time, rows.version, written, self._parts)
        )
        for size, parts in self._parts.items():
            for key, chosen in rows.by_window(everything, size):
                part = parts.get(key)
                if part is None:
                    continue
                at, time = offsets[chosen], rows.time[chosen]
                named = (at >= part.range.start) & (at < part.range.end)
                inside = chosen[named & (time >= part.first) & (time < part.end)]
                if not len(inside):
                    continue
                rows.update(part.task.sketch(part.range), inside)
                if late is not None:
                    flags = late[size]
                    part.task.late(
                        int(flags.least[inside].sum()),
                        int(flags.most[inside].sum()),
                        certain=bool(flags.certain[inside].all()),
                    )


@dataclass(frozen=True, slots=True)
class Pass:
    """Some partitions of one topic side by side, so that a window's rows come at about the same
    time: few windows are open at once, and few sums need adding up."""

    lanes: Sequence[Lane]

    def run(self, log: Log, told: Told) -> Iterator[Task]:
        """The windows that are complete, as they are."""
        for lane in self.lanes:
            for part in lane.parts():
                part.task.open()
        reading = [(lane, lane.batches(log)) for lane in self.lanes]
        while reading:
            # The one that is furthest behind goes on.
            lane, batches = min(reading, key=lambda one: one[0].read / max(1, one[0].total))
            before = lane.read
            passed = next(batches, None)
            if passed is None:
                reading.remove((lane, batches))
                continue
            told.more(lane.read - before)
            yield from (task for task in passed if task.close())


class Told:
    """Tells how far the reading has come."""

    def __init__(
        self,
        progress: Callable[[str], None],
        total: int,
        clock: Clock,
        doing: str = "verifying windows",
    ) -> None:
        self._progress = progress
        self._doing = doing
        self._total = total
        self._read = 0
        self._clock = clock
        self._at = self._clock.monotonic() + _TELL_EVERY_S

    def more(self, offsets: int) -> None:
        self._read += offsets
        if self._clock.monotonic() >= self._at:
            self._at += _TELL_EVERY_S
            self._progress(f"{self._doing}: {self._read:,} of {self._total:,} offsets")


def _first_difference(a: object, b: object, where: str = "statistics") -> str:
    """The path of the first value in which two plain records differ; empty if none."""
    if isinstance(a, dict) and isinstance(b, dict):
        name = a.get("name")
        here = f"{where}[{name}]" if isinstance(name, str) else where
        pairs: Sequence[tuple[str, object, object]] = [
            (f"{here}.{key}", a.get(key), b.get(key)) for key in a.keys() | b.keys()
        ]
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        pairs = [(where, x, y) for x, y in zip(a, b, strict=True)]
    else:
        both_missing = a != a and b != b  # NaN
        return "" if a == b or both_missing else where
    return next(
        (
            found
            for w, x, y in sorted(pairs, key=lambda p: p[0])
            if (found := _first_difference(x, y, w))
        ),
        "",
    )
