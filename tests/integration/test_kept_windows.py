"""Windows that late rows may still change: they lie on disk, and memory does not grow with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from own_process import measured

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

THOUSANDS = 8
ROWS = 2 * 100
BOUND_MB = 250
"""Beyond what the process takes at its start: RocksDB's buffers, 32 MiB each, and its cache; those
of the store that stands for the changelogs, too."""
RESTART_MB = 100
"""More for a restart: the buffers of the store before may not have been given back."""
GROWTH_KB_PER_WINDOW = 4
"""Of two source partitions, in both stages. The partials of one take some 50 kB."""


def test_what_waits_for_late_rows_waits_on_disk(tmp_path: Path) -> None:
    found = measured("kept_windows", tmp_path / "state", THOUSANDS)
    windows = THOUSANDS * 1000
    assert windows - 10 < found["closed"] < windows
    assert found["rows"] == found["closed"] * ROWS
    # Late rows find what was there before them.
    assert found["revised"] == found["late"] > 0
    assert found["rows_revised"] == 2 * found["late"] * ROWS
    # What expires leaves the disk and the changelogs.
    assert found["kept"] == 0
    assert found["deleted"] > windows * 4
    taken = found["peak_mb"]
    assert found["peak_at_restart_mb"] < taken[-1] + RESTART_MB, found
    assert found["peak_at_last_mb"] < BOUND_MB, found
    assert (taken[-1] - taken[2]) * 1024 < GROWTH_KB_PER_WINDOW * (windows - 3000), found
