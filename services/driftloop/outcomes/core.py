"""The label join: a prediction and its label, in either order of arrival, become an outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from driftloop.kernel import metrics
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.blocks import F64, I64, PredictionBlock
from driftloop.kernel.codec.labels import LabelDecoder
from driftloop.kernel.codec.murmur2 import partitions_of
from driftloop.kernel.codec.reshape import concat, take
from driftloop.kernel.codec.rows import decode_predictions
from driftloop.kernel.deadletters import dead_letter
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.metrics import Meter, NullMeter
from driftloop.kernel.ports import RecordBatch, Send, TopicPartition
from driftloop.kernel.processor import Outputs
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import DeadLetter
from driftloop.kernel.slices import Slices
from driftloop.kernel.stores import KeyValueStore
from driftloop.outcomes.entries import (
    ABSENT,
    LABEL,
    NEVER,
    PREDICTION,
    unpack_label,
    unpack_prediction,
)
from driftloop.outcomes.filter import Flags
from driftloop.outcomes.joining import Pairs, outcomes
from driftloop.outcomes.memory import Removed
from driftloop.outcomes.state import JoinState, Room

SERVICE = "outcomes"
_FROM_PREDICTIONS, _FROM_LABELS = b"p", b"l"
_FORMAT = b"2"
"""Of what is in the store, before each offset. What another version wrote is built anew."""
_UNREADABLE = 1 << 62
"""Ahead of every log."""
EXPIRED_AT_ONCE = 20_000
"""Ids removed in one step at most, beyond as many as came in. Each is looked up in the store, which
takes some 10 us: a step is longer by a fifth of a second, and a checkpoint is due after some thirty
of them, which keeps memory within its bound however many expire at once."""


@dataclass(slots=True)
class _Joined:
    pairs: Pairs | None = None
    letters: list[DeadLetter] = field(default_factory=list)


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
        self._dirty: set[tuple[str, int]] = set()
        """Changed since the last checkpoint."""
        self.checkpoints = 0
        """Written to the store so far."""
        self._memory_bytes = memory_bytes
        self._checkpoint_ms = checkpoint_ms
        self._expired_at_once = expired_at_once
        self._came = 0
        """Rows taken in since the last step's end."""
        self._behind: dict[tuple[str, int], None] = {}
        """Where something that has expired may still be there; first come, first served."""
        self._now = 0
        self._checkpoint_at = 0
        self._labels: dict[str, tuple[Declaration, LabelDecoder]] = {}

    def process(self, batch: RecordBatch) -> Outputs:
        model = self._catalog.model_of(batch)
        self._dirty.add((model.name, batch.partition))
        self._reflected[batch.source] = max(self.reflected(batch.source), batch.next_offset)
        state = self.state(model.name, batch.partition)
        if batch.topic == model.topics.labels:
            joined = self._take_labels(model, state, batch)
        else:
            joined = self._take_predictions(model, state, batch)
        self._came += len(batch)
        if state.behind:
            self._behind[model.name, batch.partition] = None
        sends: Sequence[Send] = ()
        if joined.pairs is not None and len(joined.pairs):
            sends = [outcomes(joined.pairs, model, batch.partition)]
            self._meter.add(metrics.OUTCOMES, len(joined.pairs), model.name)
        self._tell_open(model.name)
        return Outputs(sends, joined.letters)

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
        return sum(self._states[key].held_bytes for key in self._dirty) > self._memory_bytes // 2

    def on_time(self, now: int) -> Outputs:
        self._now = now
        room = self._room()
        for key in list(self._behind):
            if room.full:
                break
            self._expire(key, room)
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
        for model in self._catalog.models_of(source.topic):
            self._states.pop((model.name, source.partition), None)
            self._dirty.discard((model.name, source.partition))
            self._behind.pop((model.name, source.partition), None)
        self._reflected.pop(source, None)
        # Whatever is on its way to the store holds this source too; the log has it all.
        self._sealed = None

    def open_counts(self) -> Mapping[str, tuple[int, int]]:
        """Model to predictions and labels that wait, over the partitions held."""
        return {name: self._open(name) for name in sorted({m for m, _ in self._states})}

    def _take_predictions(
        self, model: Declaration, state: JoinState, batch: RecordBatch
    ) -> _Joined:
        found = _Joined()
        block, rows, rejected = decode_predictions(
            batch.values,
            scores=model.scores,
            numeric=len(model.numeric),
            categorical=len(model.categorical),
        )
        found.letters += [dead_letter(SERVICE, batch, bad.row, bad.error) for bad in rejected]
        place = state.place
        if len(rows) == 0:
            return found
        names, entry, kind = state.find(Slices.of(block.ids))
        fresh = _firsts(names, (kind == ABSENT) | (kind == LABEL))
        self._meter.add(
            metrics.DUPLICATE_PREDICTIONS, len(rows) - int(np.count_nonzero(fresh)), model.name
        )
        place.predicted_until = max(place.predicted_until, int(block.event_time.max()))
        if not fresh.any():
            return found
        offset = np.asarray(batch.offsets, np.int64)[rows]
        waiting = np.flatnonzero(fresh & (kind == ABSENT))
        records = cast("Slices[bytes]", Slices.of(batch.values).take(rows))
        # One horizon for the label, one for its place among the labels: see the class.
        expiry = _expiry(block.event_time, 2 * model.labels.horizon)
        first = state.keep_predictions(block, records, offset, expiry)
        state.put(
            [names[row] for row in waiting.tolist()], (4 * (first + waiting) + PREDICTION).tolist()
        )
        place.open_predictions += len(waiting)
        matched = np.flatnonzero(fresh & (kind == LABEL))
        if len(matched):
            labels = self._open_labels(state, names, entry, matched)
            pairs = Pairs(take(block, matched), offset[matched], *labels)
            settled = [names[row] for row in matched.tolist()]
            state.settle(settled, expiry[matched])
            place.open_labels -= len(matched)
            in_time = pairs.delay() <= model.labels.horizon
            # The labels' records are not kept, so they can be no dead letters: they are counted.
            late = len(matched) - int(np.count_nonzero(in_time))
            if late:
                self._meter.add(metrics.ORPHANED, late, model.name)
                self._meter.add(metrics.UNLABELLED, late, model.name)
            found.pairs = pairs.take(np.flatnonzero(in_time)) if late else pairs
        kept = np.flatnonzero(fresh)
        state.expire_later(
            expiry[kept], batch.offsets[0], _FROM_PREDICTIONS, Slices.of(block.ids).take(kept)
        )
        return found

    @staticmethod
    def _open_labels(
        state: JoinState, names: Sequence[bytes], entry: I64, rows: I64
    ) -> tuple[F64, I64, I64]:
        """Label, time of observation and offset of the open labels of these rows."""
        label, observed, offset = np.empty(len(rows)), *np.empty((2, len(rows)), np.int64)
        chosen = entry[rows]
        kept = np.flatnonzero(chosen >= 0)
        if len(kept):
            label[kept], observed[kept], offset[kept] = state.labels(chosen[kept] >> 2)
        stored = np.flatnonzero(chosen < 0)
        values = state.fetch([names[row] for row in rows[stored].tolist()])
        for at, value in zip(stored.tolist(), values, strict=True):
            offset[at], observed[at], label[at] = unpack_label(value)
        return label, observed, offset

    def _take_labels(self, model: Declaration, state: JoinState, batch: RecordBatch) -> _Joined:
        found = _Joined()
        block, rejected = self._label_decoder(model).decode(batch.values)
        found.letters += [dead_letter(SERVICE, batch, bad.row, bad.error) for bad in rejected]
        place = state.place
        if len(block.rows) == 0:
            return found
        names, entry, kind = state.find(Slices.of(block.ids))
        belongs = partitions_of(block.ids, model.partitions)
        ours = belongs == batch.partition
        for at in np.flatnonzero(~ours).tolist():
            error = _misplaced(names[at], int(belongs[at]))
            found.letters.append(dead_letter(SERVICE, batch, int(block.rows[at]), error))
        fresh = _firsts(names, ours & ((kind == ABSENT) | (kind == PREDICTION)))
        duplicates = int(np.count_nonzero(ours)) - int(np.count_nonzero(fresh))
        self._meter.add(metrics.DUPLICATE_LABELS, duplicates, model.name)
        offset = np.asarray(batch.offsets, np.int64)[block.rows]
        waiting = np.flatnonzero(fresh & (kind == ABSENT))
        if len(waiting):
            expiry = _expiry(block.observed_at, model.labels.horizon)
            first = state.keep_labels(block.label, block.observed_at, offset, expiry)
            numbers = (4 * (first + waiting) + LABEL).tolist()
            state.put([names[row] for row in waiting.tolist()], numbers)
            place.open_labels += len(waiting)
            own = Slices.of(block.ids).take(waiting)
            state.expire_later(expiry[waiting], batch.offsets[0], _FROM_LABELS, own)
        matched = np.flatnonzero(fresh & (kind == PREDICTION))
        if len(matched):
            predictions, prediction_offset, ends = self._open_predictions(
                model, state, names, entry, matched
            )
            pairs = Pairs(
                predictions,
                prediction_offset,
                block.label[matched],
                block.observed_at[matched],
                offset[matched],
            )
            state.settle([names[row] for row in matched.tolist()], ends)
            place.open_predictions -= len(matched)
            found.pairs = self._in_time(model, pairs, batch, block.rows[matched], found)
        place.observed_until = max(place.observed_until, int(block.observed_at.max()))
        return found

    def _in_time(
        self, model: Declaration, pairs: Pairs, batch: RecordBatch, rows: I64, found: _Joined
    ) -> Pairs:
        """Without the pairs whose label was observed beyond the horizon: their labels become dead
        letters. They are settled, as if the label had come first: a later label is a duplicate."""
        delay = pairs.delay()
        late = np.flatnonzero(delay > model.labels.horizon)
        if not len(late):
            return pairs
        for at in late.tolist():
            error = _too_late(model, int(delay[at]))
            found.letters.append(dead_letter(SERVICE, batch, int(rows[at]), error))
        self._meter.add(metrics.UNLABELLED, len(late), model.name)
        return pairs.take(np.flatnonzero(delay <= model.labels.horizon))

    @staticmethod
    def _open_predictions(
        model: Declaration, state: JoinState, names: Sequence[bytes], entry: I64, rows: I64
    ) -> tuple[PredictionBlock, I64, I64]:
        """The open predictions of these rows, their offsets, and when they expire."""
        chosen = entry[rows]
        blocks, offsets, order = [], [], []
        expiry = np.empty(len(rows), np.int64)
        kept = np.flatnonzero(chosen >= 0)
        if len(kept):
            block, offset, expiry[kept] = state.predictions(chosen[kept] >> 2)
            blocks.append(block)
            offsets.append(offset)
            order.append(kept)
        stored = np.flatnonzero(chosen < 0)
        if len(stored):
            values = state.fetch([names[row] for row in rows[stored].tolist()])
            expiry[stored], heads, records = zip(*map(unpack_prediction, values), strict=True)
            block, _, rejected = decode_predictions(
                records,
                scores=model.scores,
                numeric=len(model.numeric),
                categorical=len(model.categorical),
            )
            if rejected:  # It was decoded when it came in, by the same declaration's shape.
                raise rejected[0].error
            blocks.append(block)
            offsets.append(np.array(heads, np.int64))
            order.append(stored)
        if len(blocks) == 1:
            return blocks[0], offsets[0], expiry
        back = np.argsort(np.concatenate(order))
        return take(concat(blocks), back), np.concatenate(offsets)[back], expiry

    def _room(self) -> Room:
        # Where more came in than one step removes at most, ever more would be there.
        came, self._came = self._came, 0
        return Room(self._expired_at_once + came)

    def _expire(self, key: tuple[str, int], room: Room) -> None:
        """Remove what has expired, as far as there is room.

        Where labels stop altogether nothing expires: predictions wait on disk, and are counted as
        open.
        """
        model, state = key[0], self._states[key]
        if state.expire(room):
            self._dirty.add(key)
        if not state.behind:
            del self._behind[key]
        self._tell_open(model)

    def _label_decoder(self, model: Declaration) -> LabelDecoder:
        known = self._labels.get(model.name)
        if known is None or known[0] is not model:
            known = (model, LabelDecoder(model))
            self._labels[model.name] = known
        return known[1]

    def _tell_open(self, model: str) -> None:
        predictions, labels = self._open(model)
        self._meter.set(metrics.OPEN_PREDICTIONS, predictions, model)
        self._meter.set(metrics.OPEN_LABELS, labels, model)

    def _open(self, model: str) -> tuple[int, int]:
        places = [state.place for (name, _), state in self._states.items() if name == model]
        return (
            sum(place.open_predictions for place in places),
            sum(place.open_labels for place in places),
        )


