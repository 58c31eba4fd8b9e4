"""The open windows of one source partition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from driftloop.kernel.codec.blocks import I64
from driftloop.kernel.codec.records import codec
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.ports import TopicPartition
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import OffsetRange, Partial, Profile, Stream
from driftloop.kernel.records.windows import window_id
from driftloop.kernel.statistics.sketch import Sketch
from driftloop.kernel.window_rows import StreamRows
from driftloop.kernel.windows import WindowKey, closes_at, expires_at

_WATERMARK = "watermark"
_BEFORE_ALL = -(1 << 62)
"""Watermark of a partition that has shown no row yet."""


@dataclass(slots=True)
class _OpenWindow:
    first: int
    end: int
    late: int
    sketch: Sketch | None
    """None while no rows are expected; then ``encoded`` holds everything."""
    encoded: bytes | None
    """The partial of the last flush."""
    dirty: bool
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
        "_flushed_watermark",
        "_source",
        "_windows",
        "declaration",
        "prefix",
        "stream",
        "watermark",
    )

    def __init__(
        self, declaration: Declaration, stream: Stream, source: TopicPartition, prefix: str
    ) -> None:
        self.declaration = declaration
        self.stream = stream
        self.prefix = prefix
        """Of this source's state entries."""
        self._source = source
        self._windows: dict[WindowKey, _OpenWindow] = {}
        self.watermark = _BEFORE_ALL
        """The highest event time seen, ms."""
        self._flushed_watermark: int | None = None
        self._changed: dict[str, bytes | None] = {}

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
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _OpenWindow(first, last, 0, None, None, True)
        if window.sketch is None:
            window.sketch = self._sketch(key, window.encoded, profile)
        rows.update(window.sketch, chosen)
        window.end = last + 1
        window.late += late
        window.dirty = True

    def held(self) -> Iterator[tuple[int, int, WindowKey]]:
        """Of each window whose sketch is in memory: for how many flushes no rows came, the
        sketch's bytes, and its key."""
        for key, window in self._windows.items():
            if window.sketch is not None:
                yield window.rested, window.sketch.nbytes, key

    def put_away(self, key: WindowKey) -> None:
        """Let go of a window's sketch, after a flush; it comes back with the next rows."""
        self._windows[key].sketch = None

    def flush(self) -> Sequence[tuple[str, bytes]]:
        """Key and bytes of a partial per window that changed, in the order windows close.

        Only the last one carries the watermark: whoever merges them must not close a window before
        it has seen all of this flush.
        """
        for window in self._windows.values():
            window.rested = 0 if window.dirty else window.rested + 1
        dirty = sorted(key for key, window in self._windows.items() if window.dirty)
        if not dirty:
            return ()
        if self._flushed_watermark is None:
            self._flushed_watermark = dirty[0].start
        flushed = []
        for key in dirty:
            last = key is dirty[-1]
            window = self._windows[key]
            partial = self._partial(
                key, window, self.watermark if last else self._flushed_watermark
            )
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
        """Go on from the entries of this source. Raises :class:`DecodeError`."""
        for entry, data in entries.items():
            name = entry[len(self.prefix) :]
            if name == _WATERMARK:
                self.watermark = self._flushed_watermark = _parse_int(entry, data)
                continue
            partial = codec(Partial).decode(data)
            key = WindowKey(partial.start, partial.version, partial.shadow)
            source = partial.source
            self._windows[key] = _OpenWindow(
                source.start, source.end, partial.late, None, data, False
            )

    def _sketch(self, key: WindowKey, encoded: bytes | None, profile: Profile | None) -> Sketch:
        shadow = key.shadow >= 0
        if encoded is None:
            return Sketch(self.declaration, profile, self.stream, shadow=shadow)
        return Sketch.from_statistics(
            self.declaration,
            profile,
            self.stream,
            codec(Partial).decode(encoded).statistics,
            shadow=shadow,
        )

    def _partial(self, key: WindowKey, window: _OpenWindow, watermark: int) -> Partial:
        assert window.sketch is not None  # a dirty window has one
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
        for key, window in list(self._windows.items()):
            if expires_at(key.start, policy) <= self.watermark:
                del self._windows[key]
                self._changed[self._entry(key)] = None
            elif closes_at(key.start, policy) <= self.watermark:
                window.sketch = None

    def _entry(self, key: WindowKey) -> str:
        return f"{self.prefix}{key.start}/{key.version}/{key.shadow}"


def _parse_int(entry: str, data: bytes) -> int:
    try:
        return int(data)
    except ValueError as error:
        raise DecodeError(Reason.MALFORMED, f"state entry {entry!r} is {data[:40]!r}") from error
