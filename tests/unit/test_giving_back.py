"""Freed memory is kept for the next batch, or goes back to the system, whichever thread took it."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
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


FAULTS = """
import resource
import numpy as np
from driftloop.adapters.allocator import keep

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def batch():
    return [np.ones(10 * 2**17) for _ in range(4)]

batch()
before = faults()
batch()
lost = faults() - before
assert keep()
batch()
before = faults()
batch()
print(lost, faults() - before)
"""


def test_a_batchs_arrays_are_there_for_the_next() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True
    )
    lost, kept = map(int, done.stdout.split())
    assert lost > 1000
    assert kept < lost / 10