def _source_key(source: TopicPartition) -> bytes:
    # Behind the states' keys, which begin with the length of a model's name.
    return b"\xff" + source.topic.encode() + b"/%d" % source.partition


def _offset(stored: bytes | None) -> int:
    if stored is None:
        return 0
    return int.from_bytes(stored[1:], "big") if stored[:1] == _FORMAT else _UNREADABLE


def _expiry(times: I64, after: int) -> I64:
    """Of each row of a batch: what came together expires together, ``after`` its time or somewhat
    later. But a row of the far future does not keep those beside it for as long as itself."""
    first, last = int(times.min()), int(times.max())
    if last - first <= after:
        return np.broadcast_to(np.int64(min(last + after, NEVER)), len(times))
    _, near = np.unique(times // after, return_inverse=True)
    latest = np.full(int(near.max()) + 1, first)
    np.maximum.at(latest, near, times)
    return np.asarray(np.minimum(latest, NEVER - after)[near] + after, np.int64)


def _firsts(names: Sequence[bytes], chosen: Flags) -> Flags:
    """Of the chosen rows those whose id none before them has."""
    if len(set(names)) == len(names):
        return chosen
    seen: set[bytes] = set()
    first = np.zeros(len(names), bool)
    for row in np.flatnonzero(chosen).tolist():
        if names[row] not in seen:
            seen.add(names[row])
            first[row] = True
    return first


def _misplaced(id: bytes, partition: int) -> DecodeError:
    return DecodeError(
        Reason.WRONG_PARTITION,
        f"label of {id.decode()!r} belongs in partition {partition}: produce labels keyed by event "
        "id with the murmur2 partitioner (Java's default)",
    )


def _too_late(model: Declaration, delay: int) -> DecodeError:
    return DecodeError(
        Reason.LABEL_TOO_LATE,
        f"observed {delay} ms after its event; the declared horizon is {model.labels.horizon} ms",
    )
