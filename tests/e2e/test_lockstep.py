"""The loop on six processes and Kafka against the loop in memory: on the same input, in lockstep,
they leave the same behind, although every process is killed once and inference scaled meanwhile."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest

from driftloop.adapters.kafka import KafkaLog
from driftloop.cli.announcements import alive, announced
from driftloop.cli.applying import DeclaredModel
from driftloop.cli.control import read_catalog
from driftloop.cli.flights import Flights, load_flights
from driftloop.cli.flights_poison import Poison, poisoned
from driftloop.cli.loops import KafkaLoop, Loop, MemoryLoop
from driftloop.cli.supervision import SERVICES, Fleet
from driftloop.cli.verifying import verify_windows
from driftloop.kernel.ports import Log, TopicPartition
from driftloop.kernel.records import Stream
from driftloop.kernel.settings import Settings
from leftovers import processes_of, workers_of
from lockstep_loop import DAY_MS, Lockstep, Trace, declared

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1800)]

NEW_YEAR_MS = 1_356_998_400_000
UNTIL = NEW_YEAR_MS + 17 * DAY_MS + DAY_MS // 2
"""Days enough for alerts."""
# A first version too early to be good, which is rejected, and a second, which is promoted.
POLICY = {
    "minimum_labels": "4_000",
    "schedule": '"6d"',
    "cooldown": '"6d"',
    "false_alarms_per_100k": "1000.0",
}
KILLS = {1: "inference", 2: "outcomes", 3: "featurestats", 16: "drift"}
"""Window to the service that dies when the window's records are sent. The trainer dies in its
first run, the deployer when there is a first version."""
SCALES = {3: 2, 5: 1}
"""Window to the number of inference's processes once its records are sent. The window in between
is shared from its first record to its last. Not beside the first run of training: what a version
sees first depends on whether a rebalance or the run takes longer."""
REBALANCED_S = 120.0


@dataclass(slots=True)
class Disturbed:
    """The loop on Kafka, and what is done to it."""

    fleet: Fleet
    loop: Loop
    model: DeclaredModel
    killed: list[str] = field(default_factory=list)
    workers: Sequence[int] = ()
    """The processes that trained when the trainer died."""
    shared_by: list[int] = field(default_factory=list)
    """How many processes held partitions of the events at the ends of windows."""

    def run(self, flights: Flights) -> None:
        lockstep = Lockstep(self.loop, self.model, flights)
        while not lockstep.finished:
            day = lockstep.days
            lockstep.day(partial(self._strike, day), self._strike_at_a_turn)
            if day in SCALES:
                self._wait_held_by(SCALES[day])
            self.shared_by.append(self._holders())
        lockstep.close()

    def _strike(self, day: int) -> None:
        if day in KILLS:
            self._kill(KILLS[day])
        if day in SCALES:
            self.fleet.scale("inference", SCALES[day])

    def _strike_at_a_turn(self) -> None:
        if "trainer" not in self.killed:
            self.workers = workers_of(self.loop.settings.directory)
            if self.workers:
                self._kill("trainer")
        elif "deployer" not in self.killed:
            versions = self.loop.log.end_offsets([self.loop.settings.topics.versions])
            if any(versions.values()):
                self._kill("deployer")

    def _kill(self, service: str) -> None:
        self.fleet.kill(service)
        self.killed.append(service)

    def _wait_held_by(self, processes: int) -> None:
        # The window may well be over before the process that was added has started.
        deadline = time.monotonic() + REBALANCED_S
        while self._holders() != processes:
            assert time.monotonic() < deadline, f"not held by {processes} in {REBALANCED_S:g} s"
            self.loop.advance(0.1)

    def _holders(self) -> int:
        events = f"{self.model.declaration.topics.events}/"
        return sum(
            any(source.startswith(events) for source in status["positions"])
            for status in self.loop.statuses()
        )


@dataclass(frozen=True, slots=True)
class Both:
    """The two runs, and the log of the second."""

    model: DeclaredModel
    flights: Flights
    poison: Sequence[Poison]
    memory: Trace
    kafka: Trace
    disturbed: Disturbed
    log: Log
    settings: Settings
    left: Mapping[int, str]
    """Processes that ran after the fleet was stopped."""


@pytest.fixture(scope="module")
def both(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    tag = secrets.token_hex(4)
    model = declared(f"lockstep-{tag}", POLICY)
    flights = load_flights(until=UNTIL)
    settings = Settings(
        bootstrap=kafka,
        prefix=f"lockstep-{tag}.",
        directory=tmp_path_factory.mktemp("processes"),
        flush_interval_ms=50,
    )
    log = KafkaLog(kafka)
    log.ensure_topics(settings.topics.specs())
    with Fleet(settings, SERVICES) as fleet:
        # While the processes start, the loop in this one runs.
        memory = _undisturbed(model, flights, settings, tmp_path_factory.mktemp("memory"))
        fleet.wait_ready()
        disturbed = Disturbed(fleet, KafkaLoop(fleet), model)
        disturbed.run(flights)
    left = processes_of(settings.directory)
    yield Both(
        model,
        flights,
        poisoned(flights),
        memory,
        Trace.of(log, settings.topics, model),
        disturbed,
        log,
        settings,
        left,
    )
    log.close()


def _undisturbed(
    model: DeclaredModel, flights: Flights, settings: Settings, directory: Path
) -> Trace:
    loop = MemoryLoop(replace(settings, directory=directory, flush_interval_ms=1))
    try:
        lockstep = Lockstep(loop, model, flights)
        while not lockstep.finished:
            lockstep.day()
        return Trace.of(loop.log, settings.topics, model)
    finally:
        loop.close()


def test_every_service_was_killed_the_trainer_in_a_run_and_inference_was_shared(both: Both) -> None:
    assert sorted(both.disturbed.killed) == sorted(SERVICES)
    assert both.disturbed.workers
    assert both.disturbed.shared_by[3:6] == [2, 2, 1]


def test_a_run_did_not_outlive_its_trainer(both: Both) -> None:
    assert not any(alive(pid) for pid in both.disturbed.workers)


def test_nothing_runs_after_the_services_were_stopped(both: Both) -> None:
    assert both.left == {}
    assert announced(both.settings.directory) == []


def test_versions_were_trained_shadowed_rejected_and_promoted(both: Both) -> None:
    reasons = [deployment.reason for deployment in both.memory.deployments]
    assert reasons == ["candidate", "rejected", "candidate", "promoted"]


@pytest.mark.parametrize("stream", list(Stream))
def test_windows_are_the_same(both: Both, stream: Stream) -> None:
    assert both.memory.windows_of(stream)
    assert both.kafka.windows_of(stream) == both.memory.windows_of(stream)


def test_alerts_are_the_same(both: Both) -> None:
    assert both.memory.alerts
    assert both.kafka.alert_records() == both.memory.alert_records()


def test_runs_are_the_same(both: Both) -> None:
    assert both.memory.runs
    assert both.kafka.run_records() == both.memory.run_records()


def test_versions_are_the_same_digest_for_digest(both: Both) -> None:
    assert both.memory.versions
    assert [v.digest for v in both.kafka.versions] == [v.digest for v in both.memory.versions]
    assert both.kafka.version_records() == both.memory.version_records()


def test_deployments_are_the_same(both: Both) -> None:
    assert both.kafka.deployments == both.memory.deployments


def test_every_valid_event_has_one_prediction(both: Both) -> None:
    times = Counter(prediction.event_id for prediction in both.kafka.predictions)
    assert times == Counter(id.decode() for id in both.flights.event_ids)


def test_predictions_are_the_same(both: Both) -> None:
    assert both.kafka.prediction_records() == both.memory.prediction_records()


def test_every_label_is_an_outcome_once(both: Both) -> None:
    times = Counter(outcome.event_id for outcome in both.kafka.outcomes)
    assert times == Counter(id.decode() for id in both.flights.label_ids)


def test_outcomes_are_the_same(both: Both) -> None:
    assert both.kafka.outcome_records() == both.memory.outcome_records()


def test_dead_letters_are_the_poison_with_its_original_bytes(both: Both) -> None:
    letters = sorted((d.key, d.value, d.reason, d.topic) for d in both.kafka.dead_letters)
    events = both.model.declaration.topics.events
    assert len(letters) == 25
    assert letters == sorted((p.key, p.value, p.reason, events) for p in both.poison)


def test_a_dead_letter_says_where_its_record_lies(both: Both) -> None:
    for letter in both.kafka.dead_letters:
        source = TopicPartition(letter.topic, letter.partition)
        (batch,) = both.log.read(source, letter.offset, letter.offset + 1)
        assert list(batch.values) == [letter.value]


def test_every_closed_window_follows_from_the_log_bit_for_bit(both: Both) -> None:
    catalog = read_catalog(both.log, both.settings.topics)
    found = verify_windows(both.log, catalog, both.kafka.windows)
    assert found.ok, found.details
    assert found.windows == len({window.id for window in both.kafka.windows})
