"""The label join: a prediction and its label, in either order of arrival, become an outcome."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from itertools import pairwise

import numpy as np

from driftloop.kernel import metrics
from driftloop.kernel.alike import Alike
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.metrics import Meter, NullMeter
from driftloop.kernel.ports import RecordBatch, Send, TopicPartition
from driftloop.kernel.processor import Outputs
from driftloop.kernel.records import DeadLetter
from driftloop.kernel.sharing import Shared
from driftloop.kernel.stores import KeyValueStore
from driftloop.outcomes.joining import Found, outcomes
from driftloop.outcomes.matching import match_labels, match_predictions
from driftloop.outcomes.memory import Removed
from driftloop.outcomes.reading import Labels, Predictions, Reader
from driftloop.outcomes.state import JoinState, Room

_FORMAT = b"2"
"""Of what is in the store, before each offset. What another version wrote is built anew."""
_UNREADABLE = 1 << 62
"""Ahead of every log."""
EXPIRED_AT_ONCE = 20_000
"""Ids removed in one step at most, beyond as many as came in. Each is looked up in the store, which
takes some 10 us: a step is longer by a fifth of a second, and a checkpoint is due after some thirty
of them, which keeps memory within its bound however many expire at once."""


class OutcomesCore:
    """See :class:`driftloop.kernel.processor.Core`.

    A label joins when it was observed at most the declared horizon after its event: that depends
    on the two records alone, not on when they arrive, as long as neither stands behind records of
    its partition that are newer by more than the horizon. The first prediction and the first label
    of an event count; later ones are counted as duplicates until the event is forgotten: when both
    topics have passed its time. It is removed in one of the steps that follow, a part in each.

    What is new goes to the store with a checkpoint, every ``checkpoint_ms``, and leaves memory with
    the next one. They come sooner where it would take more than ``memory_bytes``.
    """

    def __init__(
        self,
        catalog: Catalog,
        store: KeyValueStore,
        meter: Meter,
        *,
        memory_bytes: int = 256 << 20,
        checkpoint_ms: int = 30_000,
        expired_at_once: int = EXPIRED_AT_ONCE,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._meter = meter
        self._states: dict[tuple[str, int], JoinState] = {}
        self._reflected: dict[TopicPartition, int] = {}
        """The offset up to which each source is part of the state."""
        self._sealed: dict[TopicPartition, int] | None = None
        """The same in the checkpoint whose transaction is under way."""
        self._dirty: dict[tuple[str, int], int] = {}
        """What changed since the last checkpoint, and the bytes it holds."""
        self._held_bytes = 0
        """Of all of it."""
        self.checkpoints = 0
        """Written to the store so far."""
        self._memory_bytes = memory_bytes
        self._checkpoint_ms = checkpoint_ms
        self._expired_at_once = expired_at_once
        self._came = 0
        """Rows taken in since the last step's end."""
        self._behind: dict[tuple[str, int], None] = {}
        """Where something that has expired may still be there; first come, first served."""
        self._moved: set[str] = set()
        """Models whose open counts changed since the meter was told."""
        self._now = 0
        self._checkpoint_at = 0
        self._reader = Reader()

    def process(self, batch: RecordBatch) -> Outputs:
        return self._process([Alike.of(self._catalog.model_of(batch), batch)])

    def process_shared(self, shared: Sequence[Shared]) -> Outputs:
        """Batches that several models share. Those of models that look alike are decoded and
        encoded together, and matched one after the other."""
        models, split = self._catalog.models, self._reader.shapes.split
        return self._process([alike for one in shared for alike in split(one, models)])

    def _process(self, parts: Sequence[Alike]) -> Outputs:
        letters: list[DeadLetter] = []
        # What cannot be read now is asked for again, all of it: nothing may have changed by then.
        read = [self._reader.read(alike, letters) for alike in parts]
        sends = [send for one in read for send in self._take(one, letters)]
        return Outputs(sends, letters)

    def _take(self, read: Predictions | Labels, letters: list[DeadLetter]) -> Sequence[Send]:
        alike = read.alike
        for batch in alike.batches:
            self._reflected[batch.source] = max(self.reflected(batch.source), batch.next_offset)
        runs = list(alike.runs(np.arange(len(alike.rows))))
        bounds = np.searchsorted(read.rows, [*(low for _, _, low, _ in runs), len(alike.rows)])
        found: list[Found] = []
        for (model, batch, *_), (low, high) in zip(runs, pairwise(bounds.tolist()), strict=True):
            key = model.name, batch.partition
            state = self.state(*key)
            if low == high:
                self._touched(key, state)
                continue
            part = read.part(low, high)
            more = batch.partition, letters, self._meter
            pairs = (
                match_labels(model, state, part, *more)
                if isinstance(part, Labels)
                else match_predictions(model, state, part, *more)
            )
            self._touched(key, state)
            if state.behind:
                self._behind[key] = None
            if pairs is not None:
                found.append(Found(model, batch.partition, pairs))
                self._meter.add(metrics.OUTCOMES, len(pairs), model.name)
            self._moved.add(model.name)
        self._came += len(alike.rows)
        return outcomes(found)

    def replay(self, batch: RecordBatch) -> None:
        """Take in a batch whose outputs are in the log already, and were counted."""
        key = self._catalog.model_of(batch).name, batch.partition
        self.state(*key).catch_up()
        meter, self._meter = self._meter, NullMeter()
        try:
            self.process(batch)
            if key in self._behind:
                self._expire(key, self._room())
        finally:
            self._meter = meter

    def resume(self, source: TopicPartition) -> None:
        """Go on removing what had expired of a partition of predictions, though nothing comes."""
        for model in self._catalog.models_of(source.topic):
            key = model.name, source.partition
            state = self._states.get(key) or JoinState(self._store, *key)
            state.caught_up()
            if state.behind:
                self._states[key] = state
                self._behind[key] = None

    def behind(self) -> bool:
        """Whether something that has expired may still be there."""
        return bool(self._behind)

    def expiring(self) -> bool:
        """Whether the next step can remove some of it, without input too."""
        return self.behind() and self._sealed is None

    def state(self, model: str, partition: int) -> JoinState:
        """The state of one partition, read from the store when first asked for."""
        found = self._states.get((model, partition))
        if found is None:
            found = JoinState(self._store, model, partition)
            self._states[model, partition] = found
        return found

    def checkpoint(self) -> None:
        """Everything processed is committed: let the store follow at once."""
        self._seal()
        self._write()

    def checkpoint_if_large(self) -> None:
        """The same where memory asks for it: while much is read again."""
        if self._sealed is None and self._large():
            self.checkpoint()

    def checkpoint_if_due(self) -> None:
        """The same where one is due, with nothing to commit: of what was removed."""
        if self._dirty and self._sealed is None and self._due():
            self.checkpoint()

    def _due(self) -> bool:
        return self._now >= self._checkpoint_at or self._large()

    def _large(self) -> bool:
        return self._held_bytes > self._memory_bytes // 2

    def _touched(self, key: tuple[str, int], state: JoinState) -> None:
        held = state.held_bytes
        self._held_bytes += held - self._dirty.get(key, 0)
        self._dirty[key] = held

    def on_time(self, now: int) -> Outputs:
        self._now = now
        room = self._room()
        for key in list(self._behind):
            if room.full:
                break
            self._expire(key, room)
        self._tell_open()
        return Outputs()

    def commit_due(self, now: int) -> bool:
        return True

    def flush(self) -> Outputs:
        """With a checkpoint where one is due: the store is written when its transaction is
        through, so it is never ahead of the log."""
        if not self._dirty or self._sealed is not None or not self._due():
            return Outputs()
        self._seal()
        return Outputs(committed=lambda now: self._write())

    def _seal(self) -> None:
        self._checkpoint_at = self._now + self._checkpoint_ms
        self._sealed = dict(self._reflected)
        for key, state in self._states.items():
            if key in self._dirty:
                state.seal()
            else:
                state.release()
        self._dirty.clear()
        self._held_bytes = 0

    def _write(self) -> None:
        """All states and all offsets at once: the store is always that of one moment."""
        if self._sealed is None:
            return
        changes: dict[bytes, bytes | None] = {}
        for state in self._states.values():
            state.add_sealed(changes)
        for source, offset in self._sealed.items():
            changes[_source_key(source)] = _FORMAT + offset.to_bytes(8, "big")
        self._store.write(changes)
        self.checkpoints += 1
        for (model, _), state in self._states.items():
            removed = state.written()
            if removed != Removed():
                self._meter.add(metrics.UNLABELLED, removed.unlabelled, model)
                self._meter.add(metrics.ORPHANED, removed.orphaned, model)
        self._sealed = None

    def reflected(self, source: TopicPartition) -> int:
        """The offset up to which a source is part of the state, in memory or in the store."""
        found = self._reflected.get(source)
        if found is None:
            stored = self._store.get_many([_source_key(source)])[0]
            found = self._reflected[source] = _offset(stored)
        return found

    def wipe(self, source: TopicPartition, beat: Callable[[], None]) -> None:
        """Forget everything of a partition of predictions and that of its labels; ``beat`` is
        called every so often. Last what tells that it must be done, of all models that share the
        topics at once: one that is cut short is done again."""
        self._meter.add(metrics.STATE_REBUILT, 1, "ahead")
        models = self._catalog.models_of(source.topic)
        for model in models:
            self.state(model.name, source.partition).wipe(beat)
        topics = {t for m in models for t in (m.topics.predictions, m.topics.labels)}
        others = [TopicPartition(topic, source.partition) for topic in sorted(topics)]
        self._store.write(dict.fromkeys(map(_source_key, others)))
        self._reflected.update(dict.fromkeys(others, 0))

    def snapshot(self) -> Mapping[str, bytes | None]:
        return {}

    def restore(self, source: TopicPartition, entries: Mapping[str, bytes]) -> None:
        """The state comes from the store and the log (``outcomes.recovery``)."""

    def drop(self, source: TopicPartition) -> None:
        for key in [key for key in self._states if key[1] == source.partition]:
            model = self._catalog.models.get(key[0])
            # Of a model that is declared no more nobody knows which topics were its own.
            if model is None or source.topic in model.topics.names():
                del self._states[key]
                self._held_bytes -= self._dirty.pop(key, 0)
                self._behind.pop(key, None)
        self._reflected.pop(source, None)
        # Whatever is on its way to the store holds this source too; the log has it all.
        self._sealed = None

    def open_counts(self) -> Mapping[str, tuple[int, int]]:
        """Model to predictions and labels that wait, over the partitions held."""
        return dict(sorted(self._open({model for model, _ in self._states}).items()))

    def _room(self) -> Room:
        # Where more came in than one step removes at most, ever more would be there.
        came, self._came = self._came, 0
        return Room(self._expired_at_once + came)

    def _expire(self, key: tuple[str, int], room: Room) -> None:
        """Remove what has expired, as far as there is room.

        Where labels stop altogether nothing expires: predictions wait on disk, and are counted as
        open.
        """
        state = self._states[key]
        if state.expire(room):
            self._touched(key, state)
        if not state.behind:
            del self._behind[key]
        self._moved.add(key[0])

    def _tell_open(self) -> None:
        """Once a step: a poll may be of a thousand models, on several partitions each."""
        if not self._moved:
            return
        for model, (predictions, labels) in self._open(self._moved).items():
            self._meter.set(metrics.OPEN_PREDICTIONS, predictions, model)
            self._meter.set(metrics.OPEN_LABELS, labels, model)
        self._moved.clear()

    def _open(self, models: Container[str]) -> dict[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        for (model, _), state in self._states.items():
            if model in models:
                predictions, labels = found.get(model, (0, 0))
                place = state.place
                found[model] = (
                    predictions + place.open_predictions,
                    labels + place.open_labels,
                )
        return found


def _source_key(source: TopicPartition) -> bytes:
    # Behind the states' keys, which begin with the length of a model's name.
    return b"\xff" + source.topic.encode() + b"/%d" % source.partition


def _offset(stored: bytes | None) -> int:
    if stored is None:
        return 0
    return int.from_bytes(stored[1:], "big") if stored[:1] == _FORMAT else _UNREADABLE
