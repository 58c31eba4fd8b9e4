"""The first weeks of a version as its reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from driftloop.drift.groups import TwoSided, Upper
from driftloop.drift.state import Kept, floats, integers, packed
from driftloop.kernel.codec.blocks import F64, I64


class Collection:
    """Counts of the windows that begin within ``period`` ms of the first, per season slot, and how
    much they vary from window to window."""

    def __init__(self, period: int, groups: Mapping[str, TwoSided | Upper]) -> None:
        self._period = period
        self._groups = groups
        self._first = -1
        self.done = False
        self._windows: dict[int, int] = {}
        self.references: dict[int, I64] = {}
        """Season slot to counts, (S, L)."""
        self._squares: dict[tuple[str, int], F64] = {}
        """Family and slot to the sum over windows of counts squared over their rows, (G,)."""

    def take(self, kept: Kept) -> bool:
        """Whether the window still belongs to the reference."""
        if self.done:
            return False
        if self._first < 0:
            self._first = kept.start
        if kept.start >= self._first + self._period:
            self.done = True
            return False
        slot = kept.slot
        known = self.references.get(slot)
        self.references[slot] = kept.counts.copy() if known is None else known + kept.counts
        self._windows[slot] = self._windows.get(slot, 0) + 1
        for family, group in self._groups.items():
            counts = group.flat(kept.counts[0])
            squares = counts**2 / np.maximum(group.totals(counts), 1.0)[group.owner]
            before = self._squares.get((family, slot))
            self._squares[family, slot] = squares if before is None else before + squares
        return True

    def dispersions(self, family: str) -> F64:
        """Per stream of a group, at least 1: mean over the windows of Pearson's chi-square of their
        counts, over its degrees of freedom (McCullagh and Nelder, Generalized Linear Models,
        section 4.5). Streams that the windows say too little of have 1."""
        group = self._groups[family]
        chi_square: F64 = np.zeros(len(group.streams))
        freedom: F64 = np.zeros(len(group.streams))
        # In one order, whatever order they came or were restored in: sums of doubles differ.
        for slot, windows in sorted(self._windows.items()):
            counts = group.flat(self.references[slot][0])
            shares = group.shares(counts)
            totals = group.totals(counts)
            seen = shares > 0.0
            scaled = np.where(seen, self._squares[family, slot] / np.where(seen, shares, 1.0), 0.0)
            chi_square += np.where(totals > 0.0, group.totals(scaled) - totals, 0.0)
            bins = group.totals(seen.astype(np.float64))
            freedom += np.where(totals > 0.0, (windows - 1) * (bins - 1.0), 0.0)
        found = chi_square / np.maximum(freedom, 1.0)
        # Within two standard errors of what independent rows give it is taken for theirs.
        noise = 1.0 + 2.0 * np.sqrt(2.0 / np.maximum(freedom, 1.0))
        return np.where((freedom >= 1.0) & (found > noise), found, 1.0)

    def to_plain(self) -> dict[str, Any]:
        return {
            "first": self._first,
            "done": self.done,
            "windows": sorted(self._windows.items()),
            "references": [[slot, packed(c)] for slot, c in sorted(self.references.items())],
            "squares": [[f, s, packed(c)] for (f, s), c in sorted(self._squares.items())],
        }

    def load(self, plain: Mapping[str, Any]) -> None:
        self._first = plain["first"]
        self.done = plain["done"]
        self._windows = dict(plain["windows"])
        self.references = {slot: integers(counts) for slot, counts in plain["references"]}
        self._squares = {(f, s): floats(counts) for f, s, counts in plain["squares"]}
