"""Which ids cannot be in the store: most ids are new, and asking RocksDB for one costs far more.

Blocked Bloom filters (Putze, Sanders and Singler, Cache-, hash- and space-efficient Bloom filters,
2007, section 3): all bits of an id lie in one cache line. A new one, twice as large, begins where
the last is full; one whose ids have all been forgotten is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from driftloop.kernel.compiling import compiled
from driftloop.kernel.slices import I64, U8, Slices

U64 = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]

_LINE_WORDS = 8
_BITS_PER_ID = 16
"""With six bits per id about one in 700 ids is asked for in vain."""
_FIRST_IDS = 4_096
_MOST_IDS = 1 << 20
MOST_FILTERS = 32
"""So at most 64 MiB per partition and some 32 million ids; beyond that the store is asked."""

_OFFSET, _PRIME = np.uint64(14695981039346656037), np.uint64(1099511628211)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_S32, _S29, _WORD, _BIT, _ONE = (np.uint64(x) for x in (32, 29, 7, 63, 1))
_STEPS = 6


@compiled
def hash_slices(data: U8, at: I64, length: I64, out: U64) -> None:
    """FNV-1a of each slice, mixed."""
    for row in range(at.shape[0]):
        digest = _OFFSET
        start = at[row]
        for k in range(length[row]):
            digest = (digest ^ np.uint64(data[start + k])) * _PRIME
        digest = (digest ^ (digest >> _S32)) * _MIX
        out[row] = digest ^ (digest >> _S29)


@compiled
def _mark(words: U64, hashes: U64) -> None:
    lines = np.uint64(words.shape[0] // _LINE_WORDS)
    for row in range(hashes.shape[0]):
        digest = hashes[row]
        line = np.int64((digest >> _S32) * lines >> _S32) * _LINE_WORDS
        for _ in range(_STEPS):
            digest = digest * _MIX + _ONE
            place = line + np.int64((digest >> np.uint64(61)) & _WORD)
            words[place] |= _ONE << ((digest >> np.uint64(50)) & _BIT)


@compiled
def _find(words: U64, hashes: U64, found: Flags) -> None:
    lines = np.uint64(words.shape[0] // _LINE_WORDS)
    for row in range(hashes.shape[0]):
        if found[row]:
            continue
        digest = hashes[row]
        line = np.int64((digest >> _S32) * lines >> _S32) * _LINE_WORDS
        there = True
        for _ in range(_STEPS):
            digest = digest * _MIX + _ONE
            place = line + np.int64((digest >> np.uint64(61)) & _WORD)
            if (words[place] >> ((digest >> np.uint64(50)) & _BIT)) & _ONE == np.uint64(0):
                there = False
                break
        found[row] = there


@dataclass(slots=True)
class _Filter:
    words: U64
    room: int
    """Ids it still takes."""
    until: int
    """When the last of its ids is forgotten, event time."""


class IdFilter:
    """Says of ids whether they may have been added. Never says no of one that was, until its time
    is over."""

    def __init__(self) -> None:
        self._filters: list[_Filter] = []
        self.complete = True
        """False: everything may be there, whatever was added."""
        self.overflowed = False
        """It was given more than it takes, and stays incomplete."""
        self.latest = -(1 << 62)
        """Until when the last that it was given is to be remembered."""

    def add(self, ids: Slices[bytes], until: int) -> None:
        """Remember ids at least until event time ``until``."""
        hashes = _hashes(ids)
        if not self.overflowed:
            self.latest = max(self.latest, until)
        # Also of an incomplete one: it is complete when the rest has been added.
        while len(hashes) and not self.overflowed:
            last = self._filters[-1] if self._filters else None
            if last is None or last.room == 0:
                last = self._grow()
                if last is None:
                    return
            taken = hashes[: last.room]
            _mark(last.words, taken)
            last.room -= len(taken)
            last.until = max(last.until, until)
            hashes = hashes[len(taken) :]

    def may_contain(self, ids: Slices[bytes]) -> Flags:
        """One flag per id."""
        if not self.complete:
            return np.ones(len(ids), bool)
        found = np.zeros(len(ids), bool)
        if self._filters:
            hashes = _hashes(ids)
            for one in self._filters:
                _find(one.words, hashes, found)
        return found

    def forget(self, passed: int) -> None:
        """Everything that was to be remembered until before ``passed`` is forgotten."""
        self._filters = [one for one in self._filters if one.until >= passed]

    def _grow(self) -> _Filter | None:
        if len(self._filters) >= MOST_FILTERS:
            self.complete = False
            self.overflowed = True
            self._filters.clear()
            return None
        ids = min(_FIRST_IDS << len(self._filters), _MOST_IDS)
        made = _Filter(np.zeros(ids * _BITS_PER_ID // 64, np.uint64), ids, -(1 << 62))
        self._filters.append(made)
        return made


def _hashes(ids: Slices[bytes]) -> U64:
    out = np.empty(len(ids), np.uint64)
    hash_slices(ids.data, ids.at, ids.length, out)
    return out


def warm() -> None:
    """Compile the loops."""
    found = IdFilter()
    found.add(Slices.of([b"warm"]), 0)
    found.may_contain(Slices.of([b"warm"]))
