"""The label join: a prediction and its label, in either order of arrival, become an outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from driftloop.kernel import metrics
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.blocks import LabelBlock, PredictionBlock
from driftloop.kernel.codec.labels import LabelDecoder
from driftloop.kernel.codec.murmur2 import partitions_of
from driftloop.kernel.codec.rows import decode_predictions
from driftloop.kernel.deadletters import dead_letter
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.metrics import Meter, NullMeter
from driftloop.kernel.ports import RecordBatch, Send, TopicPartition
from driftloop.kernel.processor import Outputs
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import DeadLetter
from driftloop.kernel.stores import KeyValueStore
from driftloop.outcomes.joining import Pair, join
from driftloop.outcomes.state import (
    DONE,
    OPEN_LABEL,
    OPEN_PREDICTION,
    JoinState,
    OpenLabel,
    OpenPrediction,
)

SERVICE = "outcomes"
_FROM_PREDICTIONS, _FROM_LABELS = b"p", b"l"


@dataclass(slots=True)
class _Joined:
    pairs: list[Pair] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    duplicates: int = 0


class OutcomesCore:
    """See :class:`driftloop.kernel.processor.Core`.

    A label joins when it was observed at most the declared horizon after its event: that depends
    on the two records alone, not on when they arrive, as long as neither stands behind records of
    its partition that are newer by more than the horizon. The first prediction and the first label
    of an event count; later ones are counted as duplicates until the event is forgotten.
    """

    def __init__(self, catalog: Catalog, store: KeyValueStore, meter: Meter) -> None:
        self._catalog = catalog
        self._store = store
        self._meter = meter
        self._states: dict[tuple[str, int], JoinState] = {}
        self._dirty: set[tuple[str, int]] = set()
        self._labels: dict[str, tuple[Declaration, LabelDecoder]] = {}

    def process(self, batch: RecordBatch) -> Outputs:
        model = self._catalog.model_of(batch.topic)
        self._dirty.add((model.name, batch.partition))
        state = self.state(model.name, batch.partition)
        if batch.topic == model.topics.labels:
            joined = self._take_labels(model, state, batch)
        else:
            joined = self._take_predictions(model, state, batch)
        self._expire(model, state)
        sends: Sequence[Send] = ()
        if joined.pairs:
            keys, values = join(model, joined.pairs, batch.partition)
            sends = [Send(model.topics.outcomes, keys, values, batch.partition)]
            self._meter.add(metrics.OUTCOMES, len(keys), model.name)
        self._meter.set(metrics.OPEN_PREDICTIONS, self._open(model.name)[0], model.name)
        self._meter.set(metrics.OPEN_LABELS, self._open(model.name)[1], model.name)
        return Outputs(sends, joined.letters)

    def replay(self, batch: RecordBatch) -> None:
        """Take in a batch whose outputs are in the log already, and were counted."""
        meter, self._meter = self._meter, NullMeter()
        try:
            self.process(batch)
        finally:
            self._meter = meter

    def state(self, model: str, partition: int) -> JoinState:
        """The state of one partition, read from the store when first asked for."""
        found = self._states.get((model, partition))
        if found is None:
            found = JoinState(self._store, model, partition)
            self._states[model, partition] = found
        return found

    def write(self) -> None:
        """The outputs are committed: let the store follow."""
        for key in sorted(self._dirty):
            self._states[key].commit()
        self._dirty.clear()

    def on_time(self, now: int) -> Outputs:
        return Outputs()

    def commit_due(self, now: int) -> bool:
        return True

    def flush(self) -> Outputs:
        return Outputs()

    def snapshot(self) -> Mapping[str, bytes | None]:
        return {}

    def restore(self, source: TopicPartition, entries: Mapping[str, bytes]) -> None:
        """The state comes from the store and the log (``outcomes.recovery``)."""

    def drop(self, source: TopicPartition) -> None:
        model = self._catalog.model_of(source.topic)
        self._states.pop((model.name, source.partition), None)
        self._dirty.discard((model.name, source.partition))

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
        state.place.predictions = max(state.place.predictions, batch.next_offset)
        if len(rows) == 0:
            return found
        fresh = self._new_predictions(state, block, rows, batch, found)
        by_expiry: list[bytes] = []
        latest = 0
        labels = state.get(OPEN_LABEL, [id for id, _ in fresh])
        for (id, opened), stored in zip(fresh, labels, strict=True):
            by_expiry.append(id)
            latest = max(latest, opened.event_time)
            if stored is None:
                state.put(OPEN_PREDICTION, id, opened.pack())
                state.place.open_predictions += 1
                continue
            label = OpenLabel.unpack(stored)
            state.put(OPEN_LABEL, id, None)
            state.done(id, opened.event_time)
            state.place.open_labels -= 1
            if label.observed_at - opened.event_time <= model.labels.horizon:
                found.pairs.append(Pair(id, opened, label))
            else:
                # The label's record is not kept, so it can be no dead letter: it is counted.
                self._meter.add(metrics.ORPHANED, 1, model.name)
                self._meter.add(metrics.UNLABELLED, 1, model.name)
        if by_expiry:
            # One horizon for the label, one for its place among the labels: see the class.
            state.expire_later(
                latest + 2 * model.labels.horizon, batch.offsets[0], _FROM_PREDICTIONS, by_expiry
            )
        place = state.place
        place.predicted_until = max(place.predicted_until, int(block.event_time.max()))
        self._meter.add(metrics.DUPLICATE_PREDICTIONS, found.duplicates, model.name)
        return found

    @staticmethod
    def _new_predictions(
        state: JoinState,
        block: PredictionBlock,
        rows: np.ndarray[tuple[int], np.dtype[np.int64]],
        batch: RecordBatch,
        found: _Joined,
    ) -> list[tuple[bytes, OpenPrediction]]:
        """Those whose id is neither open nor done, once each."""
        known_open = state.get(OPEN_PREDICTION, block.ids)
        known_done = state.get(DONE, block.ids)
        fresh: dict[bytes, OpenPrediction] = {}
        times = block.event_time.tolist()
        for at, (id, row) in enumerate(zip(block.ids, rows.tolist(), strict=True)):
            if known_open[at] is not None or known_done[at] is not None or id in fresh:
                found.duplicates += 1
                continue
            record = batch.values[row]
            assert record is not None
            fresh[id] = OpenPrediction(batch.offsets[row], times[at], record)
        return list(fresh.items())

    def _take_labels(self, model: Declaration, state: JoinState, batch: RecordBatch) -> _Joined:
        found = _Joined()
        block, rejected = self._label_decoder(model).decode(batch.values)
        found.letters += [dead_letter(SERVICE, batch, bad.row, bad.error) for bad in rejected]
        state.place.labels = max(state.place.labels, batch.next_offset)
        if len(block.rows) == 0:
            return found
        fresh = self._new_labels(model, state, block, batch, found)
        waiting: list[bytes] = []
        latest = 0
        predictions = state.get(OPEN_PREDICTION, [id for id, _, _ in fresh])
        for (id, label, row), stored in zip(fresh, predictions, strict=True):
            if stored is None:
                state.put(OPEN_LABEL, id, label.pack())
                state.place.open_labels += 1
                waiting.append(id)
                latest = max(latest, label.observed_at)
                continue
            opened = OpenPrediction.unpack(stored)
            state.put(OPEN_PREDICTION, id, None)
            state.done(id, opened.event_time)
            state.place.open_predictions -= 1
            delay = label.observed_at - opened.event_time
            if delay <= model.labels.horizon:
                found.pairs.append(Pair(id, opened, label))
            else:
                # Settled, as if the label had come first: a later label is a duplicate.
                found.letters.append(dead_letter(SERVICE, batch, row, _too_late(model, delay)))
                self._meter.add(metrics.UNLABELLED, 1, model.name)
        if waiting:
            state.expire_later(
                latest + model.labels.horizon, batch.offsets[0], _FROM_LABELS, waiting
            )
        place = state.place
        place.observed_until = max(place.observed_until, int(block.observed_at.max()))
        self._meter.add(metrics.DUPLICATE_LABELS, found.duplicates, model.name)
        return found

    @staticmethod
    def _new_labels(
        model: Declaration, state: JoinState, block: LabelBlock, batch: RecordBatch, found: _Joined
    ) -> list[tuple[bytes, OpenLabel, int]]:
        """Those that lie in the right partition and whose id has no label yet, once each."""
        belongs = partitions_of(block.ids, model.partitions).tolist()
        known_open = state.get(OPEN_LABEL, block.ids)
        known_done = state.get(DONE, block.ids)
        fresh: dict[bytes, tuple[OpenLabel, int]] = {}
        labels, times = block.label.tolist(), block.observed_at.tolist()
        for at, (id, row) in enumerate(zip(block.ids, block.rows.tolist(), strict=True)):
            if belongs[at] != batch.partition:
                error = DecodeError(
                    Reason.WRONG_PARTITION,
                    f"label of {id.decode()!r} belongs in partition {belongs[at]}: produce labels "
                    "keyed by event id with the murmur2 partitioner (Java's default)",
                )
                found.letters.append(dead_letter(SERVICE, batch, row, error))
            elif known_open[at] is not None or known_done[at] is not None or id in fresh:
                found.duplicates += 1
            else:
                fresh[id] = (OpenLabel(batch.offsets[row], times[at], labels[at]), row)
        return [(id, label, row) for id, (label, row) in fresh.items()]

    def _expire(self, model: Declaration, state: JoinState) -> None:
        """Forget what can no longer be joined.

        Both topics must have passed its time, by the records' own times. However far ahead the
        predictions are read or produced, they wait for labels that are yet to come; where labels
        stop altogether they wait on disk, and are counted as open.
        """
        place = state.place
        passed = min(place.predicted_until, place.observed_until)
        unlabelled = orphaned = 0
        for key, ids in state.expired(passed):
            for kind in (
                (OPEN_PREDICTION, DONE) if key.endswith(_FROM_PREDICTIONS) else (OPEN_LABEL,)
            ):
                for id, value in zip(ids, state.get(kind, ids), strict=True):
                    if value is not None:
                        state.put(kind, id, None)
                        unlabelled += kind == OPEN_PREDICTION
                        orphaned += kind == OPEN_LABEL
            state.forget(key)
        place.open_predictions -= unlabelled
        place.open_labels -= orphaned
        if unlabelled:
            self._meter.add(metrics.UNLABELLED, unlabelled, model.name)
        if orphaned:
            self._meter.add(metrics.ORPHANED, orphaned, model.name)

    def _label_decoder(self, model: Declaration) -> LabelDecoder:
        known = self._labels.get(model.name)
        if known is None or known[0] is not model:
            known = (model, LabelDecoder(model))
            self._labels[model.name] = known
        return known[1]

    def _open(self, model: str) -> tuple[int, int]:
        places = [state.place for (name, _), state in self._states.items() if name == model]
        return (
            sum(place.open_predictions for place in places),
            sum(place.open_labels for place in places),
        )


def _too_late(model: Declaration, delay: int) -> DecodeError:
    return DecodeError(
        Reason.LABEL_TOO_LATE,
        f"observed {delay} ms after its event; the declared horizon is {model.labels.horizon} ms",
    )
