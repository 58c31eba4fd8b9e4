"""The sketch stage: rows of predictions and outcomes in, cumulative partials out."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from driftloop.featurestats.source import SourceWindows
from driftloop.kernel import metrics
from driftloop.kernel.alike import Alike, Shapes
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.blocks import I32, I64
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.metrics import Meter, NullMeter
from driftloop.kernel.placing import place
from driftloop.kernel.ports import RecordBatch, Send, TopicPartition
from driftloop.kernel.processor import Outputs
from driftloop.kernel.records import Profile, Stream
from driftloop.kernel.sharing import Shared
from driftloop.kernel.stores import KeyValueStore, MemoryStore
from driftloop.kernel.window_rows import StreamRows, decode_rows_in_time, grouped, stream_of
from driftloop.kernel.windows import WindowKey, closes_at, expires_at, span

Flags = npt.NDArray[np.bool_]

SERVICE = "featurestats"
COLUMNS_PER_S = 8_000
"""Of partials written in the long run. One costs some 60 us until it is merged: a thousand models
of 20 features on four partitions, all with new rows, would take four cores with a flush every
second. They are flushed less often, and half a core is enough."""
_LONGEST_MS = 20_000
"""Between flushes: a partition that is silent for long no longer holds windows back
(``DRIFTLOOP_IDLE_AFTER_MS``)."""


@dataclass(frozen=True, slots=True)
class _Read:
    """Rows of one stream that were decoded together."""

    alike: Alike
    rows: StreamRows
    runs: Sequence[tuple[Declaration, RecordBatch, int, int]]
    """By model and source partition: those from one of ``rows`` to before another."""
    bounds: I64
    """Where each run begins among the rows, and where the last one ends."""
    run: I64
    """Of each row."""
    profiles: Mapping[tuple[str, int], Profile | None]
    """By model and version."""


class SketchCore:
    """Keeps the open windows of the source partitions it owns.

    A partial says everything its source partition contributed to a window, so writing one again, or
    after a replay, changes nothing. In memory are the windows that rows come to. Of those that are
    closed, and where they take more than ``memory_bytes`` when partials are written also of some
    that rested, the partial goes to ``store``, until their next rows.
    """

    def __init__(
        self,
        catalog: Catalog,
        store: KeyValueStore | None = None,
        *,
        flush_interval_ms: int = 1000,
        flush_rows: int = 500_000,
        columns_per_s: int = COLUMNS_PER_S,
        memory_bytes: int = 1 << 30,
        meter: Meter | None = None,
    ) -> None:
        """``store``: empty, and nobody else's; by default in memory."""
        self._catalog = catalog
        self._store = MemoryStore() if store is None else store
        self._interval = flush_interval_ms
        self._rows = flush_rows
        self._columns_per_s = columns_per_s
        self._memory_bytes = memory_bytes
        self._meter = meter or NullMeter()
        self._sources: dict[TopicPartition, dict[str, SourceWindows]] = {}
        """By source and model."""
        self._shapes = Shapes(_shape)
        self._changed: dict[str, bytes | None] = {}
        self._pending = 0
        self._opened = 0
        """Bytes of the sketches that came into memory since the last flush."""
        self._since: int | None = None
        self._wait = flush_interval_ms
        """From the first row after a flush to the next one, ms."""

    def process(self, batch: RecordBatch) -> Outputs:
        return self._process([Alike.of(self._catalog.model_of(batch), batch)])

    def process_shared(self, shared: Sequence[Shared]) -> Outputs:
        """Batches that several models share. Those of models that look alike are decoded, and
        placed in windows, together."""
        models, split = self._catalog.models, self._shapes.split
        return self._process([alike for one in shared for alike in split(one, models)])

    def _process(self, parts: Sequence[Alike]) -> Outputs:
        # What the catalog does not know yet is asked for again, all of it: nothing may have changed
        # by then.
        read = [self._read(alike) for alike in parts]
        for one in read:
            if one.runs:
                self._take(one)
            self._pending += len(one.alike.rows)
        letters = [
            one.alike.letter(SERVICE, bad.row, bad.error)
            for one in read
            for bad in one.rows.rejected
        ]
        return Outputs(dead_letters=letters)

    def _read(self, alike: Alike) -> _Read:
        """Raises :class:`ControlBehindError`."""
        stream = stream_of(alike.models[0], alike.batches[0].topic)
        rows = decode_rows_in_time(alike.models[0], stream, alike.values())
        runs = list(alike.runs(rows.rows))
        bounds = np.array([*(low for _, _, low, _ in runs), len(rows)])
        run = np.repeat(np.arange(len(runs)), np.diff(bounds))
        names = [model.name for model, *_ in runs]
        profiles = self._profiles(names, run, rows.version) if runs else {}
        return _Read(alike, rows, runs, bounds, run, profiles)

    def _take(self, read: _Read) -> None:
        """Put rows into their windows."""
        rows, bounds = read.rows, read.bounds
        windows = [self._windows(batch.source, model) for model, batch, *_ in read.runs]
        start, late, kept = _placed(windows, rows.time, bounds)
        self._count_late(windows, bounds, late & kept, ~kept)
        chosen = np.flatnonzero(kept)
        if not len(chosen):
            return
        columns = (read.run[chosen], start[chosen], rows.version[chosen], rows.shadow[chosen])
        order, cuts = grouped(columns)
        ordered = chosen[order]
        offset = read.alike.offsets()[rows.rows]
        firsts = order[cuts[:-1]]
        groups = zip(
            *(column[firsts].tolist() for column in columns),
            pairwise(cuts.tolist()),
            offset[ordered[cuts[:-1]]].tolist(),
            offset[ordered[cuts[1:] - 1]].tolist(),
            np.add.reduceat(late[ordered], cuts[:-1], dtype=np.int64).tolist(),
            strict=True,
        )
        opened = -sum(own.opened_bytes for own in windows)
        for which, begin, version, shadow, (low, high), first, last, behind in groups:
            own = windows[which]
            profile = read.profiles[own.declaration.name, version]
            key = WindowKey(begin, version, shadow)
            own.take(key, rows, ordered[low:high], (first, last), behind, profile)
        self._opened += opened + sum(own.opened_bytes for own in windows)

    def _count_late(
        self, windows: Sequence[SourceWindows], bounds: I64, late: Flags, too_late: Flags
    ) -> None:
        # Added even when there are none: a series that is not there looks like one that is broken.
        for metric, rows in ((metrics.LATE_ROWS, late), (metrics.TOO_LATE_ROWS, too_late)):
            counts = np.add.reduceat(rows, bounds[:-1], dtype=np.int64).tolist()
            for own, count in zip(windows, counts, strict=True):
                self._meter.add(metric, count, own.declaration.name, own.stream)

    def _profiles(
        self, names: Sequence[str], run: I64, version: I32
    ) -> Mapping[tuple[str, int], Profile | None]:
        """By model and version. Raises :class:`ControlBehindError`."""
        changes = (np.diff(run) != 0) | (np.diff(version) != 0)
        firsts = np.concatenate(([0], np.flatnonzero(changes) + 1))
        pairs = zip(run[firsts].tolist(), version[firsts].tolist(), strict=True)
        wanted = {(names[which], number) for which, number in pairs}
        return {(name, number): self._profile(name, number) for name, number in wanted}

    def on_time(self, now: int) -> Outputs:
        """Starts the clock of the next flush."""
        if self._pending and self._since is None:
            self._since = now
        return Outputs()

    def commit_due(self, now: int) -> bool:
        self.on_time(now)
        if self._since is None:
            return False
        if self._opened > self._memory_bytes // 2:
            return True  # late rows of many windows, say
        return self._pending >= self._rows or now - self._since >= self._wait

    def flush(self) -> Outputs:
        """A partial of every window that changed since the last flush."""
        self._pending = self._opened = 0
        self._since = None
        sends: list[Send] = []
        columns = 0
        for source in sorted(self._sources):
            for model in sorted(self._sources[source]):
                windows = self._sources[source][model]
                flushed = windows.flush()
                self._changed.update(windows.changes())
                if flushed:
                    sends.append(self._send(windows, flushed))
                    columns += len(flushed) * windows.columns
        self._put_away()
        wait = min(1000 * columns // self._columns_per_s, _LONGEST_MS)
        self._wait = max(self._interval, wait)
        return Outputs(sends)

    def _put_away(self) -> None:
        """Let go of sketches until they take no more memory than they may, those without rows for
        longest first. All have been written."""
        held = [
            (rested, size, key, windows)
            for known in self._sources.values()
            for windows in known.values()
            for rested, size, key in windows.held()
        ]
        excess = sum(size for _, size, _, _ in held) - self._memory_bytes
        if excess <= 0:
            return
        for _, size, key, windows in sorted(held, key=lambda one: -one[0]):
            windows.put_away([key])
            excess -= size
            if excess <= 0:
                break

    def snapshot(self) -> Mapping[str, bytes | None]:
        changed, self._changed = self._changed, {}
        return changed

    def restore(self, source: TopicPartition, entries: Mapping[str, bytes]) -> None:
        """Raises :class:`DecodeError` on entries that are no state of this source."""
        parts: dict[str, dict[str, bytes]] = {}
        for entry, data in entries.items():
            prefix = "/".join(entry.split("/", 3)[:3]) + "/"  # as :func:`state_prefix` makes it
            parts.setdefault(prefix, {})[entry] = data
        for declared in self._catalog.models_of(source.topic):
            windows = self._windows(source, declared)
            if windows.prefix in parts:
                windows.restore(parts[windows.prefix])

    def drop(self, source: TopicPartition) -> None:
        left = self._sources.pop(source, {}).values()
        for windows in left:
            windows.clear()
        gone = tuple(windows.prefix for windows in left)
        if gone:
            for entry in [entry for entry in self._changed if entry.startswith(gone)]:
                del self._changed[entry]

    def state_scope(self, source: TopicPartition) -> Sequence[tuple[int, str]]:
        """Where the state of a source lies: changelog partition and prefix of its entries, of each
        model that has records there."""
        return [
            (
                self._catalog.topics.partition(model.name),
                state_prefix(model.name, stream_of(model, source.topic), source.partition),
            )
            for model in self._catalog.models_of(source.topic)
        ]

    def _windows(self, source: TopicPartition, model: Declaration) -> SourceWindows:
        known = self._sources.setdefault(source, {})
        found = known.get(model.name)
        if found is None:
            stream = stream_of(model, source.topic)
            prefix = state_prefix(model.name, stream, source.partition)
            found = known[model.name] = SourceWindows(model, stream, source, prefix, self._store)
        found.declaration = model
        return found

    def _profile(self, model: str, version: int) -> Profile | None:
        return self._catalog.version(model, version).profile if version > 0 else None

    def _send(self, windows: SourceWindows, flushed: Sequence[tuple[str, bytes]]) -> Send:
        model = windows.declaration.name
        self._meter.add(metrics.PARTIALS, len(flushed), model, windows.stream)
        return Send(
            self._catalog.topics.partials,
            [key.encode() for key, _ in flushed],
            [value for _, value in flushed],
            self._catalog.topics.partition(model),
        )


def _placed(windows: Sequence[SourceWindows], time: I64, bounds: I64) -> tuple[I64, Flags, Flags]:
    """Each row's window, whether it is late there, and whether that takes it still; the watermarks
    of ``windows``, one per run, go on to the rows' times. All have the policy of the first."""
    policy = windows[0].declaration.windows
    watermarks = np.array([own.watermark for own in windows], np.int64)
    start, late, kept = np.empty_like(time), np.empty(len(time), bool), np.empty(len(time), bool)
    closes, expires = closes_at(0, policy), expires_at(0, policy)
    place(time, bounds, policy.size, closes, expires, watermarks, start, late, kept)
    for own, watermark in zip(windows, watermarks.tolist(), strict=True):
        own.watermark = watermark
    return start, late, kept


def _shape(model: Declaration) -> Hashable:
    """What decides how rows are read and placed in windows."""
    counts = model.scores, len(model.numeric), len(model.categorical)
    policy = model.windows
    return (*counts, policy.size, policy.lateness, policy.retention, *span(model))


def state_prefix(model: str, stream: Stream, partition: int) -> str:
    """What the entries of one source partition begin with."""
    return f"{model}/{stream}/{partition}/"
