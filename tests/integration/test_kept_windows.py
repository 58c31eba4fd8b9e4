"""Windows that late rows may still change: they lie on disk, and memory does not grow with them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TESTS = Path(__file__).resolve().parents[1]
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
    """In a process of its own, whose memory is nobody else's."""
    words = [sys.executable, "-m", "kept_windows", str(tmp_path / "state"), str(THOUSANDS)]
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        words, stdout=subprocess.PIPE, check=True, env={**os.environ, "PYTHONPATH": paths}
    )
    found = orjson.loads(done.stdout.splitlines()[-1])
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
