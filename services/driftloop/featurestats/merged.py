"""The windows of one model's stream, merged from partials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from driftloop.featurestats.heads import decode_head
from driftloop.featurestats.partials import check_source, read_partial
from driftloop.featurestats.publications import PUBLISHED, Publication, reaches_further
from driftloop.kernel.declaration import WindowPolicy
from driftloop.kernel.errors import DecodeError, LogError
from driftloop.kernel.records import OffsetRange, Partial, Stream, Window
from driftloop.kernel.records.windows import window_id
from driftloop.kernel.statistics.checks import check_shape, shape_of
from driftloop.kernel.statistics.merge import merge_all, statistics_digest
from driftloop.kernel.stores import KeyValueStore
from driftloop.kernel.windows import Watermarks, WindowKey, closes_at, expires_at

_REMEMBERED = 1_000
"""Publications kept after their windows expired, so that a replayed partial is known as one."""


@dataclass(slots=True)
class _Part:
    """What one source partition has contributed to a window. Its statistics stay encoded: decoded
    they take ten times the memory."""

    source: OffsetRange
    encoded: bytes | None
    """None while nothing more is expected of the window; then the store has it."""


class MergedStream:
    """Parts and publications per window.

    Per source partition the partial with the highest end offset counts, so a window does not depend
    on the order, repetition or loss of the ones before. A window is given out when the watermark
    closes it, and again, as a higher revision, when its parts reach further than what was given
    out. Closing happens at once; what reaches a closed window waits for :meth:`revise`, so that
    the partials of one flush make one revision.

    What was given out may be revised for as long as the retention: its parts go to a store.
    """

    def __init__(
        self,
        model: str,
        stream: Stream,
        policy: WindowPolicy,
        idle_after: int,
        store: KeyValueStore,
    ) -> None:
        self.policy = policy
        self._model = model
        self._stream = stream
        self._store = store
        self._watermarks = Watermarks(idle_after)
        self._closed_to: int | None = None
        self._parts: dict[WindowKey, dict[int, _Part]] = {}
        self._unpublished: set[WindowKey] = set()
        """Those of the windows that were not given out yet."""
        self._expiring: list[WindowKey] = []
        """A heap of the windows."""
        self._shadows: Counter[tuple[int, int]] = Counter()
        """Windows by start and version."""
        self._shapes: dict[WindowKey, int] = {}
        """Hash of what is equal for all parts of a window, of those that got some since the
        restart: shapes themselves are large."""
        self._published: dict[WindowKey, Publication] = {}
        self._remembered: list[WindowKey] = []
        """A heap of their keys."""
        self._unwritten: set[WindowKey] = set()
        """Of what was learnt from outside since entries were last asked for, the publications that
        have none yet."""
        self._revisable: set[WindowKey] = set()
        self._unchecked = False
        """Whether something was told from outside since revisions were last looked for."""
        self._changed: dict[bytes, bytes | None] = {}

    def add(self, partial: Partial, encoded: bytes, now: int) -> int:
        """Take in a partial, and its record. Returns how many of its rows are lost because the
        window expired.

        Raises :class:`DecodeError` before any change where it cannot be of the same window as its
        others.
        """
        partition = partial.source.partition
        key = WindowKey(partial.start, partial.version, partial.shadow)
        shape = hash(shape_of(partial.statistics))
        check_shape(shape, self._shape(key, shape))
        self._watermarks.hear(partition, now)
        self._watermarks.report(partition, partial.watermark, partial.source_partitions)
        if self._passed(expires_at(key.start, self.policy)):
            known = self._published.get(key)
            return 0 if known and known.covers(partial.source) else partial.statistics.rows
        parts = self._parts_of(key)
        if partition not in parts or parts[partition].source.end < partial.source.end:
            parts[partition] = _Part(partial.source, encoded)
            self._shapes[key] = shape
            self._changed[self._entry(key, str(partition))] = encoded
            if self._passed(closes_at(key.start, self.policy)):
                self._revisable.add(key)
        return 0

    def silent(self, now: int) -> Sequence[int]:
        """The source partitions that hold the watermark back though they are silent."""
        return self._watermarks.silent(now)

    def let_go(self, partition: int) -> None:
        """Wait for a source partition no longer."""
        self._watermarks.let_go(partition)

    def close(self) -> list[Window]:
        """The windows the watermark has closed by now, in order."""
        watermark = self._watermarks.current()
        if watermark is None or self._passed(watermark):
            return []
        self._closed_to = watermark
        self._take_up()
        due = {k for k in self._unpublished if closes_at(k.start, self.policy) <= watermark}
        expired = []
        while self._expiring and expires_at(self._expiring[0].start, self.policy) <= watermark:
            expired.append(heappop(self._expiring))
        windows = self._give_out(due | (self._revisable & set(expired)))
        for key in expired:
            self._forget(key)
        return windows

    def revise(self) -> list[Window]:
        """Closed windows whose parts reach further than what was given out, in order."""
        self._take_up()
        return self._give_out(set(self._revisable))

    def published(self, window: Window) -> None:
        """The window is on the windows topic: it is not given out again as it is."""
        key = WindowKey(window.start, window.version, window.shadow)
        publication = Publication(window.revision, window.watermark, window.sources)
        unknown = key not in self._published
        if self._learn(key, publication):
            self._changed[self._entry(key, PUBLISHED)] = publication.encode()
            if unknown:
                self._unwritten.add(key)
            self._forget_oldest()

    def changes(self) -> Mapping[bytes, bytes | None]:
        """Entries changed since the last call; None deletes."""
        changed, self._changed = self._changed, {}
        self._unwritten.clear()
        return changed

    def restore(self, name: str, data: bytes) -> None:
        """Take over one entry: ``START/VERSION/SHADOW/LAST``. Raises :class:`DecodeError`."""
        start, version, shadow, last = name.split("/")
        key = WindowKey(int(start), int(version), -1 if shadow == "-" else int(shadow))
        if last == PUBLISHED:
            self._learn(key, Publication.decode(data))
            return
        partial = decode_head(Partial, data)
        check_source(partial)
        self._parts_of(key)[partial.source.partition] = _Part(partial.source, None)
        self._store.write({self._entry(key, last): data})
        self._watermarks.report(
            partial.source.partition, partial.watermark, partial.source_partitions
        )
        self._unchecked = True

    def clear(self) -> None:
        """Take out of the store what is there of this stream."""
        self._store.write({entry: None for key in self._parts for entry in self._entries(key)})

    def _parts_of(self, key: WindowKey) -> dict[int, _Part]:
        """The window's, which may be new."""
        parts = self._parts.get(key)
        if parts is None:
            parts = self._parts[key] = {}
            heappush(self._expiring, key)
            self._shadows[key.start, key.version] += 1
            if key not in self._published:
                self._unpublished.add(key)
        return parts

    def _shape(self, key: WindowKey, default: int) -> int:
        """Of a window's parts, of which there may be none yet."""
        if key not in self._shapes and key in self._parts:
            first = self._partial(key, min(self._parts[key]))
            self._shapes[key] = hash(shape_of(first.statistics))
        return self._shapes.get(key, default)

    def _partial(self, key: WindowKey, partition: int) -> Partial:
        """Raises :class:`LogError` where the state has none: that is no fault of the record that
        asks for it."""
        encoded = self._parts[key][partition].encoded
        entry = self._entry(key, str(partition))
        if encoded is None:
            (encoded,) = self._store.get_many([entry])
        try:
            return read_partial(encoded)
        except DecodeError as error:
            raise LogError(f"state entry {entry!r} is no partial: {error}") from error

    def _put_away(self, key: WindowKey) -> None:
        """Move a window's parts to the store."""
        stored: dict[bytes, bytes | None] = {}
        for partition, part in self._parts[key].items():
            if part.encoded is not None:
                stored[self._entry(key, str(partition))] = part.encoded
                part.encoded = None
        self._store.write(stored)

    def _take_up(self) -> None:
        """What was told from outside may reach further than what was given out."""
        if not self._unchecked:
            return
        self._unchecked = False
        self._revisable.update(
            key for key in self._parts if self._passed(closes_at(key.start, self.policy))
        )

    def _passed(self, time: int) -> bool:
        return self._closed_to is not None and self._closed_to >= time

    def _learn(self, key: WindowKey, publication: Publication) -> bool:
        """Remember a publication; whether it is the newest known of its window."""
        self._unchecked = True
        self._watermarks.hold_from(publication.watermark)
        if not self._passed(publication.watermark):
            self._closed_to = publication.watermark
        known = self._published.get(key)
        if known is not None and known.revision >= publication.revision:
            return False
        self._remember(key, publication)
        return True

    def _remember(self, key: WindowKey, publication: Publication) -> None:
        if key not in self._published:
            heappush(self._remembered, key)
        self._published[key] = publication
        self._unpublished.discard(key)

    def _give_out(self, keys: set[WindowKey]) -> list[Window]:
        if not keys:
            return []
        self._revisable -= keys
        # The newest version first: whoever reads learns that it serves before the other's last
        # window, of a part of the time only, comes.
        order = sorted(keys, key=lambda key: (key.start, -key.version, key.shadow))
        windows = [window for window in map(self._window, order) if window is not None]
        for key in order:
            self._put_away(key)
        return windows

    def _window(self, key: WindowKey) -> Window | None:
        """The window's next revision, if there is one."""
        held = self._parts[key]
        sources = tuple(held[partition].source for partition in sorted(held))
        known = self._published.get(key)
        if known is not None and not reaches_further(sources, known.sources):
            return None
        assert self._closed_to is not None  # only closed windows are given out
        parts = [self._partial(key, partition) for partition in sorted(held)]
        statistics = merge_all(part.statistics for part in parts)
        window = Window(
            model=self._model,
            stream=self._stream,
            start=key.start,
            end=parts[0].end,
            version=key.version,
            shadow=key.shadow,
            revision=0 if known is None else known.revision + 1,
            rows=statistics.rows,
            late=sum(part.late for part in parts),
            sources=sources,
            watermark=self._closed_to,
            statistics=statistics,
            digest=statistics_digest(statistics),
            # All of one start that are there are given out close together.
            parts=self._shadows[key.start, key.version],
        )
        publication = Publication(window.revision, window.watermark, sources)
        self._remember(key, publication)
        self._changed[self._entry(key, PUBLISHED)] = publication.encode()
        return window

    def _forget(self, key: WindowKey) -> None:
        gone: dict[bytes, bytes | None] = dict.fromkeys(self._entries(key))
        self._changed.update(gone)
        self._store.write(gone)
        del self._parts[key]
        self._shadows[key.start, key.version] -= 1
        if not self._shadows[key.start, key.version]:
            del self._shadows[key.start, key.version]
        self._shapes.pop(key, None)
        self._revisable.discard(key)
        self._forget_oldest()

    def _forget_oldest(self) -> None:
        """Publications of windows that have expired, beyond the number that is remembered."""
        while len(self._remembered) > _REMEMBERED:
            oldest = self._remembered[0]
            # Parts without their publication would be given out as if they had never been.
            if oldest in self._parts or not self._passed(expires_at(oldest.start, self.policy)):
                return
            heappop(self._remembered)
            del self._published[oldest]
            entry = self._entry(oldest, PUBLISHED)
            if oldest in self._unwritten:
                self._unwritten.discard(oldest)
                del self._changed[entry]
            else:
                self._changed[entry] = None

    def _entries(self, key: WindowKey) -> Sequence[bytes]:
        """Of a window's parts."""
        return [self._entry(key, str(partition)) for partition in self._parts[key]]

    def _entry(self, key: WindowKey, last: str) -> bytes:
        return f"{window_id(self._model, self._stream, *key)}/{last}".encode()
