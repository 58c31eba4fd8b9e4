"""The merge stage on Faust: what its table holds, and what it must know before it goes on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from driftloop.adapters.faust import FaustTable, TableRecord, Work
from driftloop.featurestats.heads import decode_head
from driftloop.featurestats.idleness import MERGE, Idleness
from driftloop.featurestats.merge import MergeCore, decode_partials, window_sends
from driftloop.featurestats.sketch import SERVICE
from driftloop.kernel import metrics
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.records import codec
from driftloop.kernel.deadletters import dead_letter
from driftloop.kernel.errors import DecodeError, LogUnavailableError
from driftloop.kernel.metrics import Meter, NullMeter
from driftloop.kernel.ports import Clock, Log, RecordBatch, Send, TopicPartition, TopicSpec
from driftloop.kernel.processor import ControlBehindError
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import DeadLetter, Window
from driftloop.kernel.stores import KeyValueStore, MemoryStore, Section
from driftloop.kernel.topics import COMPACT, ControlTopics

_log = logging.getLogger(__name__)

_TABLE = "windows"
_CATALOG_DEADLINE_S = 10.0
"""What a partial names was written long before it; the catalog is read at every step of the
service."""
_CATALOG_POLL_S = 0.05
_WRITTEN = b"@written"
"""Begins the key of an entry that is of no model, whose names have no such sign."""

T = TypeVar("T")


def merge_changelog(topics: ControlTopics) -> TopicSpec:
    """The changelog topic of the stage's table."""
    name = FaustTable.changelog(topics.group(MERGE), _TABLE)
    return TopicSpec(name, topics.partitions, COMPACT)


