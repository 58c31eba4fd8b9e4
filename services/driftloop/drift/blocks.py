"""Counts in blocks of time, of as few as is enough to tell how much windows vary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

import numpy as np

from driftloop.drift.state import Kept, Part, integers, packed
from driftloop.kernel.codec.blocks import I64

K = TypeVar("K")


class TimeBlocks:
    """Of windows as long as the first, doubled whenever there are more than ``most``; per season
    slot."""

    def __init__(self, length: int, most: int) -> None:
        self.length = length
        """ms."""
        self.most = most
        self._counts: dict[tuple[int, int], I64] = {}
        """Number of a block and slot to counts."""
        self._unsaved: set[tuple[int, int]] = set()

    def __len__(self) -> int:
        return len({number for number, _ in self._counts})

    def count(self, kept: Kept, counts: I64) -> None:
        """What a window counts, always of one shape."""
        block = (kept.start // self.length, kept.slot)
        add(self._counts, block, counts)
        self._unsaved.add(block)
        while len(self) > self.most:
            self.length *= 2
            shorter, self._counts = self._counts, {}
            for (number, slot), some in shorter.items():
                add(self._counts, (number // 2, slot), some)
            self._unsaved.update(self._counts)

    def table(self) -> tuple[I64, I64]:
        """The ascending numbers of the blocks, (B,), and their counts, (B, slots, ...)."""
        keys = np.array(list(self._counts), dtype=np.int64)
        counts = np.array(list(self._counts.values()))
        numbers, block = np.unique(keys[:, 0], return_inverse=True)
        slots, slot = np.unique(keys[:, 1], return_inverse=True)
        table = np.zeros((len(numbers), len(slots), *counts.shape[1:]), dtype=np.int64)
        table[block, slot] = counts
        return numbers, table

    def clear(self) -> None:
        self._counts = {}
        self._unsaved.clear()

    def parts(self, name: str) -> Iterator[Part]:
        """All counts, as entries whose names begin so."""
        for (number, slot), counts in self._counts.items():
            changed = (number, slot) in self._unsaved
            yield Part(f"{name}/{number}/{slot}", changed, partial(packed, counts))

    def saved(self) -> None:
        """What :meth:`parts` gave has been kept."""
        self._unsaved.clear()

    def load(self, entries: Mapping[tuple[int, int], Any]) -> None:
        """Go on from the values of :meth:`parts`, by number and slot."""
        self._counts = {at: integers(value) for at, value in entries.items()}
        self._unsaved.update(self._counts)


def add(sums: dict[K, I64], key: K, counts: I64) -> None:
    """To what is there, if something is."""
    known = sums.get(key)
    sums[key] = counts.copy() if known is None else known + counts
