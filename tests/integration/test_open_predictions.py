"""Millions of open predictions: memory has a bound that does not depend on how many they
are, nor on how many expire at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from own_process import measured

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

MILLIONS = 3
BOUND_MB = 900
"""What the join of two partitions takes beyond what the process has at its start: twice 128 MiB of
rows, twice as much as one of these while a checkpoint is written, filters, and RocksDB."""
GROWTH_MB_PER_MILLION = 64
"""Of the highest point, which is not the same each time. A million open predictions are 350 MB."""


def test_memory_stays_within_its_bound_and_nothing_is_forgotten(tmp_path: Path) -> None:
    found = measured("open_predictions", tmp_path / "state", MILLIONS)
    assert found["open"] == MILLIONS * 1_000_000 - found["told"]
    assert found["joined"] == found["told"] > 0
    assert found["joined_at_last"] == found["told"] + found["late"]
    assert found["open_at_last"] == 0
    taken = found["peak_mb"]
    assert taken[-1] < BOUND_MB, found
    # Nor does it take more to let go of them all at once: that goes in many steps.
    assert found["peak_at_last_mb"] < BOUND_MB, found
    assert found["steps"] > MILLIONS * 10
    # The first million fills what has a bound.
    assert taken[-1] - taken[0] < GROWTH_MB_PER_MILLION * (MILLIONS - 1), found
