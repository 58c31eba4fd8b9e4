"""The local Kafka, really started: it answers, keeps its data and leaves no process behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from driftloop.adapters.broker import LocalBroker
from driftloop.adapters.kafka.warm import provoke_internal_topics, wait_until_answering
from driftloop.kernel.errors import BrokerError, LogUnavailableError

pytestmark = pytest.mark.kafka

YEAR_2013_MS = 1_356_998_400_000


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    """One broker for the tests of this file that stop, kill and restart it in turn."""
    with LocalBroker(tmp_path_factory.mktemp("broker")) as started:
        yield started


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def eventually(holds: Callable[[], bool], deadline_s: float = 30.0) -> bool:
    deadline = time.monotonic() + deadline_s
    turn = threading.Event()
    while not holds():
        if time.monotonic() > deadline:
            return False
        turn.wait(0.05)
    return True


def running(broker: LocalBroker) -> LocalBroker:
    if not broker.running:
        broker.start()
    return broker


def new_topic(bootstrap: str) -> str:
    name = f"t.{uuid.uuid4().hex}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics([NewTopic(name, 1, 1)]).values():
        future.result(20)
    return name


def write(bootstrap: str, topic: str, value: bytes) -> None:
    """One record, with the first moment of 2013 as its timestamp."""
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    producer.produce(topic, value, timestamp=YEAR_2013_MS)
    assert producer.flush(20) == 0


def read(bootstrap: str, topic: str, count: int) -> list[tuple[bytes, int]]:
    """(value, timestamp) of the first records, by a consumer without a group."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused", "log_level": 0})
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        messages = [message for message in consumer.consume(count, 20) if message.error() is None]
        return [(message.value(), message.timestamp()[1]) for message in messages]
    finally:
        consumer.close()


def test_the_session_fixture_answers(kafka: str) -> None:
    assert wait_until_answering(kafka, 20)


def test_it_keeps_records_and_port_over_a_kill_and_a_restart(broker: LocalBroker) -> None:
    address = running(broker).bootstrap
    topic = new_topic(address)
    write(address, topic, b"one")

    broker.restart()
    assert broker.bootstrap == address
    write(address, topic, b"two")

    before = broker.pid
    broker.kill()
    assert not alive(before)
    assert not broker.running
    broker.start()
    assert broker.bootstrap == address
    assert read(address, topic, 2) == [(b"one", YEAR_2013_MS), (b"two", YEAR_2013_MS)]


def test_ready_means_the_internal_topics_exist_and_the_probe_is_gone(broker: LocalBroker) -> None:
    admin = AdminClient({"bootstrap.servers": running(broker).bootstrap})
    assert eventually(
        lambda: (
            {name for name in admin.list_topics(timeout=10).topics if not name.startswith("t.")}
            == {"__consumer_offsets", "__transaction_state"}
        )
    )


def test_a_topic_nobody_made_is_not_made_by_asking(broker: LocalBroker) -> None:
    admin = AdminClient({"bootstrap.servers": running(broker).bootstrap})
    assert admin.list_topics("nobody.made.this", timeout=10).topics["nobody.made.this"].error
    assert "nobody.made.this" not in admin.list_topics(timeout=10).topics


def test_stop_leaves_no_process_and_may_be_repeated(broker: LocalBroker) -> None:
    pid = running(broker).pid
    broker.stop()
    assert not alive(pid)
    broker.stop()
    with pytest.raises(BrokerError, match="is not running"):
        _ = broker.pid


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BrokerError, match=f"port {port} of 127.0.0.1 is taken"):
            LocalBroker(tmp_path, port=port).start()


def test_a_port_lost_while_starting_is_replaced_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from driftloop.adapters.broker import supervisor

    choose = supervisor._choose_ports
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", 0))
        thief.listen()
        stolen = thief.getsockname()[1]
        choices = iter([(stolen, choose(None)[0])])
        monkeypatch.setattr(
            supervisor, "_choose_ports", lambda wanted: next(choices, None) or choose(wanted)
        )
        with LocalBroker(tmp_path) as broker:
            assert broker.bootstrap != f"127.0.0.1:{stolen}"


def test_a_start_that_fails_shows_the_end_of_the_log_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "meta.properties").write_text("version=1\ncluster.id=x\nnode.id=7\n")
    broker = LocalBroker(tmp_path)
    with pytest.raises(BrokerError, match=r"exit code 1\.\n(.|\n)*Stored node id 7"):
        broker.start()
    assert not broker.running


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_java_is_left_when_its_owner_is_ended_while_starting(
    number: signal.Signals, tmp_path: Path
) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom driftloop.adapters.broker import LocalBroker\n"
        f"LocalBroker(Path({str(tmp_path)!r}), progress=lambda l: print(l, flush=True)).start()"
    )
    environ = {name: text for name, text in os.environ.items() if name != "PATH"}
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environ,
    ) as owner:
        assert owner.stdout is not None
        assert any("starting Kafka" in line for line in owner.stdout)
        owner.send_signal(number)
        owner.wait(40)
        assert eventually(lambda: not processes_naming(tmp_path))


def processes_naming(directory: Path) -> list[int]:
    """Processes other than this one whose command line names the directory."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(directory).encode() in command:
                found.append(int(entry.name))
    return found


def test_nobody_answering_is_said_with_the_address(free_port: int) -> None:
    with pytest.raises(LogUnavailableError, match=f"127.0.0.1:{free_port} did not answer"):
        wait_until_answering(f"127.0.0.1:{free_port}", 0.5)


def test_provoking_twice_does_no_harm(kafka: str) -> None:
    provoke_internal_topics(kafka, 30)
