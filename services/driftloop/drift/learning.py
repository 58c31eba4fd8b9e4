"""How much windows vary by themselves, learnt from those that a version serves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from driftloop.drift.blocks import TimeBlocks
from driftloop.drift.clumps import Clumps, WindowRows
from driftloop.drift.groups import TwoSided, Upper
from driftloop.drift.luck import bounded_dispersion, evidence
from driftloop.drift.state import Kept, Part, floats, packed
from driftloop.kernel.codec.blocks import F64, I64
from driftloop.kernel.statistics.layout import Layout
from driftloop.models.deviations import LEAST_BLOCKS
from driftloop.models.dispersion import table_dispersion
from driftloop.models.variation import ENOUGH_WINDOWS

LEARNING = "learning"
"""First part of its entries' names."""
_GROWN = 1.25
"""By so much more windows the dispersions are told anew."""
_MOST_BLOCKS = 512
"""Of time whose counts are kept apart: windows by themselves until they are enough. Of a quarter as
many, of four windows each, a dispersion of two looked like none in one column of ten."""
_LEAST_MOST = 128
"""However many counts there are. Enough for eight of sixteen together, and for a bound."""
_MOST_COUNTS = 2_000_000
"""In all blocks beyond that: 16 MB."""
_MOST_PART_BLOCKS, _LEAST_MOST_PART, _MOST_PART_COUNTS = 128, 32, 400_000
"""The same of segments."""


