"""What waits for its other half: the recent in memory, the rest in a key-value store.

A checkpoint moves what is in memory to the store, together with the offsets it reflects; rows
between those and the committed ones are read again after a restart. So an event whose label comes
soon costs the store one small entry, for its id must be known while duplicates may come. What went
to the store stays in memory until the next checkpoint: what is asked for is mostly new.

What expires does so when the watermarks pass it: its entry says when that is, and from then on it
is as good as not there. It is removed later, little by little, for millions may expire at once.

Keys, per model and partition (the prefix is their length-framed name)::

    PREFIX E id            when it expires (i64), behind a letter, and
                           P: an open prediction: offset (i64), its record
                           L: an open label: offset, observed at (i64), label (f64)
                           D: both came
    PREFIX T time offset   ids that expire together: expiry (i64, big-endian) and the first offset
    PREFIX O               watermarks of the two topics, and what is open

The offsets that all of it reflects are kept by the core, per topic partition.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import islice, repeat
from typing import NamedTuple, TypeVar

import numpy as np

from driftloop.kernel.codec.blocks import F64, I64, PredictionBlock
from driftloop.kernel.codec.reshape import concat, take
from driftloop.kernel.slices import Slices
from driftloop.kernel.stores import KeyValueStore
from driftloop.outcomes.filter import IdFilter

_ENTRY, _EXPIRY, _PLACE_KEY = b"E", b"T", b"O"
_ENDS = struct.Struct("<q")
_HEAD = struct.Struct("<qq")
_LABEL = struct.Struct("<qqqd")
_INDEX = struct.Struct(">Qq")
_PLACE = struct.Struct("<qqqq")
_COUNT = struct.Struct("<q")
_ORIGIN = 1 << 63
"""Added to times in index keys, so that negative ones sort first."""
NEVER = 1 << 62
"""When at the latest something expires, event time. Its negative is before everything."""
_SCANNED_AT_ONCE = 20_000
_HOT_BYTES = 200
"""Of an entry in memory besides its record."""
_GROUP_BYTES = 500
"""Of ids that expire together, besides these."""

ABSENT, PREDICTION, LABEL, DONE, GONE = -1, 0, 1, 2, 3
"""What is known of an id. In memory an entry is ``4 * number + kind``, the number being that of a
kept row; in the store its first byte tells."""
_TAGS = {b"P"[0]: PREDICTION, b"L"[0]: LABEL, b"D"[0]: DONE}


@dataclass(slots=True)
class Place:
    """What is open, and the watermarks of the two topics: event times."""

    predicted_until: int = -NEVER
    observed_until: int = -NEVER
    open_predictions: int = 0
    open_labels: int = 0

    @property
    def passed(self) -> int:
        """What expires before this has expired. Both topics must have passed it, by the records'
        own times: however far ahead the predictions are read or produced, they wait for labels
        that are yet to come."""
        return min(self.predicted_until, self.observed_until)

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
class Kept:
    """Rows of one batch, numbered from ``first`` on."""

    first: int
    expiry: I64


@dataclass(frozen=True, slots=True)
class KeptPredictions(Kept):
    """Of a batch of predictions."""

    block: PredictionBlock
    records: Slices[bytes]
    offset: I64


@dataclass(frozen=True, slots=True)
class KeptLabels(Kept):
    """Of a batch of labels."""

    label: F64
    observed_at: I64
    offset: I64


def unpack_prediction(value: bytes | None) -> tuple[int, int, bytes]:
    """Expiry, offset and record of an open prediction in the store."""
    assert value is not None  # it was found there a moment ago
    expiry, offset = _HEAD.unpack_from(value, 1)
    return expiry, offset, value[1 + _HEAD.size :]


def unpack_label(value: bytes | None) -> tuple[int, int, float]:
    """Offset, time of observation and label of an open label in the store."""
    assert value is not None
    _, offset, observed, label = _LABEL.unpack_from(value, 1)
    return offset, observed, label


_K = TypeVar("_K", bound=Kept)


class Room:
    """How many ids may be removed in one go."""

    def __init__(self, ids: int) -> None:
        self._left = ids
        self._begun = False
        self.full = False
        """Something did not fit."""

    def takes(self, ids: int) -> bool:
        """Whether so many more fit in. The first always do: there must be progress."""
        self.full = self._begun and ids > self._left
        if not self.full:
            self._begun = True
            self._left -= ids
        return not self.full


@dataclass(slots=True)
class Removed:
    """How many expired before their other half came. They are told once the store has it: what a
    process that dies had removed the next one removes again."""

    unlabelled: int = 0
    orphaned: int = 0


class _Expiring(NamedTuple):
    """Ids of one batch; no two of a topic have both times and offset in common."""

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
        self.settled: list[Kept] = []
        """Where both halves came."""
        self.expiring: list[_Expiring] = []
        """A heap."""
        self.forgotten: list[bytes] = []
        """Keys of the expiry index in the store."""
        self.removed = Removed()
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
        self._anew = False
        self._earliest = -NEVER
        """Nothing that is there expires before."""
        self._index_from = self._prefix + _EXPIRY
        """No key of the expiry index in the store lies before, but for those to be forgotten."""
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

    @property
    def behind(self) -> bool:
        """Whether something that has expired may still be there."""
        return self._earliest < self.place.passed

    def find(self, ids: Slices[bytes]) -> tuple[list[bytes], I64, I64]:
        """The ids, and for each its entry: in memory ``4 * number + kind``, from the store minus
        two minus the kind (its value is to be fetched), ABSENT where there is none. Last the rows
        of those that have expired, which is for the caller to act on."""
        self._learn()
        names = list(ids)
        found = np.array(list(map(self._memory.entries.get, names, repeat(ABSENT))), np.int64)
        expiry = np.full(len(names), NEVER)
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
                    (expiry[row],) = _ENDS.unpack_from(value, 1)
        found[(found >= 0) & (found & 3 == GONE)] = ABSENT
        if self.behind:
            self._add_expiries(found, expiry)
        return names, found, np.flatnonzero(expiry < self.place.passed)

    def _add_expiries(self, entries: I64, expiry: I64) -> None:
        """When those entries expire that are in memory."""
        of_kind: dict[int, Sequence[Kept]] = {
            PREDICTION: self._kept_predictions(),
            LABEL: self._kept_labels(),
            DONE: self._kept_settled(),
        }
        for kind, kept in of_kind.items():
            chosen = np.flatnonzero((entries >= 0) & (entries & 3 == kind))
            for batch, rows, which in _by_batch(kept, entries[chosen] >> 2):
                expiry[chosen[which]] = batch.expiry[rows]

    def fetch(self, ids: Sequence[bytes]) -> Sequence[bytes | None]:
        """What the store holds of ids."""
        return self._store.get_many([self._prefix + _ENTRY + id for id in ids])

    def keep_predictions(
        self, block: PredictionBlock, records: Slices[bytes], offset: I64, expiry: I64
    ) -> int:
        """Hold on to rows that entries will refer to; the number of the first."""
        first = self._numbers
        self._numbers += len(records)
        self._memory.predictions.append(KeptPredictions(first, expiry, block, records, offset))
        self._memory.bytes += records.total() + block.features.numeric.nbytes
        return first

    def keep_labels(self, label: F64, observed_at: I64, offset: I64, expiry: I64) -> int:
        """Hold on to rows that entries will refer to; the number of the first."""
        first = self._numbers
        self._numbers += len(label)
        self._memory.labels.append(KeptLabels(first, expiry, label, observed_at, offset))
        return first

    def settle(self, ids: Sequence[bytes], expiry: I64) -> None:
        """Both halves came; each id is known until its expiry, that of its prediction."""
        first = self._numbers
        self._numbers += len(ids)
        self._memory.settled.append(Kept(first, expiry))
        self._memory.bytes += expiry.nbytes
        self.put(ids, range(4 * first + DONE, 4 * self._numbers + DONE, 4))

    def put(self, ids: Sequence[bytes], entries: Sequence[int]) -> None:
        """Set entries: ``4 * number + kind``, or GONE."""
        before = len(self._memory.entries)
        self._memory.entries.update(zip(ids, entries, strict=True))
        self._memory.bytes += (len(self._memory.entries) - before) * _HOT_BYTES

    def remove(self, ids: Sequence[bytes], unlabelled: int, orphaned: int) -> None:
        """What has expired: so many open predictions and labels among it."""
        self.put(ids, [GONE] * len(ids))
        self.place.open_predictions -= unlabelled
        self.place.open_labels -= orphaned
        if not self._anew:
            self._memory.removed.unlabelled += unlabelled
            self._memory.removed.orphaned += orphaned

    def catch_up(self) -> None:
        """What comes now is read again. Where nothing is known of it the state was lost: what
        expires until :meth:`caught_up` was counted when it did for the first time."""
        self._anew = self._anew or self.place == Place()

    def caught_up(self) -> None:
        """All that had been read before is there again."""
        self._anew = False

    def predictions(self, numbers: I64) -> tuple[PredictionBlock, I64, I64]:
        """Kept rows by their numbers, in this order, their offsets and expiries; at least one."""
        blocks, offsets, order = [], [], []
        expiry = np.empty(len(numbers), np.int64)
        for batch, rows, which in _by_batch(self._kept_predictions(), numbers):
            blocks.append(take(batch.block, rows))
            offsets.append(batch.offset[rows])
            expiry[which] = batch.expiry[rows]
            order.append(which)
        if len(blocks) == 1:
            return blocks[0], offsets[0], expiry
        back = np.argsort(np.concatenate(order))
        return take(concat(blocks), back), np.concatenate(offsets)[back], expiry

    def labels(self, numbers: I64) -> tuple[F64, I64, I64]:
        """Kept labels by their numbers: label, time of observation, offset."""
        label, observed, offset = np.empty(len(numbers)), *np.empty((2, len(numbers)), np.int64)
        for batch, rows, which in _by_batch(self._kept_labels(), numbers):
            label[which] = batch.label[rows]
            observed[which] = batch.observed_at[rows]
            offset[which] = batch.offset[rows]
        return label, observed, offset

    def expire_later(self, expiry: I64, offset: int, tag: bytes, ids: Slices[bytes]) -> None:
        """Remember which entries expire at ``expiry``, rows of a batch that begins at ``offset``;
        ``tag`` tells the two topics apart."""
        first = int(expiry.min())
        groups = [(first, ids)]
        if first != int(expiry.max()):
            order = np.argsort(expiry, kind="stable")
            parts = np.split(order, np.flatnonzero(np.diff(expiry[order])) + 1)
            groups = [(int(expiry[rows[0]]), ids.take(rows)) for rows in parts]
        for end, some in groups:
            data, at = some.packed()
            own: Slices[bytes] = Slices(data, at, some.length)
            heappush(self._memory.expiring, _Expiring(end, offset, tag, own))
            self._memory.bytes += len(data) + _GROUP_BYTES
        self._earliest = min(self._earliest, first)

    def expired(self, room: Room) -> Iterator[Slices[bytes]]:
        """Ids of batches that have expired, as far as there is room; each batch is told once. Those
        in the store wait until the checkpoint that is being written is there too."""
        until, memory = self.place.passed, self._memory
        while memory.expiring and memory.expiring[0].expiry < until:
            if not room.takes(len(memory.expiring[0].ids)):
                return
            yield heappop(memory.expiring).ids
        if self._writing:
            return
        end = self._prefix + _EXPIRY + _INDEX.pack(until + _ORIGIN, 0)
        for key, packed in self._store.scan(self._index_from, end):
            ids = _unpacked(packed)
            if not room.takes(len(ids)):
                return
            # One after the other, so that none is read again while they wait to be forgotten.
            self._index_from = key + b"\0"
            memory.forgotten.append(key)
            memory.bytes += _HOT_BYTES
            yield ids
        self._index_from = max(self._index_from, end)
        self._earliest = until
        self._filter.forget(until)

    def seal(self) -> None:
        """What is in memory belongs to the transaction that commits next."""
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
        values: list[bytes | None] = [None] * len(entries)
        opened = np.flatnonzero(kind == PREDICTION)
        for predictions, rows, which in _by_batch(memory.predictions, entries[opened] >> 2):
            heads = zip(
                opened[which].tolist(),
                predictions.expiry[rows].tolist(),
                predictions.offset[rows].tolist(),
                predictions.records.take(rows),
                strict=True,
            )
            for at, expiry, offset, record in heads:
                values[at] = b"P" + _HEAD.pack(expiry, offset) + record
        opened = np.flatnonzero(kind == LABEL)
        for labels, rows, which in _by_batch(memory.labels, entries[opened] >> 2):
            told = zip(
                opened[which].tolist(),
                labels.expiry[rows].tolist(),
                labels.offset[rows].tolist(),
                labels.observed_at[rows].tolist(),
                labels.label[rows].tolist(),
                strict=True,
            )
            for at, expiry, offset, time, value in told:
                values[at] = b"L" + _LABEL.pack(expiry, offset, time, value)
        done = np.flatnonzero(kind == DONE)
        for settled, rows, which in _by_batch(memory.settled, entries[done] >> 2):
            for at, expiry in zip(done[which].tolist(), settled.expiry[rows].tolist(), strict=True):
                values[at] = b"D" + _ENDS.pack(expiry)
        changes.update(zip(map(prefix.__add__, memory.entries), values, strict=True))
        for group in memory.expiring:
            index = _INDEX.pack(group.expiry + _ORIGIN, group.offset)
            key = self._prefix + _EXPIRY + index + group.tag
            changes[key] = _packed(group.ids)
            self._filter.add(group.ids, group.expiry)
            self._index_from = min(self._index_from, key)
        changes[self._prefix + _PLACE_KEY] = self._sealed_place.pack()

    def written(self) -> Removed:
        """The store holds what was sealed; what of it is to be counted."""
        if self._sealed is None or not self._writing:
            return Removed()
        self._writing = False
        return self._sealed.removed

    def release(self) -> None:
        """Forget what the store holds: nothing new has come since the last checkpoint."""
        if not self._writing:
            self._sealed = None

    def wipe(self, beat: Callable[[], None]) -> None:
        """Start anew from an empty state; ``beat`` is called after each part."""
        # Every kind is an ASCII letter, so this bound lies after all of them. Part by part: a key
        # of each of millions would not stay within the memory that all else does.
        gone = self._store.scan(self._prefix, self._prefix + b"\xff")
        while part := dict.fromkeys(key for key, _ in islice(gone, _SCANNED_AT_ONCE)):
            self._store.write(part)
            beat()
        self._memory, self._sealed, self._writing = _Memory(), None, False
        self._load()

    def _kept_predictions(self) -> list[KeptPredictions]:
        before = self._sealed.predictions if self._sealed is not None else []
        return before + self._memory.predictions

    def _kept_labels(self) -> list[KeptLabels]:
        before = self._sealed.labels if self._sealed is not None else []
        return before + self._memory.labels

    def _kept_settled(self) -> list[Kept]:
        before = self._sealed.settled if self._sealed is not None else []
        return before + self._memory.settled

    def _learn(self) -> None:
        """Read a part of the store's ids into the filter, after a restart."""
        if self._scan is None:
            return
        start = len(self._prefix) + 1
        found = [key[start:] for key, _ in islice(self._scan, _SCANNED_AT_ONCE)]
        self._filter.add(Slices.of(found), NEVER)
        if len(found) < _SCANNED_AT_ONCE:
            self._scan = None
            self._filter.complete = not self._filter.overflowed


def _after(kind: bytes) -> bytes:
    """The end of the keys of a kind."""
    return bytes([kind[0] + 1])


def _by_batch(kept: Sequence[_K], numbers: I64) -> Iterator[tuple[_K, I64, I64]]:
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
