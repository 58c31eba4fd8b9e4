"""Recomputing many windows from the log at once: one pass over each topic partition.

``kernel.verification`` does the same for one window. Here every row is read and decoded once, and
goes to the one window that its event time, version and shadow put it in; what partitions gave is
added up at the end, which loses nothing (sums are exact).
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from driftloop.adapters.clock import SystemClock
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.mapping import to_plain
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.ports import Log, RecordBatch, TopicPartition
from driftloop.kernel.records import OffsetRange, Profile, Stream, Window, WindowStatistics
from driftloop.kernel.statistics.merge import merge_statistics, statistics_digest
from driftloop.kernel.statistics.sketch import Sketch
from driftloop.kernel.window_rows import decode_rows
from driftloop.kernel.windows import WindowKey

_GAP = 20_000
"""Reading over so many offsets that no window wants is quicker than starting to read anew."""
_BATCH_ROWS = 8192
_TELL_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class Verification:
    """What recomputing found. ``windows`` is the sum of the three other counts."""

    windows: int
    verified: int
    """Equal to what the log gives, bit for bit."""
    mismatched: int
    unverifiable: int
    """The log, the model or the version needed is not there any more."""
    details: tuple[str, ...]
    """One line for each window that was not verified."""

    @property
    def ok(self) -> bool:
        return self.verified == self.windows


def verify_windows(
    log: Log,
    catalog: Catalog,
    windows: Iterable[Window],
    progress: Callable[[str], None] = lambda line: None,
) -> Verification:
    """Recompute windows, of any models, from the offset ranges they name, and compare.

    Of several revisions of a window the newest counts. ``progress`` gets a line now and then.
    Raises :class:`LogError` when the log does not answer.
    """
    newest: dict[str, Window] = {}
    for window in windows:
        if window.id not in newest or newest[window.id].revision < window.revision:
            newest[window.id] = window
    tasks, problems = _tasks(log, catalog, newest.values())
    mismatched: list[str] = []
    passes = _passes(tasks)
    reader = _Reader(log, progress, sum(end - start for p in passes for start, end in p.segments()))
    for one in passes:
        one.run(reader)
        # A window is done with its last partition; then its statistics need not be kept.
        for task in one.finished():
            difference = task.difference()
            if difference:
                mismatched.append(f"{task.name} does not follow from the log: {difference}")
    return Verification(
        windows=len(newest),
        verified=len(newest) - len(problems) - len(mismatched),
        mismatched=len(mismatched),
        unverifiable=len(problems),
        details=(*mismatched, *problems),
    )


class _Task:
    """One window to recompute."""

    def __init__(self, window: Window, declaration: Declaration, profile: Profile | None) -> None:
        self.window = window
        self.declaration = declaration
        self.pending = len(window.sources)
        self._profile = profile
        self._statistics: WindowStatistics | None = None

    @property
    def name(self) -> str:
        return f"window {self.window.id} revision {self.window.revision}"

    def sketch(self) -> Sketch:
        window = self.window
        return Sketch(self.declaration, self._profile, window.stream, shadow=window.shadow >= 0)

    def add(self, sketch: Sketch) -> None:
        """Take in what one partition gave."""
        more = sketch.statistics()
        known = self._statistics
        self._statistics = more if known is None else merge_statistics(known, more)

    def difference(self) -> str:
        """What differs; empty when nothing does. Lets go of the statistics."""
        found = self._statistics or self.sketch().statistics()
        self._statistics = None
        window = self.window
        if found.rows != window.rows:
            return f"it says {window.rows} rows, the log gives {found.rows}"
        digest = statistics_digest(found)
        if digest == window.digest == statistics_digest(window.statistics):
            return ""
        if digest == window.digest:
            return "its digest is right, but its statistics are others"
        where = _first_difference(to_plain(window.statistics), to_plain(found))
        return f"{where} differs" if where else "its statistics are right, but its digest is not"


@dataclass(slots=True)
class _Part:
    """One window's share of a topic partition."""

    task: _Task
    range: OffsetRange
    sketch: Sketch | None = None


