"""A worker that dies, hangs or loses its parent while it reads a run's rows from the log."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient

from driftloop.adapters.kafka import KafkaLog
from driftloop.kernel.codec.rows import encode_outcomes
from driftloop.kernel.ports import TopicSpec
from driftloop.kernel.records import OffsetRange
from driftloop.kernel.records.training import Recipe
from driftloop.kernel.settings import Settings
from driftloop.trainer.launch import Worker
from driftloop.trainer.limits import WorkerLimits
from driftloop.trainer.reading import Reading
from driftloop.trainer.task import TrainingTask, Untrained
from training_builders import block, eventually, write

pytestmark = pytest.mark.kafka

COUNT = 400
LIMITS = WorkerLimits(seconds=120, memory=2 * 2**30)
TASK = TrainingTask(("x", "y"), ("c",), (Recipe("river_logistic", {}, 1),), 0.25)
EVER = 2**40


@pytest.fixture
def log(kafka: str) -> Iterator[KafkaLog]:
    made = KafkaLog(kafka)
    yield made
    made.close()


def filled(log: KafkaLog, count: int = COUNT) -> str:
    """A topic with so many outcomes."""
    name = f"o-{uuid.uuid4().hex[:12]}"
    log.ensure_topics([TopicSpec(name, 1)])
    write(log, name, list(encode_outcomes(block(count, seed=1))))
    return name


def endless(topic: str) -> Reading:
    """Whoever reads it waits for one outcome more than there are."""
    return Reading("m", False, 1, 2, 1, (OffsetRange(topic, 0, 0, COUNT + 1),), 0, EVER)


def is_reading(worker: Worker) -> bool:
    return any(told.get("rows") == COUNT for told in worker.progress())


def test_a_worker_that_is_killed_while_it_reads_says_by_what(
    log: KafkaLog, kafka: str, tmp_path: Path
) -> None:
    settings = Settings(bootstrap=kafka)
    with Worker(endless(filled(log)), TASK, LIMITS, settings=settings, scratch=tmp_path) as worker:
        eventually(lambda: is_reading(worker))
        assert worker.poll() is None
        os.kill(worker.pid, signal.SIGKILL)
        assert worker.wait() == Untrained("killed by signal 9 (SIGKILL)", ())
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_hangs_while_it_reads_is_ended_in_time(
    log: KafkaLog, kafka: str, tmp_path: Path
) -> None:
    now = [0.0]
    reading, settings = endless(filled(log)), Settings(bootstrap=kafka)
    with Worker(
        reading, TASK, LIMITS, settings=settings, scratch=tmp_path, clock=lambda: now[0]
    ) as worker:
        eventually(lambda: is_reading(worker))
        os.kill(worker.pid, signal.SIGSTOP)
        now[0] = LIMITS.seconds + 1
        assert worker.poll() == Untrained("exceeded 120 s", ())
        with pytest.raises(ProcessLookupError):
            os.kill(worker.pid, 0)
    assert list(tmp_path.iterdir()) == []


def test_rows_that_the_log_no_longer_holds_end_the_run(
    log: KafkaLog, kafka: str, tmp_path: Path
) -> None:
    name = filled(log)
    admin = AdminClient({"bootstrap.servers": kafka})
    for future in admin.delete_records([KafkaPartition(name, 0, 5)]).values():
        future.result(30)
    settings = Settings(bootstrap=kafka)
    with Worker(endless(name), TASK, LIMITS, settings=settings, scratch=tmp_path) as worker:
        found = worker.wait()
    assert isinstance(found, Untrained)
    assert found.reason.startswith(f"{name}/0 no longer holds offsets from 0")


PARENT = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[1].split(":")
from test_reading_workers import LIMITS, TASK, endless, is_reading
from driftloop.kernel.settings import Settings
from driftloop.trainer.launch import Worker
settings = Settings(bootstrap=sys.argv[3])
worker = Worker(endless(sys.argv[4]), TASK, LIMITS, settings=settings, scratch=Path(sys.argv[2]))
while not is_reading(worker):
    worker.pause(0.02)
print(worker.pid, flush=True)
sys.stdin.read()
"""


def test_a_worker_dies_with_its_parent_while_it_reads(
    log: KafkaLog, kafka: str, tmp_path: Path
) -> None:
    here = Path(__file__).parent
    words = [f"{here}:{here.parent}", str(tmp_path), kafka, filled(log)]
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        try:
            assert parent.stdout is not None
            worker = os.pidfd_open(int(parent.stdout.readline()))
        finally:
            parent.kill()
    try:
        ended, _, _ = select.select([worker], [], [], 30)
        assert ended
    finally:
        os.close(worker)
