"""The open windows of one source partition."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from driftloop.featurestats.heads import decode_head
from driftloop.kernel.codec.blocks import I64
from driftloop.kernel.codec.records import codec
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.ports import TopicPartition
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import OffsetRange, Partial, Profile, Stream
from driftloop.kernel.records.windows import window_id
from driftloop.kernel.statistics.sketch import Sketch
from driftloop.kernel.stores import KeyValueStore
from driftloop.kernel.window_rows import StreamRows
from driftloop.kernel.windows import WindowKey, closes_at, expires_at

_log = logging.getLogger(__name__)
_WATERMARK = "watermark"
_BEFORE_ALL = -(1 << 62)
"""Watermark of a partition that has shown no row yet."""


@dataclass(slots=True)
class _OpenWindow:
    """A window whose sketch is in memory. Of the others the store has the last partial."""

    first: int
    end: int
    late: int
    sketch: Sketch
    encoded: bytes | None
    """The partial of the last flush; None before the first."""
    dirty: bool = True
    rested: int = 0
    """Flushes without rows."""


class SourceWindows:
    """What one source partition has contributed to which window, and its watermark.

    All of it depends on the partition's rows in offset order alone, not on how they were batched:
    a row is late, or too late, by the watermark of the rows before it. Who places rows in windows
    (:mod:`driftloop.kernel.placing`) keeps :attr:`watermark` up.
    """

    __slots__ = (
        "_changed",
        "_flushed",
        "_flushed_watermark",
        "_open",
        "_source",
        "_store",
        "declaration",
        "opened_bytes",
        "prefix",
        "stream",
        "watermark",
    )

    def __init__(
        self,
        declaration: Declaration,
        stream: Stream,
        source: TopicPartition,
        prefix: str,
        store: KeyValueStore,
    ) -> None:
        """``store``: for the partials of windows to which no rows come for now. It holds what this
        object put there, no more."""
        self.declaration = declaration
        self.stream = stream
        self.prefix = prefix
        """Of this source's state entries."""
        self._source = source
        self._store = store
        self._open: dict[WindowKey, _OpenWindow] = {}
        self._flushed: list[WindowKey] = []
        """A heap of the windows that have an entry, until they expire."""
        self.watermark = _BEFORE_ALL
        """The highest event time seen, ms."""
        self._flushed_watermark: int | None = None
        self._changed: dict[str, bytes | None] = {}
        self.opened_bytes = 0
        """Of the sketches that came into memory since the last flush."""

    @property
    def columns(self) -> int:
        """Of a window's statistics, about."""
        return 1 + len(self.declaration.numeric) + len(self.declaration.categorical)

    def take(
        self,
        key: WindowKey,
        rows: StreamRows,
        chosen: I64,
        offsets: tuple[int, int],
        late: int,
        profile: Profile | None,
    ) -> None:
        """Take the chosen rows, of which ``late`` are late, into their window. ``offsets``: of the
        first and the last of them. ``profile``: that of the window's version."""
        first, last = offsets
        window = self._open.get(key)
        if window is None:
            window = self._open[key] = self._opened(key, first, profile)
        rows.update(window.sketch, chosen)
        window.end = last + 1
        window.late += late
        window.dirty = True

    def held(self) -> Iterator[tuple[int, int, WindowKey]]:
        """Of each window whose sketch is in memory: for how many flushes no rows came, the
        sketch's bytes, and its key."""
        for key, window in self._open.items():
            yield window.rested, window.sketch.nbytes, key

    def put_away(self, keys: Iterable[WindowKey]) -> None:
        """Let go of windows' sketches, after a flush; they come back with the next rows."""
        partials: dict[bytes, bytes | None] = {}
        for key in keys:
            partials[self._entry(key).encode()] = self._open.pop(key).encoded
        self._store.write(partials)

    def flush(self) -> Sequence[tuple[str, bytes]]:
        """Key and bytes of a partial per window that changed, in the order windows close.

        Only the last one carries the watermark: whoever merges them must not close a window before
        it has seen all of this flush.
        """
        self.opened_bytes = 0
        for window in self._open.values():
            window.rested = 0 if window.dirty else window.rested + 1
        dirty = sorted(key for key, window in self._open.items() if window.dirty)
        if not dirty:
            return ()
        if self._flushed_watermark is None:
            self._flushed_watermark = dirty[0].start
        flushed = []
        for key in dirty:
            last = key is dirty[-1]
            window = self._open[key]
            partial = self._partial(
                key, window, self.watermark if last else self._flushed_watermark
            )
            if window.encoded is None:
                heappush(self._flushed, key)
            window.encoded = codec(Partial).encode(partial)
            window.dirty = False
            self._changed[self._entry(key)] = window.encoded
            name = window_id(partial.model, partial.stream, *key)
            flushed.append((f"{name}/{self._source.partition}", window.encoded))
        self._flushed_watermark = self.watermark
        self._changed[self.prefix + _WATERMARK] = b"%d" % self.watermark
        self._settle()
        return flushed

    def changes(self) -> Mapping[str, bytes | None]:
        """State entries changed since the last call."""
        changed, self._changed = self._changed, {}
        return changed

    def restore(self, entries: Mapping[str, bytes]) -> None:
        """Go on from entries of this source; called for each part of them. Raises
        :class:`DecodeError`."""
        partials: dict[bytes, bytes | None] = {}
        for entry, data in entries.items():
            name = entry[len(self.prefix) :]
            if name == _WATERMARK:
                self.watermark = self._flushed_watermark = _parse_int(entry, data)
                continue
            partial = decode_head(Partial, data)
            if partial.source.topic != self._source.topic:
                self._changed[entry] = None
                continue
            heappush(self._flushed, WindowKey(partial.start, partial.version, partial.shadow))
            partials[entry.encode()] = data
        self._store.write(partials)

    def clear(self) -> None:
        """Take out of the store what is there of this source."""
        self._store.write({self._entry(key).encode(): None for key in self._flushed})

    def _opened(self, key: WindowKey, first: int, profile: Profile | None) -> _OpenWindow:
        """``first``: the offset of its first row, if it is new."""
        (encoded,) = self._store.get_many([self._entry(key).encode()])
        found = None
        if encoded is not None:
            found = self._continued(codec(Partial).decode(encoded), encoded, key, profile)
        if found is None:
            sketch = Sketch(self.declaration, profile, self.stream, shadow=key.shadow >= 0)
            found = _OpenWindow(first, first, 0, sketch, None)
        self.opened_bytes += found.sketch.nbytes
        return found

    def _continued(
        self, partial: Partial, encoded: bytes, key: WindowKey, profile: Profile | None
    ) -> _OpenWindow | None:
        """None where it is of another topic, size or columns: those of a model of this name that
        was taken out."""
        source = partial.source
        if source.topic != self._source.topic:
            return None
        if partial.end - partial.start != self.declaration.windows.size:
            _log.warning("a window of %r begins anew: its size is another now", partial.model)
            return None
        try:
            sketch = Sketch.from_statistics(
                self.declaration, profile, self.stream, partial.statistics, shadow=key.shadow >= 0
            )
        except DecodeError as error:
            _log.warning("a window of %r begins anew: %s", partial.model, error)
            return None
        return _OpenWindow(source.start, source.end, partial.late, sketch, encoded)

    def _partial(self, key: WindowKey, window: _OpenWindow, watermark: int) -> Partial:
        return Partial(
            model=self.declaration.name,
            stream=self.stream,
            start=key.start,
            end=key.start + self.declaration.windows.size,
            version=key.version,
            shadow=key.shadow,
            source=OffsetRange(
                self._source.topic, self._source.partition, window.first, window.end
            ),
            late=window.late,
            watermark=watermark,
            source_partitions=self.declaration.partitions,
            statistics=window.sketch.statistics(),
        )

    def _settle(self) -> None:
        """Forget expired windows, and put away the sketches of closed ones."""
        policy = self.declaration.windows
        gone: dict[bytes, bytes | None] = {}
        while self._flushed and expires_at(self._flushed[0].start, policy) <= self.watermark:
            key = heappop(self._flushed)
            entry = self._entry(key)
            self._open.pop(key, None)
            gone[entry.encode()] = None
            self._changed[entry] = None
        self._store.write(gone)
        self.put_away([k for k in self._open if closes_at(k.start, policy) <= self.watermark])

    def _entry(self, key: WindowKey) -> str:
        return f"{self.prefix}{key.start}/{key.version}/{key.shadow}"


def _parse_int(entry: str, data: bytes) -> int:
    try:
        return int(data)
    except ValueError as error:
        raise DecodeError(Reason.MALFORMED, f"state entry {entry!r} is {data[:40]!r}") from error