@dataclass(slots=True)
class _Pass:
    """One model's stream in one topic partition."""

    source: TopicPartition
    stream: Stream
    declaration: Declaration
    parts: dict[int, dict[WindowKey, _Part]] = field(default_factory=lambda: defaultdict(dict))
    """By window size, of which a model has one unless its declaration was changed."""

    def add(self, task: _Task, source: OffsetRange) -> None:
        window = task.window
        key = WindowKey(window.start, window.version, window.shadow)
        self.parts[window.end - window.start][key] = _Part(task, source)

    def all_parts(self) -> Iterator[_Part]:
        return (part for parts in self.parts.values() for part in parts.values())

    def segments(self) -> list[tuple[int, int]]:
        """Offsets to read, ascending."""
        found: list[tuple[int, int]] = []
        for start, end in sorted((p.range.start, p.range.end) for p in self.all_parts()):
            if found and start <= found[-1][1] + _GAP:
                found[-1] = (found[-1][0], max(found[-1][1], end))
            else:
                found.append((start, end))
        return found

    def run(self, reader: _Reader) -> None:
        parts = list(self.all_parts())
        # Finished as soon as the pass is beyond their range: few are open at a time.
        ends = [(part.range.end, index) for index, part in enumerate(parts)]
        heapq.heapify(ends)
        for start, end in self.segments():
            for batch in reader.read(self.source, start, end):
                self._take(batch)
                while ends and ends[0][0] <= batch.next_offset:
                    _finish(parts[heapq.heappop(ends)[1]])
        for _, index in ends:
            _finish(parts[index])

    def finished(self) -> Iterator[_Task]:
        for part in self.all_parts():
            part.task.pending -= 1
            if part.task.pending == 0:
                yield part.task

    def _take(self, batch: RecordBatch) -> None:
        rows = decode_rows(self.declaration, self.stream, batch.values)
        offsets = np.asarray(batch.offsets, dtype=np.int64)[rows.rows]
        everything = np.arange(len(rows), dtype=np.int64)
        for size, parts in self.parts.items():
            for key, chosen in rows.by_window(everything, size):
                part = parts.get(key)
                if part is None:
                    continue
                at = offsets[chosen]
                inside = chosen[(at >= part.range.start) & (at < part.range.end)]
                if len(inside):
                    if part.sketch is None:
                        part.sketch = part.task.sketch()
                    rows.update(part.sketch, inside)


class _Reader:
    """Reads, and tells how far it has come."""

    def __init__(self, log: Log, progress: Callable[[str], None], total: int) -> None:
        self._log = log
        self._progress = progress
        self._total = total
        self._read = 0
        self._clock = SystemClock()
        self._tell_at = self._clock.monotonic() + _TELL_EVERY_S

    def read(self, source: TopicPartition, start: int, end: int) -> Iterator[RecordBatch]:
        before = self._read
        for batch in self._log.read(source, start, end, limit=_BATCH_ROWS):
            yield batch
            self._read = before + batch.next_offset - start
            if self._clock.monotonic() >= self._tell_at:
                self._tell_at += _TELL_EVERY_S
                self._progress(f"read {self._read:,} of {self._total:,} offsets")
        self._read = before + end - start


def _finish(part: _Part) -> None:
    if part.sketch is not None:
        part.task.add(part.sketch)
        part.sketch = None


def _tasks(log: Log, catalog: Catalog, windows: Iterable[Window]) -> tuple[list[_Task], list[str]]:
    """What can be recomputed, and why the others cannot."""
    tasks: list[_Task] = []
    problems: list[str] = []
    windows = list(windows)
    topics = sorted({source.topic for window in windows for source in window.sources})
    starts, ends = log.start_offsets(topics), log.end_offsets(topics)
    for window in windows:
        declaration = catalog.models.get(window.model)
        version = catalog.versions.get((window.model, window.version))
        problem = ""
        if declaration is None:
            problem = f"model {window.model!r} is not declared any more"
        elif version is None and window.version > 0:
            problem = f"version {window.version} is not on the versions topic"
        for source in window.sources:
            at = TopicPartition(source.topic, source.partition)
            if at not in starts:
                problem = problem or f"there is no {source.topic}/{source.partition}"
            elif starts[at] > source.start or ends[at] < source.end:
                problem = problem or (
                    f"it is of {source.topic}/{source.partition} offsets "
                    f"[{source.start}, {source.end}), but the log holds only "
                    f"[{starts[at]}, {ends[at]})"
                )
        if problem or declaration is None:
            problems.append(
                f"window {window.id} revision {window.revision} cannot be recomputed: {problem}"
            )
        else:
            tasks.append(_Task(window, declaration, version.profile if version else None))
    return tasks, problems


def _passes(tasks: Iterable[_Task]) -> list[_Pass]:
    found: dict[tuple[TopicPartition, str, Stream], _Pass] = {}
    for task in tasks:
        window = task.window
        for source in window.sources:
            at = TopicPartition(source.topic, source.partition)
            key = (at, window.model, window.stream)
            if key not in found:
                found[key] = _Pass(at, window.stream, task.declaration)
            found[key].add(task, source)
    return [found[key] for key in sorted(found)]


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


def evenly(windows: Sequence[Window], count: int) -> Sequence[Window]:
    """``count`` of the windows, spread over all of them; all for 0."""
    if count <= 0 or count >= len(windows):
        return windows
    return [windows[i * len(windows) // count] for i in range(count)]
