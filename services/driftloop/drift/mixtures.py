"""The bets in all directions on the streams of a group whose bins have no order, and the windows
that are put together for them.

What they are, and why windows are put together: ``models.mixtures``. Several windows of one season
slot are ranked within its bag as one window would be, with the same right: a *block*. It ends with
the window that brings it nearest to its length; what is known of its rows until then is not looked
at, for it is valid at the block's end alone. M (``drift.shiryaev``) then moves once for all of it.

Shapes: S rows (all, and segments) and T streams as in ``drift.groups``; U streams without an order,
with B bins in all; J lengths of blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from driftloop.drift.shiryaev import log_mean
from driftloop.drift.state import Part, floats, packed
from driftloop.kernel.codec.blocks import F64, I64
from driftloop.models.mixtures import EFFECTS, lengths, log_terms, strength
from driftloop.models.payoffs import MIXTURE_WEIGHT

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Ended:
    """What a window's blocks say, bet by bet, (S, J x U)."""

    log_e: F64
    """0 of blocks that have not ended."""
    rows: F64
    """Of the block; 0 likewise."""


class Mixtures:
    """Of a group."""

    def __init__(self, unordered: I64, starts: I64, sizes: I64) -> None:
        """``unordered``: which of the group's streams, (U,), one at least; they begin at ``starts``
        and have ``sizes`` bins, (T,)."""
        self.streams = unordered
        sizes = sizes[unordered]
        spans = [np.arange(starts[u], starts[u] + n) for u, n in zip(unordered, sizes, strict=True)]
        self._bins: I64 = np.concatenate(spans)
        self._starts: I64 = np.cumsum([0, *sizes[:-1]], dtype=np.int64)
        self._owner: I64 = np.repeat(np.arange(len(sizes)), sizes)
        self._part: I64 = np.concatenate([self._owner, np.arange(len(sizes))])
        """Of U, to which each value of a block belongs."""
        self._strengths: F64 = np.array([strength(n) for n in sizes.tolist()])
        self._lengths: F64 = np.array([lengths(n) for n in sizes.tolist()])
        self.width = len(EFFECTS) * len(unordered)
        """Bets, length by length."""
        self.owners: I64 = np.tile(unordered, len(EFFECTS))
        """The group's stream of each."""

    def nothing(self, rows: int) -> F64:
        """Blocks that have just begun, (J, S, B + U), with S ``rows``: counts on the bins, and of
        each stream the sum over its rows of their window's dispersion."""
        return np.zeros((len(EFFECTS), rows, len(self._bins) + len(self.streams)))

    def take(
        self, blocks: F64, counts: F64, bag: F64, apart: Bools, dispersions: F64
    ) -> tuple[Ended, F64]:
        """A window of ``counts``, (S, G), goes into the ``blocks`` of its slot, as of
        :meth:`nothing`, which are given back without those that it ends. ``bag``, (S, G): of the
        slot, with the window in it, and with those before it in the block but for streams
        ``apart``, (S, T), whose bags take nothing in. ``dispersions``, (S, T): of windows of this
        size. A block's is their mean over its rows, as of a sum of what is independent."""
        window = counts[:, self._bins]
        of_window = self._totals(window)
        spread = of_window * dispersions[:, self.streams]
        blocks = blocks + np.concatenate([window, spread], axis=1)
        whole = bag[:, self._bins]
        left = apart[:, self.streams][:, self._owner]
        log_e: F64 = np.zeros((len(EFFECTS), *of_window.shape))
        rows: F64 = np.zeros_like(log_e)
        for place, block in enumerate(blocks):
            own = block[:, : len(self._bins)]
            held = self._totals(own)
            d = np.maximum(block[:, len(self._bins) :] / np.maximum(held, 1.0), 1.0)
            ends = (held + 0.5 * of_window >= d * self._lengths[:, place]) & (of_window > 0.0)
            if not ends.any():
                continue
            within = whole + np.where(left, own - window, 0.0)
            log_e[place] = np.where(ends, self._log_e(own, within, d), 0.0)
            rows[place] = np.where(ends, held, 0.0)
            blocks[place] = np.where(ends[:, self._part], 0.0, block)
        flat = (len(counts), self.width)
        return (
            Ended(np.moveaxis(log_e, 0, 1).reshape(flat), np.moveaxis(rows, 0, 1).reshape(flat)),
            blocks,
        )

    def forget(self, blocks: F64, row: int, stream: int) -> None:
        """Begin a stream's blocks anew."""
        (own,) = np.flatnonzero(self.streams == stream)
        blocks[:, row, self._part == own] = 0.0

    def level(self, log_m: F64) -> F64:
        """Log of each stream's sum of M by what is staked on it, (S, U), from (S, J x U)."""
        each = log_m.reshape(*log_m.shape[:-1], len(EFFECTS), len(self.streams))
        weights = np.full((len(EFFECTS), 1), np.log(MIXTURE_WEIGHT / len(EFFECTS)))
        return log_mean(each, weights, -2)

    def _log_e(self, counts: F64, bag: F64, dispersions: F64) -> F64:
        rows, known = self._totals(counts), self._totals(bag)
        part = (rows / np.maximum(known, 1.0))[:, self._owner]
        d = dispersions[:, self._owner]
        terms = log_terms(counts / d, bag / d, part, self._strengths[self._owner])
        return self._totals(terms)

    def _totals(self, found: F64) -> F64:
        return np.asarray(np.add.reduceat(found, self._starts, axis=-1), dtype=np.float64)


class SlotBlocks:
    """The blocks of a group's windows under way, by season slot."""

    def __init__(self, bets: Mixtures, rows: int) -> None:
        """``rows``: S."""
        self._bets = bets
        self._rows = rows
        self._blocks: dict[int, F64] = {}
        self._unsaved: set[int] = set()
        """Slots whose blocks changed since :meth:`saved`."""

    def take(self, slot: int, counts: F64, bag: F64, apart: Bools, dispersions: F64) -> Ended:
        """See :meth:`Mixtures.take`."""
        ended, self._blocks[slot] = self._bets.take(self._of(slot), counts, bag, apart, dispersions)
        self._unsaved.add(slot)
        return ended

    def forget(self, row: int, stream: int) -> None:
        """Begin a stream's blocks anew; one with an order has none."""
        if stream in self._bets.streams:
            for blocks in self._blocks.values():
                self._bets.forget(blocks, row, stream)
            self._unsaved.update(self._blocks)

    def parts(self, name: str) -> Iterator[Part]:
        """All state, as entries whose names begin so. A block of one length is as large as a bag;
        of all lengths together they may not fit a record."""
        for slot, blocks in self._blocks.items():
            for place, block in enumerate(blocks):
                yield Part(f"{name}/{slot}/{place}", slot in self._unsaved, partial(packed, block))

    def saved(self) -> None:
        """What :meth:`parts` gave has been kept."""
        self._unsaved.clear()

    def load(self, slot: int, place: int, plain: Sequence[Any]) -> None:
        """Take back one entry."""
        self._blocks[slot] = self._of(slot)
        self._blocks[slot][place] = floats(plain)
        self._unsaved.add(slot)

    def _of(self, slot: int) -> F64:
        found = self._blocks.get(slot)
        return self._bets.nothing(self._rows) if found is None else found
