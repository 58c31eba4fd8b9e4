"""A run's rows, as the training worker or the trainer reads them from the log."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driftloop.adapters.clock import SystemClock
from driftloop.adapters.kafka import KafkaLog
from driftloop.adapters.memory import MemoryLog
from driftloop.kernel.codec.blocks import OutcomeBlock
from driftloop.kernel.codec.mapping import from_plain, to_plain
from driftloop.kernel.codec.rows import encode_outcomes
from driftloop.kernel.errors import TrainingError
from driftloop.kernel.ports import Log, Send, TopicSpec
from driftloop.kernel.records import OffsetRange
from driftloop.kernel.records.training import Recipe
from driftloop.kernel.settings import Settings
from driftloop.kernel.sharing import MODEL_HEADER
from driftloop.trainer.launch import Worker
from driftloop.trainer.limits import WorkerLimits
from driftloop.trainer.reading import Reading
from driftloop.trainer.rows import TrainingRows
from driftloop.trainer.task import Trained, TrainingTask, Untrained
from training_builders import block

LIMITS = WorkerLimits(seconds=120, memory=2 * 2**30)
TASK = TrainingTask(("x", "y"), ("c",), (Recipe("river_logistic", {}, 1),), 0.25)
COUNT = 400


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def log(request: pytest.FixtureRequest) -> Iterator[Log]:
    if request.param == "memory":
        yield MemoryLog(SystemClock())
        return
    made = KafkaLog(request.getfixturevalue("kafka"))
    yield made
    made.close()


def topic(log: Log) -> str:
    name = f"o-{uuid.uuid4().hex[:12]}"
    log.ensure_topics([TopicSpec(name, 2)])
    return name


def write(log: Log, name: str, partition: int, values: Sequence[bytes], model: str = "") -> None:
    producer = log.producer("outcomes")
    headers = [((MODEL_HEADER, model.encode()),)] * len(values) if model else None
    producer.send(Send(name, [b"k"] * len(values), list(values), partition, headers=headers))
    producer.flush(30.0)
    producer.close()


def reading(log: Log, name: str, period: tuple[int, int] = (0, 2**40)) -> Reading:
    """Of all that is on the topic now."""
    ends = sorted(log.end_offsets([name]).items())
    sources = tuple(OffsetRange(name, source.partition, 0, end) for source, end in ends)
    return Reading("m", False, 1, 2, 1, sources, *period)


def halves(outcomes: OutcomeBlock) -> tuple[Sequence[bytes], Sequence[bytes]]:
    values = list(encode_outcomes(outcomes))
    return values[::2], values[1::2]


def same(one: TrainingRows, other: TrainingRows) -> None:
    for name in ("labels", "times", "event_times"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_array_equal(one.features.numeric, other.features.numeric)
    np.testing.assert_array_equal(one.features.categories.codes, other.features.categories.codes)
    assert one.features.categories.levels == other.features.categories.levels


def test_rows_of_several_partitions_are_those_of_the_period(log: Log) -> None:
    name, outcomes = topic(log), block(COUNT, seed=1)
    for partition, values in enumerate(halves(outcomes)):
        write(log, name, partition, values)
    first, last = int(outcomes.outcome_time[60]), int(outcomes.outcome_time[300])
    told: list[int] = []
    found = reading(log, name, (first, last)).rows(log, told.append)
    whole = TrainingRows.from_outcomes([outcomes])
    start, stop = np.searchsorted(whole.times, [first, last])
    expected = whole.part(int(start), int(stop))
    np.testing.assert_array_equal(found.features.numeric, expected.features.numeric)
    np.testing.assert_array_equal(found.times, expected.times)
    assert told[-1] == len(found)
    assert told == sorted(told)


def test_of_a_shared_topic_only_the_models_own_rows_count(log: Log) -> None:
    name, own, others = topic(log), block(COUNT, seed=1), block(COUNT, seed=2, first=COUNT)
    write(log, name, 0, list(encode_outcomes(others)), "n")
    write(log, name, 0, list(encode_outcomes(own)), "m")
    write(log, name, 1, list(encode_outcomes(others)), "n")
    found = replace(reading(log, name), shared=True).rows(log)
    same(found, TrainingRows.from_outcomes([own]))


def test_an_outcome_that_cannot_be_read_is_named(log: Log) -> None:
    name = topic(log)
    write(log, name, 1, [*encode_outcomes(block(3, seed=1)), b"no outcome"])
    with pytest.raises(TrainingError, match=f"{name}/1 offset 3"):
        reading(log, name).rows(log)


def test_a_period_without_outcomes_is_told(log: Log) -> None:
    name = topic(log)
    write(log, name, 0, list(encode_outcomes(block(3, seed=1))))
    with pytest.raises(TrainingError, match="no label found its prediction"):
        reading(log, name, (10**9, 10**9 + 1)).rows(log)


def test_what_a_worker_is_told_to_read_survives_a_file() -> None:
    asked = Reading("m", True, 1, 2, 1, (OffsetRange("t", 1, 5, 9),), 3, 4)
    assert from_plain(Reading, json.loads(json.dumps(to_plain(asked)))) == asked


def trained(rows: TrainingRows | Reading, scratch: Path, settings: Settings) -> Any:
    with Worker(rows, TASK, LIMITS, settings=settings, scratch=scratch) as worker:
        return worker.wait()


@pytest.mark.kafka
def test_a_worker_that_reads_by_itself_makes_the_same_version(kafka: str, tmp_path: Path) -> None:
    log = KafkaLog(kafka)
    settings = Settings(bootstrap=kafka)
    name, outcomes = topic(log), block(COUNT, seed=1)
    for partition, values in enumerate(halves(outcomes)):
        write(log, name, partition, values)
    asked = reading(log, name)
    log.close()
    read = trained(asked, tmp_path, settings)
    given = trained(TrainingRows.from_outcomes([outcomes]), tmp_path, settings)
    assert isinstance(read, Trained)
    assert isinstance(given, Trained)
    assert read.model.arrays.keys() == given.model.arrays.keys()
    for array, values in read.model.arrays.items():
        assert values.tobytes() == given.model.arrays[array].tobytes()
    assert (read.profile, read.recipe, read.rows) == (given.profile, given.recipe, given.rows)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.kafka
def test_what_a_worker_cannot_read_ends_its_run(kafka: str, tmp_path: Path) -> None:
    log = KafkaLog(kafka)
    name = topic(log)
    write(log, name, 0, [b"no outcome"])
    found = trained(reading(log, name), tmp_path, Settings(bootstrap=kafka))
    log.close()
    assert isinstance(found, Untrained)
    assert f"{name}/0 offset 0" in found.reason
