"""The trainer while a worker of its reads a run: the worker dies, or the trainer restarts."""

from __future__ import annotations

import os
import signal
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from decision_builders import command, outcomes
from driftloop.adapters.artifacts.directory import DirectoryStore
from driftloop.adapters.clock import SystemClock
from driftloop.adapters.kafka import KafkaLog
from driftloop.cli.applying import DeclaredModel, apply_declaration
from driftloop.cli.control import read_records
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.records import codec
from driftloop.kernel.codec.rows import encode_outcomes
from driftloop.kernel.declaration_toml import declaration_of, parse_declaration
from driftloop.kernel.metrics import NullMeter
from driftloop.kernel.pipeline import Inline
from driftloop.kernel.ports import RecordBatch, TopicPartition
from driftloop.kernel.records import CommandAction, OffsetRange, Run, RunStatus, Version
from driftloop.kernel.service import Context
from driftloop.kernel.settings import Settings
from driftloop.models.parameters import check_parameters
from driftloop.trainer.launch import Worker
from driftloop.trainer.limits import WorkerLimits
from driftloop.trainer.rows import TrainingRows
from driftloop.trainer.service import TrainerService
from driftloop.trainer.task import Trained, TrainingTask
from leftovers import workers_of
from training_builders import block, eventually, write

pytestmark = pytest.mark.kafka

COUNT = 400
LIMITS = WorkerLimits(seconds=120, memory=2 * 2**30)
EVER = 2**40

SCHEMA = """{"type": "record", "name": "E", "fields": [
  {"name": "id", "type": "string"}, {"name": "at", "type": "long"},
  {"name": "x", "type": ["null", "double"]}, {"name": "y", "type": ["null", "double"]},
  {"name": "c", "type": ["null", "string"]}]}"""
MODEL = """
[model]
name = "NAME"
task = "binary"
prior = 0.5
partitions = 1
[events]
schema = "event.avsc"
id = "id"
time = "at"
[labels]
horizon = "1h"
[[features]]
name = "x"
kind = "numeric"
[[features]]
name = "y"
kind = "numeric"
[[features]]
name = "c"
kind = "categorical"
[windows]
size = "1h"
lateness = "0s"
retention = "1d"
[alerts]
false_alarms_per_100k = 10.0
psi_floor = 0.05
loss_floor = 0.01
missing_floor = 0.05
stale_after = "1h"
[training]
minimum_labels = 1_000_000
schedule = "never"
cooldown = "0s"
history = "all"
on_alerts = []
evaluation_share = 0.25
time_limit = "2m"
memory_limit = "2GiB"
seed = 1
[[training.candidates]]
trainer = "river_logistic"
"""


class WatchedLog(KafkaLog):
    """Tells which topics were read in this process."""

    read_here: set[str]

    @override
    def read(
        self, source: TopicPartition, start: int, end: int, *, limit: int = 4096
    ) -> Iterator[RecordBatch]:
        self.read_here.add(source.topic)
        return super().read(source, start, end, limit=limit)


