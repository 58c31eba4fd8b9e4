"""The first weeks of a version as its reference."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

import numpy as np

from driftloop.drift.groups import TwoSided, Upper
from driftloop.drift.luck import bounded_dispersion
from driftloop.drift.state import Kept, Part, floats, integers, packed
from driftloop.kernel.codec.blocks import F64, I64
from driftloop.models.deviations import LEAST_BLOCKS
from driftloop.models.dispersion import table_dispersion

K = TypeVar("K")

COLLECTION = "collection"
"""First part of its entries' names."""
ENOUGH_WINDOWS = 400
"""So many show how large the clumps are that rows come in; of fewer a bound is taken, and the
windows that are tested are looked at, too, until there are as many."""
_GROWN = 1.25
"""By so much more windows the dispersions are told anew."""
_MOST_BLOCKS = 128
"""Of time whose counts are kept apart. Enough for eight of sixteen together, and for a bound."""


class Collection:
    """Counts of the windows that begin within ``period`` ms of the first, per season slot; and in
    blocks of time, which show how much windows vary, of as many windows as that takes.

    Fewer than ``ENOUGH_WINDOWS`` may vary little by luck, so rows count for less until as many have
    been seen (``drift.luck``). What a window is tested with comes from
    those before it.
    """

    def __init__(self, period: int, groups: Mapping[str, TwoSided | Upper]) -> None:
        self._period = period
        self._groups = groups
        self._first = -1
        self._length = 0
        """ms of a block: a window's, doubled whenever there are too many."""
        self.done = False
        self.references: dict[int, I64] = {}
        """Season slot to counts, (S, L)."""
        self._blocks: dict[tuple[int, int], I64] = {}
        """Number of a block and slot to the counts of all rows, (L,)."""
        self._windows = 0
        """In blocks."""
        self._told = 0
        """As many as there were when the dispersions were last told."""
        self._dispersions: dict[str, F64] = {}
        self._unsaved: set[int] = set()
        """Slots whose references changed since :meth:`saved`."""
        self._unsaved_blocks: set[tuple[int, int]] = set()

    def take(self, kept: Kept) -> bool:
        """Whether the window still belongs to the reference."""
        if self.done:
            return False
        if self._first < 0:
            self._first = kept.start
            self._length = kept.end - kept.start
        if kept.start >= self._first + self._period:
            self.done = True
            self._tell()
            return False
        _add(self.references, kept.slot, kept.counts)
        self._unsaved.add(kept.slot)
        self._count(kept)
        return True

    def follow(self, kept: Kept) -> None:
        """A window that was tested and belongs to no change; once it is done."""
        if self._windows < ENOUGH_WINDOWS:
            self._count(kept)

    def retold(self) -> bool:
        """Once it is done, before a window is tested: whether the dispersions are others from now
        on, for more is known."""
        if self._told >= ENOUGH_WINDOWS:
            return False
        if self._windows < min(max(_GROWN * self._told, LEAST_BLOCKS), ENOUGH_WINDOWS):
            return False
        self._tell()
        return True

    def _count(self, kept: Kept) -> None:
        self._windows += 1
        block = (kept.start // self._length, kept.slot)
        _add(self._blocks, block, kept.counts[0])
        self._unsaved_blocks.add(block)
        while len({number for number, _ in self._blocks}) > _MOST_BLOCKS:
            self._length *= 2
            shorter, self._blocks = self._blocks, {}
            for (number, slot), counts in shorter.items():
                _add(self._blocks, (number // 2, slot), counts)
            self._unsaved_blocks.update(self._blocks)

    def dispersions(self, family: str) -> F64:
        """Per stream of a group, at least 1, once it is done. Streams that the windows say too
        little of have 1."""
        return self._dispersions[family]

    def parts(self) -> Iterator[Part]:
        """All state."""
        head = [self._first, self._length, self.done, self._windows, self._told]
        yield Part(f"{COLLECTION}/head", True, lambda: head)
        found = sorted(self._dispersions.items())
        yield Part(
            f"{COLLECTION}/dispersions", True, lambda: {family: packed(d) for family, d in found}
        )
        for slot, counts in self.references.items():
            changed = slot in self._unsaved
            yield Part(f"{COLLECTION}/reference/{slot}", changed, partial(packed, counts))
        for (number, slot), counts in self._blocks.items():
            changed = (number, slot) in self._unsaved_blocks
            yield Part(f"{COLLECTION}/block/{number}/{slot}", changed, partial(packed, counts))

    def saved(self) -> None:
        """What :meth:`parts` gave has been kept."""
        self._unsaved.clear()
        self._unsaved_blocks.clear()

    def load(self, entries: Mapping[str, Any]) -> None:
        """Go on from the values of :meth:`parts`, by name; others are not looked at."""
        counted: list[int] = []
        for name, value in entries.items():
            part, *rest = name.split("/")
            if part != COLLECTION:
                continue
            match rest:
                case ["head"]:
                    self._first, self._length, self.done, *counted = value
                case ["dispersions"]:
                    self._dispersions = {f: floats(found) for f, found in value.items()}
                case ["reference", slot]:
                    self.references[int(slot)] = integers(value)
                case ["block", number, slot]:
                    self._blocks[int(number), int(slot)] = integers(value)
                case _:
                    raise ValueError(f"no entry of a collection: {name}")
        if not counted:  # an older release's, which told once
            windows = ENOUGH_WINDOWS if self.done else len({number for number, _ in self._blocks})
            counted = [windows, windows if self.done else 0]
        self._windows, self._told = counted
        self._unsaved.update(self.references)
        self._unsaved_blocks.update(self._blocks)

    def _tell(self) -> None:
        self._told = self._windows
        numbers = np.unique([number for number, _ in self._blocks])
        slots = np.unique([slot for _, slot in self._blocks])
        keys = np.array(list(self._blocks), dtype=np.int64)
        block, slot = np.searchsorted(numbers, keys[:, 0]), np.searchsorted(slots, keys[:, 1])
        counts = np.array(list(self._blocks.values()))
        for family, group in self._groups.items():
            flat, upper = group.flat(counts), isinstance(group, Upper)
            found: F64 = np.ones(len(group.streams))
            for index, stream in enumerate(group.streams):
                own = flat[:, group.span(index)].astype(np.int64)
                table = np.zeros((len(numbers), len(slots), own.shape[1]), dtype=np.int64)
                table[block, slot] = own
                if self._windows >= ENOUGH_WINDOWS:
                    found[index] = table_dispersion(numbers, table, upper=upper)
                    continue
                rows = max(1.0, float(own.sum()) / self._windows)
                evidence = max(1.0, stream.threshold - math.log(rows))
                found[index] = bounded_dispersion(numbers, table, evidence, upper=upper)
            self._dispersions[family] = np.maximum(found, 1.0)
        if self._windows >= ENOUGH_WINDOWS:
            self._blocks = {}


def _add(sums: dict[K, I64], key: K, counts: I64) -> None:
    known = sums.get(key)
    sums[key] = counts.copy() if known is None else known + counts
