"""The loop on six processes and Kafka against the loop in memory: on the same input, in lockstep,
they leave the same behind, although every process is killed once and inference scaled meanwhile."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from driftloop.cli.applying import DeclaredModel
from driftloop.cli.control import read_catalog
from driftloop.cli.flights import load_flights
from driftloop.cli.loops import KafkaLoop, MemoryLoop
from driftloop.cli.supervision import SERVICES, Fleet
from driftloop.cli.verifying import verify_windows
from driftloop.kernel.ports import Log, TopicPartition
from driftloop.kernel.records import Alert, RunStatus, Stream
from driftloop.kernel.settings import Settings
from lockstep_loop import DAY_MS, Lockstep, Trace, declared

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1800)]

UNTIL = 1_356_998_400_000 + 18 * DAY_MS
POLICY = {
    # A first version too early to be good, which is rejected, and a second, which is promoted.
    "minimum_labels = 10_000": "minimum_labels = 4_000",
    'schedule = "14d"': 'schedule = "7d"',
}
KILLS = {1: "inference", 2: "outcomes", 3: "featurestats", 15: "drift"}
"""Window to the service that is killed when the window's records are sent. The trainer is killed
in its first run, the deployer when it is told of the first version."""
INSTANCES = {4: 2, 5: 1}
"""Window to the processes that inference has from then on."""


@dataclass(frozen=True, slots=True)
class Both:
    """The two runs, and what is asked of Kafka while its broker is there."""

    model: DeclaredModel
    memory: Trace
    kafka: Trace
    lockstep: Lockstep
    log: Log
    settings: Settings
    restarts: Mapping[str, int]
    scaled: int
    """Processes of inference that were asked for a window's predictions at once."""


@pytest.fixture(scope="module")
def both(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Both:
    tag = secrets.token_hex(4)
    model = declared(f"lockstep-{tag}", POLICY)
    flights = load_flights(until=UNTIL)
    in_memory = _in_memory(tmp_path_factory.mktemp("memory"), model, flights)
    settings = Settings(
        bootstrap=kafka,
        directory=tmp_path_factory.mktemp("kafka-loop"),
        prefix=f"{tag}.",
        flush_interval_ms=50,
    )
