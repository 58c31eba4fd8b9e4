"""What waits for its other half: the recent in memory, the rest in a key-value store.

A checkpoint moves what is in memory to the store, together with the offsets it reflects; rows
between those and the committed ones are read again after a restart. So an event whose label comes
soon costs the store one small entry, for its id must be known while duplicates may come. What went
to the store stays in memory until the next checkpoint: what is asked for is mostly new.

Keys, per model and partition (the prefix is their length-framed name)::

    PREFIX E id            P: an open prediction: offset, event time (i64), its record
                           L: an open label: offset, observed at (i64), label (f64)
                           D: both came
    PREFIX T time offset   ids that expire together: expiry (i64, big-endian) and the first offset
    PREFIX O               watermarks of the two topics, and what is open

The offsets that all of it reflects are kept by the core, per topic partition.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, repeat
from typing import TypeVar

import numpy as np

from driftloop.kernel.codec.blocks import F64, I64, PredictionBlock
from driftloop.kernel.codec.reshape import concat, take
from driftloop.kernel.slices import Slices
from driftloop.kernel.stores import KeyValueStore
from driftloop.outcomes.filter import IdFilter

_ENTRY, _EXPIRY, _PLACE_KEY = b"E", b"T", b"O"
_HEAD = struct.Struct("<qq")
_LABEL = struct.Struct("<qqd")
_INDEX = struct.Struct(">Qq")
_PLACE = struct.Struct("<qqqq")
_COUNT = struct.Struct("<q")
_ORIGIN = 1 << 63
"""Added to times in index keys, so that negative ones sort first."""
_NEVER = 1 << 62
_SCANNED_AT_ONCE = 20_000
_HOT_BYTES = 200
"""Of an entry in memory besides its record."""

ABSENT, PREDICTION, LABEL, DONE, GONE = -1, 0, 1, 2, 3
"""What is known of an id. In memory an entry is ``4 * number + kind``, the number being that of a
kept row; in the store its first byte tells."""
_TAGS = {b"P"[0]: PREDICTION, b"L"[0]: LABEL, b"D"[0]: DONE}
_SETTLED = (None, None, b"D", None)
"""What the store is given of an entry of each kind, where that does not depend on its row."""


@dataclass(slots=True)
class Place:
    """What is open, and the watermarks of the two topics: event times."""

    predicted_until: int = -_NEVER
    observed_until: int = -_NEVER
    open_predictions: int = 0
    open_labels: int = 0

    def pack(self) -> bytes:
        return _PLACE.pack(
            self.predicted_until,
            self.observed_until,
            self.open_predictions,
            self.open_labels,
        )

    @classmethod
    def unpack(cls, data: bytes | None) -> Place:
        return cls() if data is None else cls(*_PLACE.unpack(data))


@dataclass(frozen=True, slots=True)
class KeptPredictions:
    """Rows of one batch of predictions, numbered from ``first`` on."""

    first: int
    block: PredictionBlock
    records: Slices[bytes]
    offset: I64


@dataclass(frozen=True, slots=True)
class KeptLabels:
    """Rows of one batch of labels, numbered from ``first`` on."""

    first: int
    label: F64
    observed_at: I64
    offset: I64


def unpack_prediction(value: bytes | None) -> tuple[int, bytes]:
    """Offset and record of an open prediction in the store."""
    assert value is not None  # it was found there a moment ago
    return _HEAD.unpack_from(value, 1)[0], value[1 + _HEAD.size :]


def unpack_label(value: bytes | None) -> tuple[int, int, float]:
    """Offset, time of observation and label of an open label in the store."""
    assert value is not None
    offset, observed, label = _LABEL.unpack_from(value, 1)
    return offset, observed, label


Kept = TypeVar("Kept", KeptPredictions, KeptLabels)


@dataclass(slots=True)
class _Expiring:
    expiry: int
    offset: int
    tag: bytes
    ids: Slices[bytes]


class _Memory:
    """Entries between two checkpoints."""

    def __init__(self) -> None:
        self.entries: dict[bytes, int] = {}
        self.predictions: list[KeptPredictions] = []
        self.labels: list[KeptLabels] = []
        self.expiring: list[_Expiring] = []
        self.forgotten: list[bytes] = []
        """Keys of the expiry index in the store."""
        self.bytes = 0


class JoinState:
    """The state of one model's partition."""

    def __init__(self, store: KeyValueStore, model: str, partition: int) -> None:
        self._store = store
        name = model.encode()
        self._prefix = struct.pack(">H", len(name)) + name + struct.pack(">I", partition)
        self._memory = _Memory()
        self._sealed: _Memory | None = None
        """What the last checkpoint holds."""
        self._writing = False
        """Until that checkpoint's transaction is through."""
        self._sealed_place = Place()
        self._numbers = 0
        self._filter = IdFilter()
        self._scan: Iterator[tuple[bytes, bytes]] | None = None
        self._load()

    def _load(self) -> None:
        stored = self._store.get_many([self._prefix + _PLACE_KEY])[0]
        self.place = Place.unpack(stored)
        self._next_expiry = -_NEVER
        """Nothing in the store expires before."""
        self.held_up = False
        """What has expired could not be told, for it was just being written to the store."""
        self._filter = IdFilter()
        self._scan = None
        if stored is not None:
            # Until all its ids have been read the filter says nothing.
            self._filter.complete = False
            self._scan = self._store.scan(self._prefix + _ENTRY, self._prefix + _after(_ENTRY))

    @property
    def held_bytes(self) -> int:
        """About how much memory what was not sealed yet takes."""
        return self._memory.bytes

    def find(self, ids: Slices[bytes]) -> tuple[list[bytes], I64]:
        """The ids, and for each its entry: in memory ``4 * number + kind``, from the store minus
        two minus the kind (its value is to be fetched), ABSENT where there is none."""
        self._learn()
        names = list(ids)
        found = np.array(list(map(self._memory.entries.get, names, repeat(ABSENT))), np.int64)
        missing = np.flatnonzero(found == ABSENT)
        if len(missing) and self._sealed is not None:
            asked_for = map(names.__getitem__, missing.tolist())
            found[missing] = list(map(self._sealed.entries.get, asked_for, repeat(ABSENT)))
            missing = missing[found[missing] == ABSENT]
        if len(missing):
            asked = missing[self._filter.may_contain(ids.take(missing))].tolist()
            for row, value in zip(asked, self.fetch([names[r] for r in asked]), strict=True):
                if value is not None:
                    found[row] = -2 - _TAGS[value[0]]
        found[(found >= 0) & (found & 3 == GONE)] = ABSENT
        return names, found

    def fetch(self, ids: Sequence[bytes]) -> Sequence[bytes | None]:
        """What the store holds of ids."""
        return self._store.get_many([self._prefix + _ENTRY + id for id in ids])

    def keep_predictions(self, block: PredictionBlock, records: Slices[bytes], offset: I64) -> int:
        """Hold on to rows that entries will refer to; the number of the first."""
        first = self._numbers
        self._numbers += len(records)
        self._memory.predictions.append(KeptPredictions(first, block, records, offset))
        self._memory.bytes += records.total() + block.features.numeric.nbytes
        return first

    def keep_labels(self, label: F64, observed_at: I64, offset: I64) -> int:
        """Hold on to rows that entries will refer to; the number of the first."""
        first = self._numbers
        self._numbers += len(label)
        self._memory.labels.append(KeptLabels(first, label, observed_at, offset))
        return first

    def put(self, ids: Sequence[bytes], entries: Sequence[int]) -> None:
        """Set entries: ``4 * number + kind``, DONE or GONE."""
        before = len(self._memory.entries)
        self._memory.entries.update(zip(ids, entries, strict=True))
        self._memory.bytes += (len(self._memory.entries) - before) * _HOT_BYTES

    def predictions(self, numbers: I64) -> tuple[PredictionBlock, I64]:
        """Kept rows by their numbers, in this order, and their offsets; at least one."""
        blocks, offsets, order = [], [], []
        for batch, rows, which in _by_batch(self._kept_predictions(), numbers):
            blocks.append(take(batch.block, rows))
            offsets.append(batch.offset[rows])
            order.append(which)
        if len(blocks) == 1:
            return blocks[0], offsets[0]
        back = np.argsort(np.concatenate(order))
        return take(concat(blocks), back), np.concatenate(offsets)[back]

    def labels(self, numbers: I64) -> tuple[F64, I64, I64]:
        """Kept labels by their numbers: label, time of observation, offset."""
        label, observed, offset = np.empty(len(numbers)), *np.empty((2, len(numbers)), np.int64)
        for batch, rows, which in _by_batch(self._kept_labels(), numbers):
            label[which] = batch.label[rows]
            observed[which] = batch.observed_at[rows]
            offset[which] = batch.offset[rows]
        return label, observed, offset

    def expire_later(self, expiry: int, offset: int, tag: bytes, ids: Slices[bytes]) -> None:
        """Remember that these ids' entries expire at ``expiry``; ``tag`` tells the two topics
        apart."""
        data, at = ids.packed()
        own: Slices[bytes] = Slices(data, at, ids.length)
        self._memory.expiring.append(_Expiring(expiry, offset, tag, own))
        self._memory.bytes += len(data)

    def expired(self, until: int) -> Iterator[tuple[bytes, Slices[bytes]]]:
        """Tags and ids of what expired before ``until``; each is told once."""
        due = [group for group in self._memory.expiring if group.expiry < until]
        if due:
            self._memory.expiring = [g for g in self._memory.expiring if g.expiry >= until]
            for group in sorted(due, key=lambda g: (g.expiry, g.offset, g.tag)):
                yield group.tag, group.ids
        if self._writing:
            # What is being written is told of once it is in the store.
            self.held_up = True
            return
        self.held_up = False
        if until <= self._next_expiry:
            return
        start = self._prefix + _EXPIRY
        known = set(self._memory.forgotten)
        for key, packed in list(self._store.scan(start, start + _INDEX.pack(until + _ORIGIN, 0))):
            if key not in known:
                self._memory.forgotten.append(key)
                yield key[-1:], _unpacked(packed)
        self._next_expiry = until
        self._filter.forget(until)

    def seal(self) -> None:
        """What is in memory belongs to the transaction that commits next; see
        :meth:`sealed_changes`."""
        assert not self._writing
        self._sealed, self._memory = self._memory, _Memory()
        self._writing = True
        self._sealed_place = replace(self.place)

    def add_sealed(self, changes: dict[bytes, bytes | None]) -> None:
        """Add what of the sealed goes to the store; then :meth:`written`."""
        memory = self._sealed
        if memory is None or not self._writing:
            return
        changes.update(dict.fromkeys(memory.forgotten))
        prefix = self._prefix + _ENTRY
        entries = np.fromiter(memory.entries.values(), np.int64, len(memory.entries))
        kind = entries & 3
        values: list[bytes | None] = list(map(_SETTLED.__getitem__, kind.tolist()))
        opened = np.flatnonzero(kind == PREDICTION)
        for predictions, rows, which in _by_batch(memory.predictions, entries[opened] >> 2):
            heads = zip(
                opened[which].tolist(),
                predictions.offset[rows].tolist(),
                predictions.block.event_time[rows].tolist(),
                predictions.records.take(rows),
                strict=True,
            )
            for at, offset, time, record in heads:
                values[at] = b"P" + _HEAD.pack(offset, time) + record
        opened = np.flatnonzero(kind == LABEL)
        label, observed, offsets = self.labels(entries[opened] >> 2)
        told = zip(
            opened.tolist(), offsets.tolist(), observed.tolist(), label.tolist(), strict=True
        )
        for at, offset, time, value in told:
            values[at] = b"L" + _LABEL.pack(offset, time, value)
        changes.update(zip(map(prefix.__add__, memory.entries), values, strict=True))
        for group in memory.expiring:
            index = _INDEX.pack(group.expiry + _ORIGIN, group.offset)
            changes[self._prefix + _EXPIRY + index + group.tag] = _packed(group.ids)
            self._filter.add(group.ids, group.expiry)
            self._next_expiry = min(self._next_expiry, group.expiry)
        changes[self._prefix + _PLACE_KEY] = self._sealed_place.pack()

    def written(self) -> None:
        """The store holds what was sealed."""
        self._writing = False

    def release(self) -> None:
        """Forget what the store holds: nothing new has come since the last checkpoint."""
        if not self._writing:
            self._sealed = None

    def wipe(self) -> None:
        """Start anew from an empty state. What tells that it must is to be removed after it: a
        wiping that was cut short is then done again."""
        # Every kind is an ASCII letter, so this bound lies after all of them. Part by part: a key
        # of each of millions would not stay within the memory that all else does.
        gone = self._store.scan(self._prefix, self._prefix + b"\xff")
        while part := dict.fromkeys(key for key, _ in islice(gone, _SCANNED_AT_ONCE)):
            self._store.write(part)
        self._memory, self._sealed, self._writing = _Memory(), None, False
        self._load()

    def _kept_predictions(self) -> list[KeptPredictions]:
        before = self._sealed.predictions if self._sealed is not None else []
        return before + self._memory.predictions

    def _kept_labels(self) -> list[KeptLabels]:
        before = self._sealed.labels if self._sealed is not None else []
        return before + self._memory.labels

    def _learn(self) -> None:
        """Read a part of the store's ids into the filter, after a restart."""
        if self._scan is None:
            return
        start = len(self._prefix) + 1
        found = [key[start:] for key, _ in islice(self._scan, _SCANNED_AT_ONCE)]
        self._filter.add(Slices.of(found), _NEVER)
        if len(found) < _SCANNED_AT_ONCE:
            self._scan = None
            self._filter.complete = not self._filter.overflowed