class MergeWork:
    """What Faust hands on to the merge core, partition by control partition.

    The catalog is kept up by another thread of the process; where it is behind, this one waits.
    """

    def __init__(
        self, core: MergeCore, catalog: Catalog, log: Log, clock: Clock, meter: Meter
    ) -> None:
        self._core = core
        self._catalog = catalog
        self._topics = catalog.topics
        self._log = log
        self._clock = clock
        self._meter = meter
        self._idleness = Idleness(catalog, log)
        self._stopped = threading.Event()
        self.starts: dict[int, int] = {}
        """The committed offset of each partition when it came."""

    def stop(self) -> None:
        """Wait for nothing any more."""
        self._stopped.set()

    def partition_of(self, key: bytes) -> int:
        first, _, rest = key.partition(b"/")
        return int(rest) if first == _WRITTEN else self._topics.partition(first.decode())

    def gained(self, partition: int, entries: Iterable[tuple[bytes, bytes]]) -> int:
        """Restore the table's entries, and take note of the windows that are on their topic
        already and were written after what the table knows of. Returns the offset that the group
        committed, or the log's start."""

        gone = _Gone(self._catalog, self._log)

        def restore() -> None:
            self._core.drop(partition)
            known_to = 0

            def of_models() -> Iterator[tuple[bytes, bytes]]:
                nonlocal known_to
                for key, value in entries:
                    if key == _written(partition):
                        known_to = _offset(key, value)
                    elif key.partition(b"/")[0].decode() not in gone:
                        yield key, value

            self._core.restore(of_models())
            for window in self._windows(partition, known_to):
                if window.model not in gone:
                    self._core.published(window)

        try:
            self._when_catalog_is_there(restore)
        except ControlBehindError as error:
            raise LogUnavailableError(f"merging windows: {error}") from error
        source = TopicPartition(self._topics.partials, partition)
        committed = self._log.committed(self._topics.group(MERGE), [source.topic])
        start = committed.get(source)
        if start is None:
            start = self._log.start_offsets([source.topic]).get(source, 0)
        self.starts[partition] = start
        return start

    def lost(self, partition: int) -> None:
        self._core.drop(partition)
        self.starts.pop(partition, None)

    def written(self, offsets: Mapping[TopicPartition, int]) -> Mapping[bytes, bytes | None]:
        """How far the windows topic is known to the table. A window whose entry may be missing
        stands behind."""
        return {
            _written(source.partition): b"%d" % (offset + 1)
            for source, offset in offsets.items()
            if source.topic == self._topics.windows
        }

    def process(self, records: Sequence[TableRecord]) -> Work:
        sends: list[Send] = []
        windows: list[Window] = []
        gone = _Gone(self._catalog, self._log)
        for batch in self._batches(records):
            partials, letters = decode_partials(batch)
            sends += map(self._letter, letters)
            for received in partials:
                partial = received.partial

                def known(model: str = partial.model) -> None:
                    if model not in self._catalog.models:
                        raise ControlBehindError(f"model {model!r} is not declared")

                try:
                    if partial.model in gone:
                        known()  # at once: it is not worth waiting for
                    self._when_catalog_is_there(known)
                    windows += self._core.merge(partial, received.encoded, self._clock.now())
                except ControlBehindError as error:
                    why = DecodeError(error.reason, str(error))
                    sends.append(self._letter(dead_letter(SERVICE, batch, received.row, why)))
                except DecodeError as error:
                    sends.append(self._letter(dead_letter(SERVICE, batch, received.row, error)))
        self._meter.add(metrics.CONSUMED, len(records), self._topics.partials)
        return self._work(sends, windows)

    def on_time(self) -> Work:
        now = self._clock.now()
        self._core.let_go(self._idleness.found(self._core.silent(now), now))
        return self._work([], self._core.on_time())

    def _work(self, sends: list[Send], windows: list[Window]) -> Work:
        if windows:
            self._meter.add(metrics.PRODUCED, len(windows), self._topics.windows)
        return Work([*sends, *window_sends(self._catalog, windows)], self._core.entries())

    def _batches(self, records: Sequence[TableRecord]) -> Iterable[RecordBatch]:
        for partition in sorted({record.partition for record in records}):
            own = [record for record in records if record.partition == partition]
            yield RecordBatch(
                self._topics.partials,
                partition,
                [record.offset for record in own],
                [record.timestamp for record in own],
                [record.key for record in own],
                [record.value for record in own],
            )

    def _letter(self, letter: DeadLetter) -> Send:
        self._meter.add(metrics.DEAD_LETTERS, 1, letter.topic, letter.reason)
        return Send(
            self._topics.dead_letters,
            [letter.topic.encode()],
            [codec(DeadLetter).encode(letter)],
            self._topics.partition(letter.topic),
        )

    def _windows(self, partition: int, known_to: int) -> Iterable[Window]:
        source = TopicPartition(self._topics.windows, partition)
        end = self._log.end_offsets([source.topic]).get(source, 0)
        start = self._log.start_offsets([source.topic]).get(source, 0)
        if known_to <= end:  # else it is another topic of this name
            start = max(start, known_to)
        for batch in self._log.read(source, start, end):
            for row, value in enumerate(batch.values):
                try:
                    yield decode_head(Window, value)
                except DecodeError as error:
                    self._meter.add(metrics.BAD_CONTROL, 1, source.topic)
                    _log.error("%s/%d offset %d: %s", *source, batch.offsets[row], error)

    def _when_catalog_is_there(self, action: Callable[[], T]) -> T:
        """Raises :class:`ControlBehindError` where it does not come."""
        deadline = self._clock.monotonic() + _CATALOG_DEADLINE_S
        while True:
            try:
                return action()
            except ControlBehindError:
                if self._clock.monotonic() > deadline:
                    raise
                if self._stopped.wait(_CATALOG_POLL_S):
                    raise LogUnavailableError("stopped while it waited for the catalog") from None


class _Gone:
    """The models that no declaration is in force of, as the log says: the catalog may be behind,
    and to wait for a model that nobody declares would hold up all others. The topic is read when
    the catalog lacks one, once."""

    def __init__(self, catalog: Catalog, log: Log) -> None:
        self._catalog = catalog
        self._log = log
        self._declared: set[str] | None = None

    def __contains__(self, model: str) -> bool:
        if model in self._catalog.models:
            return False
        if self._declared is None:
            self._declared = self._read()
        return model not in self._declared

    def _read(self) -> set[str]:
        declared: set[str] = set()
        topic = self._catalog.topics.models
        starts = self._log.start_offsets([topic])
        for source, end in self._log.end_offsets([topic]).items():
            for batch in self._log.read(source, starts.get(source, 0), end):
                for key, value in zip(batch.keys, batch.values, strict=True):
                    name = (key or b"").decode(errors="replace")
                    if value is None:
                        declared.discard(name)
                    else:
                        declared.add(name)
        return declared


