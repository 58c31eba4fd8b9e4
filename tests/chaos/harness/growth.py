"""Whether memory grows with the records that go through: what is held at one moment and at a later
one, not the most there ever was, below which a leak is not seen.

Objects are counted one by one, so a single one that is kept of every record stands out. What is no
object of Python's (compiled code, RocksDB, a buffer that becomes longer) shows in the pages that
the process has.
"""

from __future__ import annotations

import gc
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from driftloop.adapters.allocator import give_back

BLOCKS_PER_ROW = 0.25
"""Blocks of memory held for good, on average: anything that is kept of a record is at least one."""
BLOCKS = 300
"""However few the rows: caches that fill up, and the last batch."""
BYTES_PER_ROW = 64
PAGES = 24 << 20
"""Bytes: RocksDB's tables, and what the allocator keeps for later."""


class GrowthError(AssertionError):
    """More is held than before."""


@dataclass(slots=True)
class Growth:
    """Compares two moments."""

    _rows: int = 0
    _blocks: int = 0
    _bytes: int = 0

    def warm(self) -> None:
        """What is held now may be."""
        self._rows = 0
        self._blocks, self._bytes = _held()

    def took(self, rows: int) -> None:
        """So many more have gone through."""
        self._rows += rows

    def check(self) -> None:
        """Raises :class:`GrowthError` where more is held than when all was warm."""
        blocks, held = _held()
        more, taken = blocks - self._blocks, held - self._bytes
        if more > self._rows * BLOCKS_PER_ROW + BLOCKS:
            raise GrowthError(f"{more:,} blocks of memory more after {self._rows:,} rows")
        if taken > self._rows * BYTES_PER_ROW + PAGES:
            raise GrowthError(f"{taken:,} bytes of pages more after {self._rows:,} rows")


def _held() -> tuple[int, int]:
    """Blocks that Python has allocated and not freed, and bytes of pages."""
    gc.collect()
    give_back()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return sys.getallocatedblocks(), pages * os.sysconf("SC_PAGE_SIZE")
