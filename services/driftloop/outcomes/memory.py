"""What came since the last checkpoint: rows in the columns they came in, and entries that say where
each id's row is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heappush
from typing import NamedTuple, TypeAlias

import numpy as np

from driftloop.kernel.codec.blocks import F64, I64, PredictionBlock
from driftloop.kernel.slices import Slices
from driftloop.outcomes.entries import pack_done, pack_label, pack_prediction

_ENTRY_BYTES = 200
"""Of an entry besides its record."""
_GROUP_BYTES = 500
"""Of ids that expire together, besides these."""


@dataclass(frozen=True, slots=True)
class KeptPredictions:
    """Rows of a batch of predictions, numbered from ``first`` on."""

    first: int
    expiry: I64
    block: PredictionBlock
    records: Slices[bytes]
    offset: I64

    def values(self, rows: I64) -> Iterator[bytes]:
        """What the store is given of them."""
        expiry, offset = self.expiry[rows].tolist(), self.offset[rows].tolist()
        return map(pack_prediction, expiry, offset, self.records.take(rows))


@dataclass(frozen=True, slots=True)
class KeptLabels:
    """The same of a batch of labels."""

    first: int
    expiry: I64
    label: F64
    observed_at: I64
    offset: I64

    def values(self, rows: I64) -> Iterator[bytes]:
        columns = (self.expiry, self.offset, self.observed_at, self.label)
        return map(pack_label, *(column[rows].tolist() for column in columns))


@dataclass(frozen=True, slots=True)
class KeptPairs:
    """The same of ids of which both halves came."""

    first: int
    expiry: I64

    def values(self, rows: I64) -> Iterator[bytes]:
        return map(pack_done, self.expiry[rows].tolist())


Kept: TypeAlias = KeptPredictions | KeptLabels | KeptPairs


@dataclass(slots=True)
class Removed:
    """How many expired before their other half came. They are told once the store has it: what a
    process that dies had removed the next one removes again."""

    unlabelled: int = 0
    orphaned: int = 0


class Expiring(NamedTuple):
    """Ids of one batch; no two of a topic have both times and offset in common."""

    expiry: int
    offset: int
    tag: bytes
    ids: Slices[bytes]


class Memory:
    """Entries between two checkpoints."""

    def __init__(self) -> None:
        self.entries: dict[bytes, int] = {}
        self.kept: list[Kept] = []
        """By number."""
        self.expiring: list[Expiring] = []
        """A heap."""
        self.forgotten: list[bytes] = []
        """Keys of the expiry index in the store."""
        self.removed = Removed()
        self.bytes = 0
        """About how much memory it takes."""

    def put(self, ids: Sequence[bytes], entries: Sequence[int]) -> None:
        """Set entries: ``4 * number + kind``, or GONE."""
        before = len(self.entries)
        self.entries.update(zip(ids, entries, strict=True))
        self.bytes += (len(self.entries) - before) * _ENTRY_BYTES

    def expire_later(self, expiry: int, offset: int, tag: bytes, ids: Slices[bytes]) -> None:
        """Remember that these ids' entries expire together."""
        data, at = ids.packed()
        own: Slices[bytes] = Slices(data, at, ids.length)
        heappush(self.expiring, Expiring(expiry, offset, tag, own))
        self.bytes += len(data) + _GROUP_BYTES

    def forget(self, key: bytes) -> None:
        """Of the expiry index in the store."""
        self.forgotten.append(key)
        self.bytes += _ENTRY_BYTES


def by_batch(kept: Sequence[Kept], numbers: I64) -> Iterator[tuple[Kept, I64, I64]]:
    """Per batch that holds some of the numbered rows: the batch, the rows, and which they are."""
    if not len(numbers):
        return
    firsts = np.array([batch.first for batch in kept], np.int64)
    place = np.searchsorted(firsts, numbers, side="right") - 1
    for index in np.unique(place).tolist():
        which = np.flatnonzero(place == index)
        yield kept[index], numbers[which] - firsts[index], which
