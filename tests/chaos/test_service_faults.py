"""Faults of one service: what it says, what it counts, and that nothing is lost or doubled."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from harness.model import WINDOW_MS
from harness.published import deploy, publish_version
from harness.reading import read
from harness.small import SmallLoop, eventually, small_loop
from harness.traffic import Message

from driftloop.adapters.artifacts.directory import ARRAYS, DirectoryStore
from driftloop.cli.control import read_catalog
from driftloop.cli.standing import model_rows
from driftloop.cli.supervision import Fleet
from driftloop.cli.verifying import verify_windows
from driftloop.kernel.codec.records import codec
from driftloop.kernel.errors import ArtifactError
from driftloop.kernel.records import AlertKind, AlertStatus, Load

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]

FAILURES = "driftloop_model_load_failures_total"
STOPS = "driftloop_stops_total"
ABORTS = "driftloop_aborted_transactions_total"
OPENED, RESOLVED = AlertStatus.OPENED, AlertStatus.RESOLVED


@pytest.fixture(scope="module")
def inference(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallLoop]:
    """The inference service, and who alerts of it, for the quick ones."""
    directory = tmp_path_factory.mktemp("inference")
    with small_loop(kafka, directory, ["inference", "drift"]) as loop:
        yield loop


@pytest.mark.slow
def test_a_fenced_producer_stops_and_nothing_is_doubled(kafka: str, tmp_path: Path) -> None:
    """A second process of the same name takes over; the first one is told, and says so."""
    with small_loop(kafka, tmp_path / "a", ["inference"]) as loop:
        loop.send(labels=False)
        loop.all_predicted()
        other = replace(loop.settings, directory=tmp_path / "b")
        with Fleet(other, ["inference"]) as usurper:
            usurper.wait_ready()
            loop.send(labels=False)
            loop.all_predicted()
            eventually(lambda: loop.restarts("inference") > 0, "the first one stopped")
            assert "another process took over" in loop.log_of("inference")
            eventually(
                lambda: loop.metric("inference", STOPS, 'error="Fenced"') >= 1, "it is counted"
            )
        loop.send(labels=False)
        loop.all_predicted()


@pytest.mark.slow
@pytest.mark.parametrize("spoilt", ["CURRENT", "data"])
def test_a_corrupt_store_of_outcomes_is_rebuilt_from_the_log(
    kafka: str, tmp_path: Path, spoilt: str
) -> None:
    with small_loop(kafka, tmp_path, ["inference", "outcomes"]) as loop:
        loop.send(labels=False)
        loop.send()
        loop.all_joined()
        loop.fleet.scale("outcomes", 0)
        spoil(loop.settings.state / "outcomes-0", spoilt)
        loop.send()
        loop.fleet.scale("outcomes", 1)
        # Of the first chunk's predictions only the store knew, and the log.
        loop.send_labels(0)
        loop.all_joined()
        said = loop.log_of("outcomes")
        assert "state is rebuilt from the log" in said
        assert loop.metric("outcomes", "driftloop_state_rebuilt_total", "corrupt") == 1


def spoil(directory: Path, what: str) -> None:
    """Garbage in place of a part of RocksDB's files."""
    if what == "CURRENT":
        (directory / what).write_bytes(b"\0garbage" * 20)
        return
    # What was not flushed to tables yet lies in the write-ahead log.
    files = [*directory.glob("*.sst"), *directory.glob("*.log")]
    assert files
    for file in files:
        data = bytearray(file.read_bytes())
        data[len(data) // 4 : len(data) * 3 // 4] = os.urandom(len(data) * 3 // 4 - len(data) // 4)
        file.write_bytes(data)


def test_an_artifact_that_cannot_be_loaded_leaves_the_old_version_serving(
    inference: SmallLoop,
) -> None:
    loop = inference
    publish_version(loop, 1, 0.25)
    deploy(loop, 1, 1)
    loop.serves(1)
    before: Counter[int] = Counter()
    for number, fault in ((2, "corrupt"), (3, "missing")):
        failed = loop.metric("inference", FAILURES)
        version = publish_version(loop, number, number / 10)
        arrays = loop.settings.artifacts / version.artifact / ARRAYS
        whole = arrays.read_bytes()
        if fault == "missing":
            arrays.unlink()
        else:
            arrays.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        deploy(loop, number, number)
        counted = partial(lambda least: loop.metric("inference", FAILURES) > least, failed)
        eventually(counted, "the failure is counted")
        assert loop.metric("inference", "driftloop_not_loaded") == 1
        eventually(partial(told, loop, number, OPENED), "an alert says so")
        assert loop.metric("drift", "driftloop_open_alerts", "not_loaded") == 1
        (shown,) = model_rows(loop.log, loop.settings.topics, loop.declared.declaration.name)
        assert [a["kind"] for a in shown["open_alerts"]] == ["not_loaded"]
        assert f"version {number - 1} serves on" in loop.log_of("inference")
        loop.send(labels=False)
        loop.all_predicted()
        now = Counter(p.version for p in loop.predictions())
        assert (now - before).keys() == {number - 1}
        # Mended, it is taken without anybody's doing.
        arrays.write_bytes(whole)
        loop.serves(number)
        before = now
        eventually(partial(told, loop, number, OPENED, RESOLVED), "the alert is over")
        assert loop.metric("inference", "driftloop_not_loaded") == 0
    assert loop.restarts("inference") == 0


def told(loop: SmallLoop, version: int, *statuses: AlertStatus) -> bool:
    """Whether these and no others are the records of alerts that the version is not loaded."""
    kind = AlertKind.NOT_LOADED
    found = [a for a in loop.alerts() if (a.kind, a.version) == (kind, version)]
    assert len({a.id for a in found}) <= 1
    return [a.status for a in found] == list(statuses)


@pytest.mark.slow
def test_processes_that_cannot_load_a_version_and_restart_open_one_alert(
    kafka: str, tmp_path: Path
) -> None:
    with small_loop(kafka, tmp_path, {"inference": 2, "drift": 1}) as loop:
        publish_version(loop, 1, 0.25)
        deploy(loop, 1, 1)
        loop.serves(1)
        version = publish_version(loop, 2, 0.5)
        arrays = loop.settings.artifacts / version.artifact / ARRAYS
        whole = arrays.read_bytes()
        arrays.unlink()
        deploy(loop, 2, 2)
        eventually(lambda: told(loop, 2, OPENED), "an alert says so")
        loop.send(labels=False)
        for service, instance in (("inference", "0"), ("drift", "0"), ("inference", "1")):
            loop.fleet.kill(service, instance)
            loop.send(labels=False)
        eventually(lambda: told_by(loop) >= {"0", "1"}, "both have said so again")
        arrays.write_bytes(whole)
        loop.serves(2)
        eventually(lambda: told(loop, 2, OPENED, RESOLVED), "the alert is over")
        loop.all_predicted()


def told_by(loop: SmallLoop) -> set[str]:
    """The processes that said more than once that they could not load version 2."""
    records = read(loop.settings.bootstrap, loop.settings.topics.loads)
    loads = [codec(Load).decode(record.value) for record in records]
    counts = Counter(load.instance for load in loads if load.failed == 2)
    return {instance for instance, count in counts.items() if count > 1}


def test_dead_letters_that_cannot_be_written_hold_the_service_uncommitted(
    inference: SmallLoop,
) -> None:
    loop = inference
    bootstrap, dead_letters = loop.settings.bootstrap, loop.settings.topics.dead_letters
    aborted = loop.metric("inference", ABORTS)
    known = len(loop.letters())
    # Room for the markers that end a transaction, and for nothing else.
    configure(bootstrap, dead_letters, "max.message.bytes", "100")
    big = Message(b"big", b"no event at all " * 100)
    loop.sender.send(loop.declared.declaration.topics.events, [big])
    loop.send(labels=False)
    eventually(
        lambda: "message size too large" in loop.log_of("inference").lower(),
        "the service says what is wrong",
    )
    eventually(lambda: loop.metric("inference", ABORTS) >= aborted + 5, "and counts it")
    # It is tried again, but less and less often.
    eventually(lambda: "on again in 0.8 s" in loop.log_of("inference"), "and waits longer")
    assert len(loop.letters()) == known
    configure(bootstrap, dead_letters, "max.message.bytes", str(16 << 20))
    loop.all_predicted()
    eventually(lambda: len(loop.letters()) > loop.poison(), "the dead letters come")
    letters = loop.letters()
    assert [x.value for x in letters if x.key == b"big"] == [big.value]
    assert len(letters) == loop.poison() + 1


def configure(bootstrap: str, topic: str, name: str, value: str) -> None:
    """Set one of a topic's settings."""
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    client = AdminClient({"bootstrap.servers": bootstrap})
    for future in client.incremental_alter_configs([resource]).values():
        future.result(30)


@contextmanager
def tiny_disk(directory: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own; only root can make one."""
    directory.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(directory)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small file system")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


@pytest.mark.slow
def test_a_full_disk_under_the_join_holds_it_until_there_is_room(
    kafka: str, tmp_path: Path
) -> None:
    with tiny_disk(tmp_path / "loop" / "state", 4) as disk:
        filler = disk / "filler"
        with small_loop(kafka, tmp_path / "loop", ["inference", "outcomes"]) as loop:
            loop.send()
            loop.all_joined()
            fill(filler)
            loop.send(labels=False)
            loop.send()
            stops_for_want_of_room(loop, "outcomes")
            filler.unlink()
            loop.send_labels(1)
            loop.all_joined(120.0)
            assert "Traceback" not in loop.log_of("outcomes")
            assert loop.metric("outcomes", STOPS, 'error="NoRoom"') >= 1
            free = loop.metric("outcomes", "driftloop_disk_free_bytes", 'directory="state"')
            assert 0 < free <= 4 << 20


@pytest.mark.slow
def test_a_full_disk_under_the_windows_holds_them_until_there_is_room(
    kafka: str, tmp_path: Path
) -> None:
    with tiny_disk(tmp_path / "loop" / "state", 4) as disk:
        filler = disk / "filler"
        with small_loop(kafka, tmp_path / "loop", ["inference", "featurestats"]) as loop:
            loop.send(labels=False)
            loop.all_predicted()
            fill(filler)
            stops_for_want_of_room(loop, "featurestats")
            filler.unlink()
            for _ in range(3):
                loop.send(labels=False)
            loop.all_predicted()
            rows = Counter(p.event_time // WINDOW_MS * WINDOW_MS for p in loop.predictions())
            # Of the last ones there may be more to come; some have none but rows that are too late.
            expected = {start for start in sorted(rows)[:-4] if rows[start] > 100}
            assert len(expected) > 4

            def given_out() -> bool:
                return expected <= {window.start for window in loop.windows()}

            eventually(given_out, "every window that is over is given out", 120.0)
            windows = loop.windows()
            assert len({(w.id, w.revision) for w in windows}) == len(windows)
            found = verify_windows(loop.log, read_catalog(loop.log, loop.settings.topics), windows)
            assert found.ok, found.details
            assert "Traceback" not in loop.log_of("featurestats")
            assert loop.metric("featurestats", STOPS, 'error="NoRoom"') >= 1


def stops_for_want_of_room(loop: SmallLoop, service: str) -> None:
    """Wait until it does, and says so. Some stores are written with a transaction, and only every
    30 s."""

    def said() -> bool:
        loop.send(labels=False)
        return "No space left" in loop.log_of(service)

    eventually(said, "the service says what is wrong", every_s=3.0)
    eventually(lambda: loop.restarts(service) > 0, "it stops for it")


def fill(filler: Path) -> None:
    """Take all the room there is."""
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return


def test_a_full_disk_under_the_artifacts_is_an_error_that_leaves_nothing(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "artifacts", 1) as disk:
        store = DirectoryStore(disk)
        with pytest.raises(ArtifactError, match="has room"):
            store.put("m", "1", "constant", {"prior": np.zeros(1 << 18)}, {})
        assert [path for path in disk.rglob("*") if path.is_file()] == []
        path, digest = store.put("m", "1", "constant", {"prior": np.zeros(1)}, {})
        assert store.get(path, digest)[0] == "constant"


@pytest.mark.slow
def test_a_transaction_that_times_out_is_made_again(kafka: str, tmp_path: Path) -> None:
    """The service stands still in the middle of a transaction for longer than one may last."""
    with small_loop(kafka, tmp_path, ["inference"]) as loop:
        loop.send(labels=False)
        loop.all_predicted()
        pid = freeze_in_transaction(loop)
        try:
            eventually(lambda: not loop.open_transaction(), "the broker aborts it", 80.0)
        finally:
            os.kill(pid, signal.SIGCONT)
        loop.all_predicted()
        said = loop.log_of("inference")
        assert "lasted longer than Kafka lets it" in said or "transaction was aborted" in said
        assert loop.metric("inference", ABORTS) + loop.metric("inference", STOPS) >= 1


def freeze_in_transaction(loop: SmallLoop) -> int:
    """SIGSTOP to inference such that a transaction is open; its process id."""
    pid = loop.pid("inference")
    for _ in range(60):
        loop.send(labels=False)
        for _ in range(20):
            os.kill(pid, signal.SIGSTOP)
            if loop.open_transaction():
                return pid
            os.kill(pid, signal.SIGCONT)
    pytest.fail("no transaction was open at any time")
