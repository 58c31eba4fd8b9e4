"""What waits for its other half: the recent in memory, the rest in a key-value store.

A checkpoint moves what is in memory to the store, together with the offsets it reflects; rows
between those and the committed ones are read again after a restart. So an event whose label comes
soon costs the store one small entry, for its id must be known while duplicates may come. What went
to the store stays in memory until the next checkpoint: what is asked for is mostly new.

What expires does so when the watermarks pass it: its entry says when that is, and from then on it
is as good as not there. It is removed later, little by little, for millions may expire at once.

The offsets that all of it reflects are kept by the core, per topic partition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from heapq import heappop
from itertools import islice, repeat

import numpy as np

from driftloop.kernel.codec.blocks import F64, I64, PredictionBlock
from driftloop.kernel.codec.reshape import concat, take
from driftloop.kernel.slices import Slices
from driftloop.kernel.stores import KeyValueStore
from driftloop.outcomes.entries import (
    ABSENT,
    DONE,
    ENTRY,
    EXPIRY,
    GONE,
    LABEL,
    NEVER,
    PLACE,
    PREDICTION,
    TAGS,
    Place,
    after,
    expiry_of,
    index_key,
    pack_ids,
    prefix_of,
    unpack_ids,
)
from driftloop.outcomes.filter import IdFilter
from driftloop.outcomes.memory import (
    Kept,
    KeptLabels,
    KeptPairs,
    KeptPredictions,
    Memory,
    Removed,
    by_batch,
)

_SCANNED_AT_ONCE = 20_000


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


class JoinState:
    """The state of one model's partition."""

    def __init__(self, store: KeyValueStore, model: str, partition: int) -> None:
        self._store = store
        self._prefix = prefix_of(model, partition)
        self._memory = Memory()
        self._sealed: Memory | None = None
        """What the last checkpoint holds."""
        self._writing = False
        """Until that checkpoint's transaction is through."""
        self._sealed_place = Place()
        self._numbers = 0
        self._filter = IdFilter()
        self._scan: Iterator[tuple[bytes, bytes]] | None = None
        self._load()

    def _load(self) -> None:
        stored = self._store.get_many([self._prefix + PLACE])[0]
        self.place = Place.unpack(stored)
        self._anew = False
        self._earliest = -NEVER
        """Nothing that is there expires before."""
        self._index_from = self._prefix + EXPIRY
        """No key of the expiry index in the store lies before, but for those to be forgotten."""
        self._filter = IdFilter()
        self._scan = None
        if stored is not None:
            self._learn_anew()

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
        two minus the kind (its value is to be fetched), ABSENT where there is none; and its kind.
        What has expired is removed here, so that nothing depends on how far the removing has
        come."""
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
                    found[row] = -2 - TAGS[value[0]]
                    expiry[row] = expiry_of(value)
        found[(found >= 0) & (found & 3 == GONE)] = ABSENT
        kind = np.where(found >= 0, found & 3, np.where(found == ABSENT, ABSENT, -2 - found))
        if self.behind:
            here = np.flatnonzero(found >= 0)
            for batch, rows, which in by_batch(self._kept(), found[here] >> 2):
                expiry[here[which]] = batch.expiry[rows]
            expired = np.flatnonzero(expiry < self.place.passed)
            self._remove({names[row]: int(kind[row]) for row in expired.tolist()})
            found[expired] = kind[expired] = ABSENT
        return names, found, kind

    def fetch(self, ids: Sequence[bytes]) -> Sequence[bytes | None]:
        """What the store holds of ids."""
        return self._store.get_many([self._prefix + ENTRY + id for id in ids])

    def keep_predictions(
        self, block: PredictionBlock, records: Slices[bytes], offset: I64, expiry: I64
    ) -> int:
        """Hold on to rows that entries will refer to; the number of the first."""
        first = self._numbers
        self._numbers += len(records)
        self._memory.kept.append(KeptPredictions(first, expiry, block, records, offset))
        self._memory.bytes += records.total() + block.features.numeric.nbytes
        return first

    def keep_labels(self, label: F64, observed_at: I64, offset: I64, expiry: I64) -> int:
        """Hold on to rows that entries will refer to; the number of the first."""
        first = self._numbers
        self._numbers += len(label)
        self._memory.kept.append(KeptLabels(first, expiry, label, observed_at, offset))
        return first

    def settle(self, ids: Sequence[bytes], expiry: I64) -> None:
        """Both halves came; each id is known until its expiry, that of its prediction."""
        first = self._numbers
        self._numbers += len(ids)
        self._memory.kept.append(KeptPairs(first, expiry))
        self._memory.bytes += expiry.nbytes
        self.put(ids, range(4 * first + DONE, 4 * self._numbers + DONE, 4))

    def put(self, ids: Sequence[bytes], entries: Sequence[int]) -> None:
        """Set entries: ``4 * number + kind``."""
        self._memory.put(ids, entries)

    def _remove(self, expired: Mapping[bytes, int]) -> None:
        """Ids to what they were."""
        kinds = list(expired.values())
        unlabelled, orphaned = kinds.count(PREDICTION), kinds.count(LABEL)
        self._memory.put(list(expired), [GONE] * len(expired))
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
        for batch, rows, which in by_batch(self._kept(), numbers):
            assert isinstance(batch, KeptPredictions)
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
        for batch, rows, which in by_batch(self._kept(), numbers):
            assert isinstance(batch, KeptLabels)
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
            self._memory.expire_later(end, offset, tag, some)
        self._earliest = min(self._earliest, first)

    def expire(self, room: Room) -> bool:
        """Remove what has expired, as far as there is room. Whether there was any."""
        found = False
        for ids in self._expired(room):
            self.find(ids)
            found = True
        return found

    def _expired(self, room: Room) -> Iterator[Slices[bytes]]:
        """Ids of batches that have expired, as far as there is room; each batch is told once. Those
        in the store wait until the checkpoint that is being written is there too."""
        until, memory = self.place.passed, self._memory
        while memory.expiring and memory.expiring[0].expiry < until:
            if not room.takes(len(memory.expiring[0].ids)):
                return
            yield heappop(memory.expiring).ids
        if self._writing:
            return
        end = self._prefix + index_key(until, 0, b"")
        for key, packed in self._store.scan(self._index_from, end):
            ids = unpack_ids(packed)
            if not room.takes(len(ids)):
                return
            # One after the other, so that none is read again while they wait to be forgotten.
            self._index_from = key + b"\0"
            memory.forget(key)
            yield ids
        self._index_from = max(self._index_from, end)
        self._earliest = until
        self._filter.forget(until)
        if self._filter.overflowed and until > self._filter.latest:
            # All that was too much has been forgotten since.
            self._learn_anew()

    def seal(self) -> None:
        """What is in memory belongs to the transaction that commits next."""
        assert not self._writing
        self._sealed, self._memory = self._memory, Memory()
        self._writing = True
        self._sealed_place = replace(self.place)

    def add_sealed(self, changes: dict[bytes, bytes | None]) -> None:
        """Add what of the sealed goes to the store; then :meth:`written`."""
        memory = self._sealed
        if memory is None or not self._writing:
            return
        changes.update(dict.fromkeys(memory.forgotten))
        prefix = self._prefix + ENTRY
        entries = np.fromiter(memory.entries.values(), np.int64, len(memory.entries))
        values: list[bytes | None] = [None] * len(entries)
        there = np.flatnonzero(entries & 3 != GONE)
        for batch, rows, which in by_batch(memory.kept, entries[there] >> 2):
            for at, value in zip(there[which].tolist(), batch.values(rows), strict=True):
                values[at] = value
        changes.update(zip(map(prefix.__add__, memory.entries), values, strict=True))
        for group in memory.expiring:
            key = self._prefix + index_key(group.expiry, group.offset, group.tag)
            changes[key] = pack_ids(group.ids)
            self._filter.add(group.ids, group.expiry)
            self._index_from = min(self._index_from, key)
        changes[self._prefix + PLACE] = self._sealed_place.pack()

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
        self._memory, self._sealed, self._writing = Memory(), None, False
        self._load()

    def _kept(self) -> list[Kept]:
        before = self._sealed.kept if self._sealed is not None else []
        return before + self._memory.kept

    def _learn_anew(self) -> None:
        """What the filter knows comes from the store; until all has been read it says nothing."""
        self._filter = IdFilter()
        self._filter.complete = False
        self._scan = self._store.scan(self._prefix + ENTRY, self._prefix + after(ENTRY))

    def _learn(self) -> None:
        """Read a part of the store's ids into the filter."""
        if self._scan is None:
            return
        start = len(self._prefix) + 1
        found = list(islice(self._scan, _SCANNED_AT_ONCE))
        if found:
            # In the order of their ids, so each part has some that stay until the last.
            until = max(expiry_of(value) for _, value in found)
            self._filter.add(Slices.of([key[start:] for key, _ in found]), until)
        if len(found) < _SCANNED_AT_ONCE:
            self._scan = None
            self._filter.complete = not self._filter.overflowed
