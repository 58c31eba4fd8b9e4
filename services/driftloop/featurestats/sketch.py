"""The sketch stage: rows of predictions and outcomes in, cumulative partials out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from driftloop.featurestats.source import SourceWindows
from driftloop.kernel import metrics
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.deadletters import dead_letter
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.metrics import Meter, NullMeter
from driftloop.kernel.ports import RecordBatch, Send, TopicPartition
from driftloop.kernel.processor import Outputs
from driftloop.kernel.records import Profile, Stream
from driftloop.kernel.window_rows import decode_rows, stream_of

SERVICE = "featurestats"
COLUMNS_PER_S = 8_000
"""Of partials written in the long run. One costs some 60 us until it is merged: a thousand models
of 20 features on four partitions, all with new rows, would take four cores with a flush every
second. They are flushed less often, and half a core is enough."""
_LONGEST_MS = 20_000
"""Between flushes: a partition that is silent for long no longer holds windows back
(``DRIFTLOOP_IDLE_AFTER_MS``)."""


class SketchCore:
    """Keeps the open windows of the source partitions it owns.

    A partial says everything its source partition contributed to a window, so writing one again, or
    after a replay, changes nothing.
    """

    def __init__(
        self,
        catalog: Catalog,
        *,
        flush_interval_ms: int = 1000,
        flush_rows: int = 500_000,
        columns_per_s: int = COLUMNS_PER_S,
        meter: Meter | None = None,
    ) -> None:
        self._catalog = catalog
        self._interval = flush_interval_ms
        self._rows = flush_rows
        self._columns_per_s = columns_per_s
        self._meter = meter or NullMeter()
        self._sources: dict[TopicPartition, dict[str, SourceWindows]] = {}
        """By source and model."""
        self._changed: dict[str, bytes | None] = {}
        self._pending = 0
        self._since: int | None = None
        self._wait = flush_interval_ms
        """From the first row after a flush to the next one, ms."""

    def process(self, batch: RecordBatch) -> Outputs:
        declaration = self._catalog.model_of(batch)
        stream = stream_of(declaration, batch.topic)
        rows = decode_rows(declaration, stream, batch.values)
        versions = set(rows.version.tolist())
        profiles = {version: self._profile(declaration.name, version) for version in versions}
        # Nothing has changed up to here: what the catalog does not know yet is asked for again.
        windows = self._windows(batch.source, declaration)
        offsets = np.asarray(batch.offsets, np.int64)[rows.rows]
        late, too_late = windows.update(rows, offsets, profiles)
        # Added even when there are none: a series that is not there looks like one that is broken.
        self._meter.add(metrics.LATE_ROWS, late, declaration.name, stream)
        self._meter.add(metrics.TOO_LATE_ROWS, too_late, declaration.name, stream)
        self._pending += len(batch)
        return Outputs(
            dead_letters=[dead_letter(SERVICE, batch, r.row, r.error) for r in rows.rejected]
        )

    def on_time(self, now: int) -> Outputs:
        """Starts the clock of the next flush."""
        if self._pending and self._since is None:
            self._since = now
        return Outputs()

    def commit_due(self, now: int) -> bool:
        self.on_time(now)
        if self._since is None:
            return False
        return self._pending >= self._rows or now - self._since >= self._wait

    def flush(self) -> Outputs:
        """A partial of every window that changed since the last flush."""
        self._pending = 0
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
        wait = min(1000 * columns // self._columns_per_s, _LONGEST_MS)
        self._wait = max(self._interval, wait)
        return Outputs(sends)

    def snapshot(self) -> Mapping[str, bytes | None]:
        changed, self._changed = self._changed, {}
        return changed

    def restore(self, source: TopicPartition, entries: Mapping[str, bytes]) -> None:
        """Raises :class:`DecodeError` on entries that are no state of this source."""
        self.drop(source)
        for model in self._catalog.models_of(source.topic):
            windows = self._windows(source, model)
            windows.restore({k: v for k, v in entries.items() if k.startswith(windows.prefix)})

    def drop(self, source: TopicPartition) -> None:
        gone = tuple(windows.prefix for windows in self._sources.pop(source, {}).values())
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
            found = known[model.name] = SourceWindows(model, stream, source, prefix)
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


def state_prefix(model: str, stream: Stream, partition: int) -> str:
    """What the entries of one source partition begin with."""
    return f"{model}/{stream}/{partition}/"
