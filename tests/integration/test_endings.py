"""However a service fails, its process ends: what watches over it starts another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from driftloop.adapters.kafka import KafkaLog
from driftloop.kernel.ports import Send, TopicPartition, TopicSpec

pytestmark = pytest.mark.kafka

ENDS_WITHIN_S = 60.0

FAILS_BEING_BUILT = """
import sys
from driftloop.adapters.process import run
from driftloop.kernel.errors import LogUnavailableError

class Listener:
    def on_assigned(self, partitions):
        return {}
    def on_revoked(self, partitions):
        pass
    on_lost = on_revoked

class Service:
    def __init__(self, context, catalog):
        topics = [context.settings.topics.partials]
        self.session = context.log.session("probe", topics, instance="0", listener=Listener())
        while not self.session.assignment():
            self.session.poll(1, 0.1)
        self.session.begin()
        raise LogUnavailableError("the rest of it finds no Kafka")

sys.exit(run("probe", Service))
"""

NEVER_ENDS = """
import sys, threading
from driftloop.adapters.process import run
from driftloop.kernel.errors import LogUnavailableError

def wait_for_ever():
    threading.Event().wait()

class Service:
    def __init__(self, context, catalog):
        threading.Thread(target=wait_for_ever).start()
        raise LogUnavailableError("it found no Kafka")

sys.exit(run("probe", Service, ending_s=0.5))
"""


def _process(code: str, kafka: str, directory: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "DRIFTLOOP_DIRECTORY": str(directory),
        "DRIFTLOOP_PREFIX": f"endings.{directory.name}.",
    }
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=ENDS_WITHIN_S,
        check=False,
    )


def test_a_service_that_fails_half_built_leaves_its_group_and_ends(
    kafka: str, tmp_path: Path
) -> None:
    ended = _process(FAILS_BEING_BUILT, kafka, tmp_path)
    assert ended.returncode == 1, ended.stderr
    assert "probe stops: the rest of it finds no Kafka" in ended.stderr
    assert "Timeout" not in ended.stderr  # the watchdog's word


def test_a_process_that_hangs_at_its_end_is_ended_and_shows_where(
    kafka: str, tmp_path: Path
) -> None:
    ended = _process(NEVER_ENDS, kafka, tmp_path)
    assert ended.returncode == 1, ended.stderr
    assert "wait_for_ever" in ended.stderr


def test_a_closed_log_leaves_no_client_open(kafka: str, tmp_path: Path) -> None:
    class Listener:
        def on_assigned(self, partitions: object) -> dict[TopicPartition, int]:
            return {}

        def on_revoked(self, partitions: object) -> None: ...

        on_lost = on_revoked

    topic = f"endings.{tmp_path.name}"
    log = KafkaLog(kafka)
    log.ensure_topics([TopicSpec(topic, 1)])
    follower, producer, outbox = log.follow([topic]), log.producer("tests"), log.outbox(10)
    settled: list[int] = []
    outbox.confirm(Send(topic, [b"k"], [b"posted"], 0), settled.append)
    session = log.session(topic, [topic], instance="0", listener=Listener())
    session.begin()
    session.send(Send(topic, [b"k"], [b"never committed"], 0))
    log.close()
    assert settled == [0]
    # Each of them may still be closed by whoever used it.
    follower.close()
    producer.close()
    outbox.close(1.0)
    session.close()

    other = KafkaLog(kafka)
    source = TopicPartition(topic, 0)
    # An open transaction would hold the stable end back until it times out.
    assert other.end_offsets([topic]) == other.high_watermarks([topic])
    end = other.end_offsets([topic])[source]
    values = [value for batch in other.read(source, 0, end) for value in batch.values]
    assert values == [b"posted"]
    other.close()