class Learning:
    """Counts of windows in blocks of time, of as many as it takes: those that training saw, and
    these, make ``ENOUGH_WINDOWS`` together.

    Fewer may vary little by luck, so rows count for less until as many have been seen
    (``drift.luck``). What a window is tested with comes from those before it.
    """

    def __init__(
        self,
        groups: Mapping[str, TwoSided | Upper],
        layout: Layout,
        trained: Mapping[str, I64],
    ) -> None:
        """``layout``: of the windows' counts. ``trained``: ``Watch.trained``."""
        self._groups = groups
        self._layout = layout
        self._trained = trained
        fewest = min((int(trained[f].min()) for f in groups), default=ENOUGH_WINDOWS)
        self._enough = max(0, ENOUGH_WINDOWS - fewest)
        """Windows after which nothing is learnt any more."""
        self._blocks = TimeBlocks(0, _most_blocks(layout))
        """Of all rows, (L,)."""
        self._parts: TimeBlocks | None = None
        """Of segments, (S - 1, L); None where there are none."""
        self._windows = 0
        """In blocks."""
        self.told = 0
        """As many as there were when the dispersions were last told."""
        self._dispersions: dict[str, F64] = {}
        self._window_rows = WindowRows(0)
        self._told_rows: F64 = np.zeros(0)
        """Their mean when the dispersions were last told, (S,)."""

    @property
    def needed(self) -> bool:
        """Whether training left anything to learn."""
        return self._enough > 0

    def count(self, kept: Kept) -> None:
        """A window that belongs to no change."""
        if not self._windows:
            self._blocks = TimeBlocks(kept.end - kept.start, self._blocks.most)
            self._window_rows = WindowRows(len(kept.counts))
            if len(kept.counts) > 1:
                most = min(_MOST_PART_BLOCKS, _MOST_PART_COUNTS // kept.counts[1:].size)
                self._parts = TimeBlocks(self._blocks.length, max(_LEAST_MOST_PART, most))
        self._windows += 1
        self._window_rows.count(self._layout.rows(kept.counts).astype(np.float64))
        self._blocks.count(kept, kept.counts[0])
        if self._parts is not None:
            self._parts.count(kept, kept.counts[1:])

    def follow(self, kept: Kept) -> None:
        """The same, as long as there are too few."""
        if self._windows < self._enough:
            self.count(kept)

    def retold(self) -> bool:
        """Before a window is tested: whether the dispersions are others from now on, for more is
        known."""
        if self.told >= self._enough:
            return False
        if self._windows < min(max(_GROWN * self.told, LEAST_BLOCKS), self._enough):
            return False
        self.tell()
        return True

    def tell(self) -> None:
        """Take the dispersions of the windows there are."""
        self.told = self._windows
        self._told_rows = self._window_rows.mean()
        numbers, table = self._blocks.table()
        for family, group in self._groups.items():
            found = self._of(family, group, numbers, table)[None, :]
            if self._parts is not None:
                own, tables = self._parts.table()
                of_each = [
                    self._of(family, group, own, tables[..., i, :]) for i in range(tables.shape[2])
                ]
                found = np.maximum(found, np.stack([found[0], *of_each]))
            self._dispersions[family] = np.maximum(found, 1.0)
        if self._windows >= self._enough:
            self._blocks.clear()
            if self._parts is not None:
                self._parts.clear()

    def clumps(self, family: str) -> Clumps:
        """Of a group's streams, once they are told. Streams that the windows say too little of have
        a dispersion of 1; segments have that of all rows at least."""
        return Clumps.of(self._dispersions[family], self._told_rows)

    def counts(self, trained: I64, *, alone: bool = True) -> npt.NDArray[np.bool_]:
        """Where what was told is used, (T,), of streams with so many training windows: where these
        are too few, and enough together, or, ``alone``, fewer than those served."""
        used = self.told + trained >= ENOUGH_WINDOWS
        if alone:
            used |= self.told > trained
        return np.asarray(used & (trained < ENOUGH_WINDOWS), dtype=np.bool_)

    def parts(self) -> Iterator[Part]:
        """All state."""
        head = [self._blocks.length, self._windows, self.told]
        if self._parts is not None:
            head += [self._parts.length, self._parts.most]
        yield Part(f"{LEARNING}/head", True, lambda: head)
        found = sorted(self._dispersions.items())
        yield Part(
            f"{LEARNING}/dispersions", True, lambda: {family: packed(d) for family, d in found}
        )
        window_rows = self._window_rows
        yield Part(
            f"{LEARNING}/rows",
            True,
            lambda: [*map(packed, (window_rows.rows, window_rows.squares, self._told_rows))],
        )
        yield from self._blocks.parts(f"{LEARNING}/block")
        if self._parts is not None:
            yield from self._parts.parts(f"{LEARNING}/segments")

    def saved(self) -> None:
        """What :meth:`parts` gave has been kept."""
        self._blocks.saved()
        if self._parts is not None:
            self._parts.saved()

    def load(self, entries: Mapping[str, Any]) -> None:
        """Go on from the values of :meth:`parts`, by name; others are not looked at."""
        segments: list[int] = []
        blocks: dict[str, dict[tuple[int, int], Any]] = {"block": {}, "segments": {}}
        for name, value in entries.items():
            part, *rest = name.split("/")
            if part != LEARNING:
                continue
            match rest:
                case ["head"]:
                    length, self._windows, self.told, *segments = value
                    self._blocks = TimeBlocks(length, self._blocks.most)
                case ["dispersions"]:
                    self._dispersions = {family: floats(d) for family, d in value.items()}
                case ["rows"]:
                    rows, squares, self._told_rows = map(floats, value)
                    self._window_rows = WindowRows(len(rows))
                    self._window_rows.rows, self._window_rows.squares = rows, squares
                case ["block" | "segments" as kind, number, slot]:
                    blocks[kind][int(number), int(slot)] = value
                case _:
                    raise ValueError(f"no entry of what is learnt: {name}")
        self._blocks.load(blocks["block"])
        if segments:
            self._parts = TimeBlocks(*segments)
            self._parts.load(blocks["segments"])

    def _of(self, family: str, group: TwoSided | Upper, numbers: I64, table: I64) -> F64:
        """Of each stream, (T,), of counts in the layout, (blocks, slots, L)."""
        flat = group.flat(table)
        trained = self._trained[family].tolist()
        found: F64 = np.ones(len(group.streams))
        for index, stream in enumerate(group.streams):
            if trained[index] >= ENOUGH_WINDOWS:
                continue
            own = flat[..., group.span(index)].astype(np.int64)
            held = np.count_nonzero(own.any(axis=(1, 2)))
            # A segment may be there only now and then.
            few = LEAST_BLOCKS <= held < len(numbers) // 2
            if self._windows + trained[index] >= ENOUGH_WINDOWS and not few:
                found[index] = table_dispersion(numbers, own, stream.betting)
                continue
            asked = evidence(stream.threshold, float(own.sum()) / self._windows)
            found[index] = bounded_dispersion(numbers, own, asked, stream.betting)
        return found


def _most_blocks(layout: Layout) -> int:
    return max(_LEAST_MOST, min(_MOST_BLOCKS, _MOST_COUNTS // layout.length))
