"""``driftloop demo`` as a person runs it: what it promises holds, and nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from driftloop.cli.announcements import alive

KEYS = {
    "broker", "services", "events", "predictions", "duplicate_predictions", "labels", "outcomes",
    "dead_letters", "windows", "windows_verified", "windows_mismatched", "alerts",
    "alerts_by_kind", "runs", "runs_by_trigger", "versions",
    "promotions", "log_loss", "auc", "base_rate_log_loss", "frozen_log_loss", "frozen_auc",
    "seconds",
}  # fmt: skip


def demo(directory: Path, *words: str) -> subprocess.Popen[str]:
    """On a broker of its own, whatever the tests use."""
    environ = {k: v for k, v in os.environ.items() if k != "KAFKA_BOOTSTRAP_SERVERS"}
    return subprocess.Popen(
        [sys.executable, "-m", "driftloop.cli", "demo", "--json", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environ, "DRIFTLOOP_DIRECTORY": str(directory)},
    )


def result(process: subprocess.Popen[str]) -> Mapping[str, Any]:
    out, err = process.communicate(timeout=280)
    assert process.returncode == 0, err[-3000:]
    last: dict[str, Any] = json.loads(out.splitlines()[-1])
    return last


def still_alive(directory: Path) -> list[int]:
    """Processes whose command line names the directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if str(directory).encode() in words and alive(int(entry.name)):
                found.append(int(entry.name))
    return found


@pytest.mark.kafka
def test_the_first_weeks_on_kafka_lose_and_double_nothing(tmp_path: Path) -> None:
    found = result(demo(tmp_path, "--until", "2013-01-17"))
    assert found.keys() >= KEYS
    assert (found["broker"], found["services"]) == ("kafka", 6)
    assert found["predictions"] == found["events"] == found["labels"] == found["outcomes"] > 13_000
    assert found["duplicate_predictions"] == 0
    assert found["dead_letters"] == found["dead_letters_intact"] == 25
    assert found["windows_verified"] == found["windows"] > 25
    assert found["windows_mismatched"] == 0
    assert found["versions"] >= 1
    assert still_alive(tmp_path) == []


def test_a_feed_that_changes_gives_an_alert_and_the_alert_a_run(tmp_path: Path) -> None:
    # In memory and lockstep every run is the same; version 2 serves when the codes change.
    words = ("--memory", "--lockstep", "--until", "2013-02-20", "--recode", "2013-02-10")
    found = result(demo(tmp_path, *words))
    assert (found["broker"], found["services"]) == ("memory", 6)
    assert found["predictions"] == found["events"] == found["outcomes"]
    assert found["windows_verified"] == found["windows"] > 0
    assert found["alerts_by_kind"] == {"new_categories": 1}
    assert found["runs_by_trigger"]["alert"] == 1


@pytest.mark.kafka
def test_ctrl_c_leaves_no_process_behind(tmp_path: Path) -> None:
    process = demo(tmp_path, "--until", "2013-01-10")
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("replaying"):
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert still_alive(tmp_path) == []
