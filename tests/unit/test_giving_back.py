"""Freed memory goes back to the system, whichever thread took it."""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path

import pytest

from driftloop.adapters.allocator import give_back

BLOCK, BLOCKS = 4_000, 16_000
pytestmark = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc"
)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_pages_between_what_stays_are_given_back() -> None:
    kept: list[bytes] = []

    def take_and_free() -> None:
        # Few of many stay, the last of all among them: nothing free lies at the arena's end.
        taken = [b"\1" * BLOCK for _ in range(BLOCKS)]
        kept.extend(taken[:: BLOCKS // 100])
        kept.append(taken[-1])

    thread = threading.Thread(target=take_and_free)
    thread.start()
    thread.join()
    before = resident()
    assert give_back()
    assert before - resident() > BLOCK * BLOCKS // 2
    assert set(kept) == {b"\1" * BLOCK}