def _written(partition: int) -> bytes:
    return b"%s/%d" % (_WRITTEN, partition)


def _offset(key: bytes, value: bytes) -> int:
    """Raises :class:`DecodeError`."""
    try:
        return int(value)
    except ValueError as error:
        why = f"table entry {key.decode()!r} is {value[:40]!r}, no offset"
        raise DecodeError(Reason.MALFORMED, why) from error


class MergeStage:
    """Merges windows in a thread of its own, from :meth:`start` to :meth:`stop`."""

    def __init__(
        self,
        catalog: Catalog,
        log: Log,
        clock: Clock,
        *,
        bootstrap: str,
        directory: Path,
        store: KeyValueStore | None = None,
        options: Mapping[str, str] | None = None,
        idle_after_ms: int = 30_000,
        meter: Meter | None = None,
    ) -> None:
        """``directory``: as in :class:`FaustTable`. ``store``: for windows that were given out and
        the table's entries. Empty, and nobody else's; by default in memory."""
        store = MemoryStore() if store is None else store
        self._topics = catalog.topics
        self._log = log
        used = meter or NullMeter()
        core = MergeCore(
            catalog, Section(store, b"merged/"), idle_after_ms=idle_after_ms, meter=used
        )
        self._work = MergeWork(core, catalog, log, clock, used)
        self._faust = FaustTable(
            self._work,
            bootstrap=bootstrap,
            group=self._topics.group(MERGE),
            topic=self._topics.partials,
            table=_TABLE,
            partitions=self._topics.partitions,
            directory=directory,
            store=Section(store, b"table/"),
            options=options,
        )
        self._passed: dict[TopicPartition, tuple[int, int]] = {}
        """Faust's position, and the one found to follow it."""
        self._stood: Mapping[TopicPartition, int] = {}
        """Faust's positions when last asked for."""

    def start(self) -> None:
        """Make the changelog topic and join the group. The catalog must be kept up meanwhile."""
        self._log.ensure_topics([merge_changelog(self._topics)])
        self._faust.start()

    def stop(self) -> None:
        """Commit what is under way and leave the group. May be called twice."""
        self._work.stop()
        self._faust.stop()

    def check(self) -> None:
        """Raise the failure that stopped the stage, if one did: nothing of it was committed."""
        self._faust.check()

    @property
    def ready(self) -> bool:
        """Whether partitions are assigned and their windows restored."""
        return self._faust.ready

    @property
    def busy(self) -> bool:
        """Whether partials are read but not committed."""
        return self._faust.busy

    def positions(self) -> Mapping[TopicPartition, int]:
        """The next partial to be read per assigned partition, transaction markers passed over."""
        positions = {
            TopicPartition(self._topics.partials, partition): offset
            for partition, offset in dict(self._work.starts).items()
            if partition in self._faust.gained
        }
        positions.update(
            {s: offset for s, offset in self._faust.positions().items() if s in positions}
        )
        ends = self._log.end_offsets([self._topics.partials])
        before, self._stood = self._stood, positions
        if self.busy:
            return positions
        # One that moves needs no help.
        return {
            s: self._past_markers(s, offset, ends[s]) if before.get(s) == offset else offset
            for s, offset in positions.items()
        }

    def lag(self) -> int:
        """Partials not merged yet (transaction markers between them count too)."""
        ends = self._log.end_offsets([self._topics.partials])
        return sum(ends[s] - min(ends[s], offset) for s, offset in self.positions().items())

    def _past_markers(self, source: TopicPartition, offset: int, end: int) -> int:
        """Faust's position stands at the last record; only the log tells what follows it."""
        known = self._passed.get(source)
        base = offset
        if known is not None and known[0] == base:
            offset = known[1]
        if offset < end:
            offset = self._log.next_record(source, offset, end)
            self._passed[source] = (base, offset)
        return offset
