"""The loop under kills and a broker that dies: nothing lost, nothing twice, all of it right.

The short run is part of every test; ``make bench NAME=chaos`` and the slow one are the long one.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest
from harness.run import EXACT, Plan, run

from leftovers import processes_of

pytestmark = [pytest.mark.kafka]

SEED = int(os.environ.get("CHAOS_SEED", "2013"))
SHORT = Plan(
    seed=SEED,
    events=20_000,
    kills=10,
    broker_restarts=1,
    leaves=3,
    rate=800.0,
    windows=32,
    regimes=2,
    commands=5,
    least_swaps=1,
    settle_s=240.0,
)


def judged(plan: Plan, directory: Path) -> None:
    found = run(plan, directory)
    wrong = {kind: found[kind] for kind in (*EXACT, "crashes")}
    assert wrong == dict.fromkeys(wrong, 0), found["details"]
    assert found["kills"] >= plan.kills
    assert found["leaves"] >= plan.leaves
    assert found["broker_restarts"] >= plan.broker_restarts
    assert found["swaps"] >= plan.least_swaps
    assert found["dead_letters"] >= found["poison"] + found["labels_told_too_late"]
    assert found["poison"] > 0
    accounts = [
        found[f"labels_{fate}"]
        for fate in ("joined", "told_too_late", "repeated", "without_event", "told_broken")
    ]
    assert sum(accounts) == found["labels"]
    assert min(accounts) > 0
    assert found["labels_waited"] > 0
    assert processes_of(directory) == {}


@pytest.mark.timeout(600)
def test_ten_kills_and_a_dead_broker_leave_the_log_exact(tmp_path: Path) -> None:
    judged(SHORT, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_a_hundred_kills_and_three_broker_restarts_leave_the_log_exact(tmp_path: Path) -> None:
    judged(Plan(seed=secrets.randbelow(2**31)), tmp_path)