class Trainers:
    """A model that has outcomes, all but the last of those its window names, and trainers."""

    def __init__(self, kafka: str, directory: Path) -> None:
        name = f"reading-{uuid.uuid4().hex[:8]}"
        text = MODEL.replace("NAME", name)
        declaration = parse_declaration(
            text, source="tests", event_schema=SCHEMA, check_candidate=check_parameters
        )
        self.declaration = declaration
        self.settings = Settings(bootstrap=kafka, prefix=f"{name}.", directory=directory)
        self.topics = self.settings.topics
        self.log = WatchedLog(kafka)
        self.log.read_here = set()
        model = DeclaredModel(declaration, text, SCHEMA)
        apply_declaration(self.log, self.topics, model, who="tests", now=0)
        self.outcomes = block(COUNT, seed=1)
        self.values = list(encode_outcomes(self.outcomes))
        write(self.log, declaration.topics.outcomes, self.values[:-1])
        named = OffsetRange(declaration.topics.outcomes, 0, 0, COUNT)
        window = replace(outcomes(0, rows=COUNT), model=name, start=0, end=EVER, sources=(named,))
        self._control(self.topics.windows, window)

    def retrain(self, id: str) -> None:
        asked = replace(command(id, CommandAction.RETRAIN), model=self.declaration.name)
        self._control(self.topics.commands, asked)

    def complete(self) -> None:
        """Write the last outcome."""
        write(self.log, self.declaration.topics.outcomes, self.values[-1:])

    def start(self) -> TrainerService:
        settings = self.settings
        context = Context(self.log, SystemClock(), NullMeter(), settings, Inline(), Inline)
        return TrainerService(context, Catalog(self.topics, declaration_of))

    def runs(self, status: RunStatus) -> list[Run]:
        return [
            run for run in read_records(self.log, Run, self.topics.runs) if run.status is status
        ]

    def versions(self) -> list[Version]:
        return list(read_records(self.log, Version, self.topics.versions))

    def _control(self, topic: str, record: Any) -> None:
        partition = self.topics.partition(self.declaration.name)
        write(self.log, topic, [codec(type(record)).encode(record)], partition)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the files of the runs lie."""
    made = tmp_path / "scratch"
    made.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(made))
    return made


@pytest.fixture
def trainers(kafka: str, tmp_path: Path) -> Iterator[Trainers]:
    made = Trainers(kafka, tmp_path / "shared")
    yield made
    made.log.close()


def until_a_worker_reads(service: TrainerService, scratch: Path) -> None:
    def reads() -> bool:
        told = [file.read_text() for file in scratch.glob("*/stdout")]
        return any(f'"rows": {COUNT - 1}}}' in text for text in told)

    eventually(reads, lambda: service.step(0.05))


def test_a_run_whose_worker_dies_has_failed_and_the_next_is_not_hindered(
    trainers: Trainers, scratch: Path
) -> None:
    service = trainers.start()
    try:
        trainers.retrain("1")
        until_a_worker_reads(service, scratch)
        (worker,) = workers_of(trainers.settings.directory)
        os.kill(worker, signal.SIGKILL)
        eventually(lambda: trainers.runs(RunStatus.FAILED), lambda: service.step(0.05))
        (failed,) = trainers.runs(RunStatus.FAILED)
        assert failed.reason == "killed by signal 9 (SIGKILL)"
        trainers.complete()
        trainers.retrain("2")
        eventually(trainers.versions, lambda: service.step(0.05))
    finally:
        service.close()
    assert list(scratch.iterdir()) == []


def test_a_run_that_was_being_read_is_run_again_after_a_restart_to_the_same_bytes(
    trainers: Trainers, scratch: Path
) -> None:
    first = trainers.start()
    try:
        trainers.retrain("1")
        until_a_worker_reads(first, scratch)
    finally:
        first.close()
    assert workers_of(trainers.settings.directory) == []
    assert list(scratch.iterdir()) == []
    second = trainers.start()
    try:
        until_a_worker_reads(second, scratch)
        trainers.complete()
        eventually(trainers.versions, lambda: second.step(0.05))
    finally:
        second.close()
    (version,) = trainers.versions()
    assert [run.rows for run in trainers.runs(RunStatus.PUBLISHED)] == [COUNT]
    rows = TrainingRows.from_outcomes([trainers.outcomes])
    with Worker(rows, TrainingTask.of(trainers.declaration), LIMITS) as worker:
        alone = worker.wait()
    assert isinstance(alone, Trained)
    store = DirectoryStore(trainers.settings.artifacts)
    model = alone.model
    put = store.put("alone", "1", model.family, model.arrays, model.attributes)
    assert put[1] == version.digest
    assert alone.profile == version.profile
    # Whoever lives long holds no rows.
    assert trainers.declaration.topics.outcomes not in trainers.log.read_here