def _after(kind: bytes) -> bytes:
    """The end of the keys of a kind."""
    return bytes([kind[0] + 1])


def _by_batch(kept: Sequence[Kept], numbers: I64) -> Iterator[tuple[Kept, I64, I64]]:
    """Per batch that holds some of the numbered rows: the batch, the rows, and which they are."""
    if not len(numbers):
        return
    firsts = np.array([batch.first for batch in kept], np.int64)
    place = np.searchsorted(firsts, numbers, side="right") - 1
    for index in np.unique(place).tolist():
        which = np.flatnonzero(place == index)
        yield kept[index], numbers[which] - firsts[index], which


def _packed(ids: Slices[bytes]) -> bytes:
    """How many, their lengths, their bytes; ids that lie one after the other."""
    lengths = ids.length.astype("<i4").tobytes()
    return _COUNT.pack(len(ids)) + lengths + ids.data[: ids.total()].tobytes()


def _unpacked(packed: bytes) -> Slices[bytes]:
    (count,) = _COUNT.unpack_from(packed)
    length = np.frombuffer(packed, "<i4", count, _COUNT.size).astype(np.int64)
    data = np.frombuffer(packed, np.uint8, -1, _COUNT.size + 4 * count)
    return Slices(data, np.cumsum(length) - length, length)
