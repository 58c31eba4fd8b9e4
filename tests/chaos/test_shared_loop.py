"""Models that share their topics, under kills: of every record comes what would come of it were its
model alone."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest
from harness.crowd import CrowdPlan, run_crowd
from harness.model import Kind, Scale
from harness.run import to_stderr

from driftloop.kernel.settings import Settings
from leftovers import processes_of

pytestmark = [pytest.mark.kafka]

SEED = int(os.environ.get("CHAOS_SEED", "2017"))
PROCESSES = {"inference": 1, "outcomes": 2, "featurestats": 2}


@pytest.mark.timeout(600)
def test_models_that_share_topics_are_told_apart_whoever_is_killed(
    kafka: str, tmp_path: Path
) -> None:
    group = f"crowd-{secrets.token_hex(4)}"
    plan = CrowdPlan(
        seed=SEED,
        kinds=[
            Kind(f"{group}-warm", 0.3, colours=("red", "amber", "pink", "ruby"), group=group),
            # Of the same shape; of its levels some are the other's, under other numbers.
            Kind(f"{group}-cold", 0.6, colours=("blue", "red", "ice", "pink", "sky"), group=group),
            Kind(f"{group}-slim", 0.8, narrow=True, colours=("", "ünïcode", "red"), group=group),
        ],
        processes=PROCESSES,
        scale=Scale(events=3_000, rate=200.0, window_rows=120, regime_windows=8),
        strange=75,
        kills=6,
        leaves=2,
    )
    settings = Settings(
        bootstrap=kafka,
        directory=tmp_path,
        prefix=f"{group}.",
        flush_interval_ms=250,
        # Whoever is killed is away for far longer: nothing is idle meanwhile.
        idle_after_ms=50,
    )
    found = run_crowd(plan, settings, to_stderr)
    assert found["wrong"] == {}, found["details"]
    assert found["crashes"] == []
    assert sum(found["killed"].values()) == plan.kills
    assert found["killed"].keys() == PROCESSES.keys()
    assert found["left"] == plan.leaves
    # There was something of everything that is sent. What came of it by way of a store hangs on
    # when kills fell.
    assert min(found["labels"].values()) > 0
    assert len(found["labels"]) == 5
    to_stderr(f"outcomes went on from its store {found['from_store']} times")
    for fact in ("strangers", "poison", "late_rows", "revisions"):
        assert found[fact] > 0, fact
    assert processes_of(tmp_path) == {}
