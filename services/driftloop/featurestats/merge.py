"""The merge stage: partials in, closed and revised windows out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from driftloop.featurestats.idleness import Idleness, Silence
from driftloop.featurestats.merged import MergedStream
from driftloop.featurestats.partials import read_partial
from driftloop.featurestats.sketch import SERVICE
from driftloop.kernel import metrics
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.records import codec
from driftloop.kernel.deadletters import dead_letter
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.metrics import Meter, NullMeter
from driftloop.kernel.ports import RecordBatch, Send, TopicPartition
from driftloop.kernel.processor import ControlBehindError, Outputs
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import DeadLetter, Partial, Stream, Window
from driftloop.kernel.stores import KeyValueStore, MemoryStore


class MergeCore:
    """Every model's windows. Pure: partials, publications and processing time come in.

    What is in a window depends on the partials alone. Processing time decides when a source
    partition is silent; that nothing of it is under way, so that windows may close without it, is
    found outside.
    """

    def __init__(
        self,
        catalog: Catalog,
        store: KeyValueStore | None = None,
        *,
        idle_after_ms: int = 5_000,
        meter: Meter | None = None,
    ) -> None:
        """``store``: for what windows were merged from, after they were given out. Empty, and
        nobody else's; by default in memory."""
        self._catalog = catalog
        self._store = MemoryStore() if store is None else store
        self._idle_after = idle_after_ms
        self._meter = meter or NullMeter()
        self._streams: dict[tuple[str, Stream], MergedStream] = {}

    def knows(self, partial: Partial) -> bool:
        """Whether the partial's model is declared; if not, the control topics are behind."""
        return partial.model in self._catalog.models

    def merge(self, partial: Partial, encoded: bytes, now: int) -> list[Window]:
        """Take in a partial, and its record. Returns the windows that its watermark closes, in
        order; what it changes in windows closed before comes with the next :meth:`on_time`.

        Raises :class:`DecodeError`, and changes nothing, for one that does not fit the others of
        its window.
        """
        stream = self._stream(partial.model, partial.stream)
        lost = stream.add(partial, encoded, now)
        if lost:
            self._meter.add(metrics.TOO_LATE_ROWS, lost, partial.model, partial.stream)
        return self._measured(stream.close())

    def silent(self, now: int) -> Sequence[Silence]:
        """Who holds windows back though nothing has come of him for long."""
        return [
            Silence(model, stream, partition)
            for (model, stream), merged in sorted(self._streams.items())
            for partition in merged.silent(now)
        ]

    def let_go(self, silences: Iterable[Silence]) -> None:
        """Wait for them no longer: nothing of them is under way."""
        for silence in silences:
            merged = self._streams.get((silence.model, silence.stream))
            if merged is not None:
                merged.let_go(silence.partition)

    def on_time(self) -> list[Window]:
        """Windows closed because source partitions are idle, and revisions. Of a model that is
        declared no more nothing is given out, and nothing kept."""
        windows: list[Window] = []
        for name in sorted(self._streams):
            try:
                stream = self._stream(*name)
            except ControlBehindError:
                self._streams.pop(name).clear()
                continue
            windows += stream.close()
            windows += stream.revise()
        return self._measured(windows)

    def published(self, window: Window) -> None:
        """The window is on the windows topic already."""
        self._stream(window.model, window.stream).published(window)

    def entries(self) -> Mapping[bytes, bytes | None]:
        """State entries changed since the last call; None deletes. A key begins ``MODEL/``."""
        changed: dict[bytes, bytes | None] = {}
        for stream in self._streams.values():
            changed.update(stream.changes())
        return changed

    def restore(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Take over entries. Raises :class:`DecodeError`, and :class:`ControlBehindError` where
        their model is not declared yet."""
        for key, value in entries:
            try:
                model, stream, name = key.decode().split("/", 2)
                self._stream(model, Stream(stream)).restore(name, value)
            except ValueError as error:
                raise DecodeError(Reason.MALFORMED, f"state entry {key!r}: {error}") from error

    def drop(self, control_partition: int) -> None:
        """Forget the models of one control partition: it left."""
        topics = self._catalog.topics
        for model, stream in list(self._streams):
            if topics.partition(model) == control_partition:
                self._streams.pop((model, stream)).clear()

    def _stream(self, model: str, stream: Stream) -> MergedStream:
        declaration = self._catalog.models.get(model)
        if declaration is None:
            raise ControlBehindError(f"model {model!r} is not declared yet")
        found = self._streams.get((model, stream))
        if found is None:
            found = MergedStream(model, stream, declaration.windows, self._idle_after, self._store)
            self._streams[model, stream] = found
        found.policy = declaration.windows
        return found

    def _measured(self, windows: list[Window]) -> list[Window]:
        for window in windows:
            labels = (window.model, str(window.stream))
            revised = "yes" if window.revision else "no"
            self._meter.add(metrics.WINDOWS, 1, *labels, revised)
            if not window.revision:
                self._meter.add(metrics.WINDOW_ROWS, window.rows, *labels)
            self._meter.set(metrics.EVENT_TIME, window.watermark / 1000, *labels)
        return windows


class MergeProcessor:
    """The merge stage behind the runner's core protocol: for the loop in one process."""

    def __init__(self, core: MergeCore, catalog: Catalog, idleness: Idleness) -> None:
        self._core = core
        self._catalog = catalog
        self._idleness = idleness
        self._waiting: list[tuple[RecordBatch, Received]] = []

    def process(self, batch: RecordBatch) -> Outputs:
        partials, letters = decode_partials(batch)
        for received in partials:
            if not self._core.knows(received.partial):
                raise ControlBehindError(f"model {received.partial.model!r} is not declared yet")
        self._waiting += [(batch, received) for received in partials]
        return Outputs(dead_letters=letters)

    def on_time(self, now: int) -> Outputs:
        """Merges what was processed: silence needs the time."""
        windows: list[Window] = []
        letters: list[DeadLetter] = []
        for batch, received in self._waiting:
            try:
                windows += self._core.merge(received.partial, received.encoded, now)
            except DecodeError as error:
                letters.append(dead_letter(SERVICE, batch, received.row, error))
        self._waiting.clear()
        self._core.let_go(self._idleness.found(self._core.silent(now), now))
        windows += self._core.on_time()
        return Outputs(window_sends(self._catalog, windows), letters)

    def commit_due(self, now: int) -> bool:
        return True

    def flush(self) -> Outputs:
        return Outputs()

    def snapshot(self) -> Mapping[str, bytes | None]:
        return {key.decode(): value for key, value in self._core.entries().items()}

    def restore(self, source: TopicPartition, entries: Mapping[str, bytes]) -> None:
        self._core.restore((key.encode(), value) for key, value in entries.items())

    def drop(self, source: TopicPartition) -> None:
        topics = self._catalog.topics
        self._waiting = [
            waiting
            for waiting in self._waiting
            if topics.partition(waiting[1].partial.model) != source.partition
        ]
        self._core.drop(source.partition)

    def state_scope(self, source: TopicPartition) -> Sequence[tuple[int, str]]:
        """A control partition's state is all of the changelog partition of the same number."""
        return [(source.partition, "")]


@dataclass(frozen=True, slots=True)
class Received:
    """A partial as it came."""

    row: int
    """Of its batch."""
    partial: Partial
    encoded: bytes


def decode_partials(batch: RecordBatch) -> tuple[Sequence[Received], Sequence[DeadLetter]]:
    """The partials of a batch of the partials topic, and what is none."""
    partials: list[Received] = []
    letters: list[DeadLetter] = []
    for row, value in enumerate(batch.values):
        try:
            partials.append(Received(row, read_partial(value), value or b""))
        except DecodeError as error:
            letters.append(dead_letter(SERVICE, batch, row, error))
    return partials, letters


def window_sends(catalog: Catalog, windows: Sequence[Window]) -> list[Send]:
    """Windows as records of the windows topic, in order."""
    encode = codec(Window).encode
    return [
        Send(
            catalog.topics.windows,
            [window.model.encode()],
            [encode(window)],
            catalog.topics.partition(window.model),
        )
        for window in windows
    ]
