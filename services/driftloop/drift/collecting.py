"""The first weeks of a version as its reference."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from driftloop.drift.blocks import TimeBlocks, add
from driftloop.drift.clumps import Clumps, WindowRows
from driftloop.drift.groups import TwoSided, Upper
from driftloop.drift.luck import bounded_dispersion
from driftloop.drift.state import Kept, Part, floats, integers, packed
from driftloop.kernel.codec.blocks import F64, I64
from driftloop.kernel.statistics.layout import Layout
from driftloop.models.deviations import LEAST_BLOCKS
from driftloop.models.dispersion import table_dispersion

COLLECTION = "collection"
"""First part of its entries' names."""
ENOUGH_WINDOWS = 400
"""So many show how large the clumps are that rows come in; of fewer a bound is taken, and the
windows that are tested are looked at, too, until there are as many."""
_GROWN = 1.25
"""By so much more windows the dispersions are told anew."""
_MOST_BLOCKS = 128
"""Of time whose counts are kept apart. Enough for eight of sixteen together, and for a bound."""
_LEAST_MOST = 32
"""Of segments' counts, however many these are."""
_MOST_COUNTS = 400_000
"""In all blocks of segments beyond that: some MB."""


class Collection:
    """Counts of the windows that begin within ``period`` ms of the first, per season slot; and in
    blocks of time, which show how much windows vary, of as many windows as that takes.

    Fewer than ``ENOUGH_WINDOWS`` may vary little by luck, so rows count for less until as many have
    been seen (``drift.luck``). What a window is tested with comes from those before it.
    """

    def __init__(self, period: int, groups: Mapping[str, TwoSided | Upper], layout: Layout) -> None:
        """``layout``: of the windows' counts."""
        self._period = period
        self._groups = groups
        self._layout = layout
        self._first = -1
        self.done = False
        self.references: dict[int, I64] = {}
        """Season slot to counts, (S, L)."""
        self._blocks = TimeBlocks(0, _MOST_BLOCKS)
        """Of all rows, (L,)."""
        self._parts: TimeBlocks | None = None
        """Of segments, (S - 1, L); None where there are none."""
        self._windows = 0
        """In blocks."""
        self._told = 0
        """As many as there were when the dispersions were last told."""
        self._dispersions: dict[str, F64] = {}
        self._window_rows = WindowRows(0)
        self._told_rows: F64 = np.zeros(0)
        """Their mean when the dispersions were last told, (S,)."""
        self._unsaved: set[int] = set()
        """Slots whose references changed since :meth:`saved`."""

    def take(self, kept: Kept) -> bool:
        """Whether the window still belongs to the reference."""
        if self.done:
            return False
        if self._first < 0:
            self._first = kept.start
            self._blocks = TimeBlocks(kept.end - kept.start, _MOST_BLOCKS)
            self._window_rows = WindowRows(len(kept.counts))
            if len(kept.counts) > 1:
                most = min(_MOST_BLOCKS, _MOST_COUNTS // kept.counts[1:].size)
                self._parts = TimeBlocks(self._blocks.length, max(_LEAST_MOST, most))
        if kept.start >= self._first + self._period:
            self.done = True
            self._tell()
            return False
        add(self.references, kept.slot, kept.counts)
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
        self._window_rows.count(self._layout.rows(kept.counts).astype(np.float64))
        self._blocks.count(kept, kept.counts[0])
        if self._parts is not None:
            self._parts.count(kept, kept.counts[1:])

    def clumps(self, family: str) -> Clumps:
        """Of a group's streams, once it is done. Streams that the windows say too little of have a
        dispersion of 1; segments have that of all rows at least."""
        return Clumps.of(self._dispersions[family], self._told_rows)

    def parts(self) -> Iterator[Part]:
        """All state."""
        head = [self._first, self._blocks.length, self.done, self._windows, self._told]
        if self._parts is not None:
            head += [self._parts.length, self._parts.most]
        yield Part(f"{COLLECTION}/head", True, lambda: head)
        found = sorted(self._dispersions.items())
        yield Part(
            f"{COLLECTION}/dispersions", True, lambda: {family: packed(d) for family, d in found}
        )
        window_rows = self._window_rows
        yield Part(
            f"{COLLECTION}/rows",
            True,
            lambda: [*map(packed, (window_rows.rows, window_rows.squares, self._told_rows))],
        )
        for slot, counts in self.references.items():
            changed = slot in self._unsaved
            yield Part(f"{COLLECTION}/reference/{slot}", changed, partial(packed, counts))
        yield from self._blocks.parts(f"{COLLECTION}/block")
        if self._parts is not None:
            yield from self._parts.parts(f"{COLLECTION}/segments")

    def saved(self) -> None:
        """What :meth:`parts` gave has been kept."""
        self._unsaved.clear()
        self._blocks.saved()
        if self._parts is not None:
            self._parts.saved()

    def load(self, entries: Mapping[str, Any]) -> None:
        """Go on from the values of :meth:`parts`, by name; others are not looked at."""
        segments: list[int] = []
        blocks: dict[str, dict[tuple[int, int], Any]] = {"block": {}, "segments": {}}
        for name, value in entries.items():
            part, *rest = name.split("/")
            if part != COLLECTION:
                continue
            match rest:
                case ["head"]:
                    self._first, length, self.done, self._windows, self._told, *segments = value
                    self._blocks = TimeBlocks(length, _MOST_BLOCKS)
                case ["dispersions"]:
                    self._dispersions = {family: floats(d) for family, d in value.items()}
                case ["rows"]:
                    rows, squares, self._told_rows = map(floats, value)
                    self._window_rows = WindowRows(len(rows))
                    self._window_rows.rows, self._window_rows.squares = rows, squares
                case ["reference", slot]:
                    self.references[int(slot)] = integers(value)
                case ["block" | "segments" as kind, number, slot]:
                    blocks[kind][int(number), int(slot)] = value
                case _:
                    raise ValueError(f"no entry of a collection: {name}")
        self._blocks.load(blocks["block"])
        if segments:
            self._parts = TimeBlocks(*segments)
            self._parts.load(blocks["segments"])
        self._unsaved.update(self.references)

    def _tell(self) -> None:
        self._told = self._windows
        self._told_rows = self._window_rows.mean()
        numbers, table = self._blocks.table()
        for family, group in self._groups.items():
            found = self._of(group, numbers, table)[None, :]
            if self._parts is not None:
                own, tables = self._parts.table()
                of_each = [self._of(group, own, tables[..., i, :]) for i in range(tables.shape[2])]
                found = np.maximum(found, np.stack([found[0], *of_each]))
            self._dispersions[family] = np.maximum(found, 1.0)
        if self._windows >= ENOUGH_WINDOWS:
            self._blocks.clear()
            if self._parts is not None:
                self._parts.clear()

    def _of(self, group: TwoSided | Upper, numbers: I64, table: I64) -> F64:
        """Of each stream, (T,), of counts in the layout, (blocks, slots, L)."""
        flat, upper = group.flat(table), isinstance(group, Upper)
        found: F64 = np.ones(len(group.streams))
        for index, stream in enumerate(group.streams):
            own = flat[..., group.span(index)].astype(np.int64)
            held = np.count_nonzero(own.any(axis=(1, 2)))
            # A segment may be there only now and then.
            few = LEAST_BLOCKS <= held < len(numbers) // 2
            if self._windows >= ENOUGH_WINDOWS and not few:
                found[index] = table_dispersion(numbers, own, upper=upper)
                continue
            rows = max(1.0, float(own.sum()) / self._windows)
            evidence = max(1.0, stream.threshold - math.log(rows))
            found[index] = bounded_dispersion(numbers, own, evidence, upper=upper)
        return found
