"""No process is left behind by ``up``, however it ends, a training run being under way. (Of a fleet
that is stopped ``test_lockstep`` shows it.)"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from driftloop.adapters.kafka import KafkaLog
from driftloop.cli.flights import load_flights
from driftloop.cli.replay import Replay
from driftloop.kernel.settings import Settings
from leftovers import processes_of, workers_of
from lockstep_loop import DAY_MS, DECLARATION, declared

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

UNTIL = 1_356_998_400_000 + 4 * DAY_MS
POLICY = {"minimum_labels": "1_000", "trees": "5000", "leaves": "1000"}
"""A run that starts on the third day and takes its time."""
DEADLINE_S = 180.0


def eventually(holds: Callable[[], bool], deadline_s: float = DEADLINE_S) -> bool:
    deadline = time.monotonic() + deadline_s
    turn = threading.Event()
    while not holds():
        if time.monotonic() > deadline:
            return False
        turn.wait(0.05)
    return True


def nothing_is_left(directory: Path) -> bool:
    return eventually(lambda: not processes_of(directory), 60.0)


@pytest.fixture
def settings(kafka: str, tmp_path: Path) -> Settings:
    return Settings(
        bootstrap=kafka,
        directory=tmp_path,
        prefix=f"processes-{secrets.token_hex(4)}.",
        flush_interval_ms=50,
    )


@contextmanager
def training(settings: Settings) -> Iterator[subprocess.Popen[str]]:
    """``up``, while one of its services trains."""
    model = declared(f"processes-{secrets.token_hex(4)}", POLICY)
    file = settings.directory / "model.toml"
    schema = DECLARATION.parents[2] / "schemas" / "models" / "flights-event.avsc"
    text = model.text.replace("../../schemas/models/flights-event.avsc", str(schema))
    file.write_text(text, encoding="utf-8")
    up = subprocess.Popen(
        [sys.executable, "-m", "driftloop.cli", "up", "--json", "--model", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **settings.environment()},
    )
    with up:
        try:
            assert up.stdout is not None
            assert json.loads(up.stdout.readline())["event"] == "ready"
            log = KafkaLog(settings.bootstrap)
            producer = log.producer("tests")
            replay = Replay(
                producer, model.declaration.topics, load_flights(until=UNTIL), (), UNTIL
            )
            replay.send_until(UNTIL + DAY_MS)
            replay.flush()
            producer.close()
            log.close()
            assert eventually(lambda: bool(workers_of(settings.directory))), "no run started"
            yield up
        finally:
            up.kill()


def test_ctrl_c_ends_up_with_all_its_services_and_the_run_under_way(settings: Settings) -> None:
    with training(settings) as up:
        up.send_signal(signal.SIGINT)
        said, _ = up.communicate(timeout=60)
        assert up.returncode == 0
        last: dict[str, Any] = json.loads(said.splitlines()[-1])
        assert last == {"event": "stopped"}
        # It returned: then nothing may run any more.
        assert processes_of(settings.directory) == {}


def test_nothing_outlives_up_when_it_is_killed(settings: Settings) -> None:
    with training(settings) as up:
        up.kill()
        up.wait()
        assert nothing_is_left(settings.directory), processes_of(settings.directory)
