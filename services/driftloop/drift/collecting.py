"""The first weeks of a version as its reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from driftloop.drift.blocks import add
from driftloop.drift.learning import Learning
from driftloop.drift.state import Kept, Part, integers, packed
from driftloop.kernel.codec.blocks import I64

COLLECTION = "collection"
"""First part of its entries' names."""


class Collection:
    """Counts of the windows that begin within ``period`` ms of the first, per season slot. How much
    they vary is learnt from all of them."""

    def __init__(self, period: int, learning: Learning) -> None:
        self._period = period
        self._learning = learning
        self._first = -1
        self.done = False
        self.references: dict[int, I64] = {}
        """Season slot to counts, (S, L)."""
        self._unsaved: set[int] = set()
        """Slots whose references changed since :meth:`saved`."""

    def take(self, kept: Kept) -> bool:
        """Whether the window still belongs to the reference."""
        if self.done:
            return False
        if self._first < 0:
            self._first = kept.start
        if kept.start >= self._first + self._period:
            self.done = True
            self._learning.tell()
            return False
        add(self.references, kept.slot, kept.counts)
        self._unsaved.add(kept.slot)
        self._learning.count(kept)
        return True

    def parts(self) -> Iterator[Part]:
        """All state."""
        yield Part(f"{COLLECTION}/head", True, lambda: [self._first, self.done])
        for slot, counts in self.references.items():
            changed = slot in self._unsaved
            yield Part(f"{COLLECTION}/reference/{slot}", changed, partial(packed, counts))

    def saved(self) -> None:
        """What :meth:`parts` gave has been kept."""
        self._unsaved.clear()

    def load(self, entries: Mapping[str, Any]) -> None:
        """Go on from the values of :meth:`parts`, by name; others are not looked at."""
        for name, value in entries.items():
            part, *rest = name.split("/")
            if part != COLLECTION:
                continue
            match rest:
                case ["head"]:
                    self._first, self.done = value
                case ["reference", slot]:
                    self.references[int(slot)] = integers(value)
                case _:
                    raise ValueError(f"no entry of a collection: {name}")
        self._unsaved.update(self.references)
