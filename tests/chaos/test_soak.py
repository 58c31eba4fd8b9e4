"""Steady load through all services for a quarter of an hour: no process grows.

``SOAK_MINUTES`` makes it shorter: the same 2,700,000 events, so much faster.

Flat means: after a warm-up of four tenths of the time the resident memory of every service rises by
no more than ``BOUND_MB_PER_MILLION`` a million events, or by ``NOISE_MB`` in all. What fills up in
the warm-up and has a bound: a training run's rows (120,000), the join's open rows (24 s and what
comes between two checkpoints), and RocksDB's memory tables (32 MB, full after 330,000 events). Its
block cache, of 32 MB too, takes longer: some three and a half million events.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from harness import model
from harness.model import Scale
from harness.producing import Order, ProducerProcess
from harness.run import to_stderr

from driftloop.adapters.broker import LocalBroker
from driftloop.adapters.clock import SystemClock
from driftloop.cli.applying import apply_declaration
from driftloop.cli.loops import KafkaLoop
from driftloop.cli.supervision import SERVICES, Fleet
from driftloop.kernel.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.kafka, pytest.mark.timeout(1800)]

MINUTES = float(os.environ.get("SOAK_MINUTES", "15"))
WARM_SHARE = 0.4
"""Of the time: caches, pools and the join's open rows fill up first."""
EVENTS = 2_700_000
"""So many that what a leak takes stands out from the saw-tooth of the join: what comes between two
checkpoints, and RocksDB's tables, are some 60 MB."""
RATE = EVENTS / (60 * MINUTES)
SAMPLE_S = 1.0
WINDOW_ROWS = int(2 * RATE)
"""Two seconds of load are a window; its horizon, after which the join forgets, 24."""
REGIME_WINDOWS = max(8, int(4 * MINUTES))
"""What a training run reads: a seventh of the time."""
BOUND_MB_PER_MILLION = 30.0
"""By the median of slopes. A row kept for good, of some 300 bytes, would make 300 of it; the join's
block cache makes 9 until it is full."""
NOISE_MB = 8.0
"""Growth over the whole time measured that is none: pages the allocator took once."""

Series = list[tuple[float, float]]


def resident_mb(pid: int) -> float | None:
    """None when the process is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def slope_per_hour(series: Series) -> float:
    """Theil and Sen's: the median of the slopes between points half the time apart; a training
    run's peak, or a sample that missed one, moves it little."""
    at, value = np.array(series).T
    half = len(at) // 2
    rises = value[half : 2 * half] - value[:half]
    return float(np.median(rises / (at[half : 2 * half] - at[:half])) * 3600)


def test_no_process_grows_under_steady_load(tmp_path: Path) -> None:
    scale = Scale(EVENTS, RATE, WINDOW_ROWS, regime_windows=REGIME_WINDOWS)
    declared = model.declared(scale, "soak")
    samples: dict[str, Series] = {service: [] for service in SERVICES}
    with LocalBroker(tmp_path / "broker", heap_mb=768) as broker:
        settings = Settings(bootstrap=broker.bootstrap, directory=tmp_path, prefix="soak.")
        fleet = Fleet(settings, SERVICES, progress=to_stderr)
        loop = KafkaLoop(fleet)
        apply_declaration(loop.log, settings.topics, declared, who="tests", now=SystemClock().now())
        topics = declared.declaration.topics
        with fleet:
            fleet.wait_ready()
            pids = {member.service: member.pid for member in fleet.members()}
            order = Order(settings.bootstrap, topics.events, topics.labels, 1, scale)
            producer = ProducerProcess(order)
            try:
                began = time.monotonic()
                while not producer.done:
                    sample(samples, pids, time.monotonic() - began)
                    threading.Event().wait(SAMPLE_S)
            finally:
                producer.stop()
            lags = {s["service"]: s.get("lag", 0) for s in fleet.statuses()}
            restarts = {member.service: member.restarts for member in fleet.members()}
        loop.log.close()
    assert restarts == dict.fromkeys(SERVICES, 0)
    # What cannot keep up would be measured idle, or swell for another reason.
    assert max(lags.values()) < 10 * RATE, lags
    report = {service: grown(series) for service, series in samples.items()}
    for service, (start, end, slope) in report.items():
        to_stderr(f"{service}: {start:.0f} to {end:.0f} MB, {slope:+.1f} MB an hour")
        to_stderr(f"  {course(samples[service])}")
    measured_h = MINUTES * (1 - WARM_SHARE) / 60
    bound = max(BOUND_MB_PER_MILLION * RATE * 3600 / 1e6, NOISE_MB / measured_h)
    assert {s: slope for s, (_, _, slope) in report.items() if slope > bound} == {}


def sample(samples: Mapping[str, Series], pids: Mapping[str, int | None], at: float) -> None:
    for service, pid in pids.items():
        found = None if pid is None else resident_mb(pid)
        if found is not None:
            samples[service].append((at, found))


def course(series: Series) -> str:
    """The median of every tenth of the time, MB."""
    return " ".join(f"{np.median(part):.0f}" for part in np.array_split(np.array(series)[:, 1], 10))


def grown(series: Series) -> tuple[float, float, float]:
    """MB after the warm-up, MB at the end, MB per hour in between."""
    warm = [point for point in series if point[0] >= WARM_SHARE * series[-1][0]]
    return warm[0][1], warm[-1][1], slope_per_hour(warm)
