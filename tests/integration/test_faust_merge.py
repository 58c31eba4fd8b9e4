"""The merge stage on a real Kafka."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faust.tables.recovery import Recovery
from faust.transport.consumer import Fetcher, ThreadDelegateConsumer

from driftloop.adapters.clock import SystemClock
from driftloop.adapters.faust import FaustTable, TableRecord, Work
from driftloop.adapters.kafka import KafkaLog
from driftloop.featurestats.idleness import MERGE
from driftloop.featurestats.stage import MergeStage
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.records import codec
from driftloop.kernel.errors import DriftloopError, LogUnavailableError, NoRoomError
from driftloop.kernel.ports import Send, TopicPartition, TopicSpec
from driftloop.kernel.records import DeadLetter, Partial, Window
from driftloop.kernel.stores import KeyValueStore
from driftloop.kernel.topics import ControlTopics
from full_store import FullStore
from window_builders import LATENESS, SIZE, catalog, declaration, partial

pytestmark = pytest.mark.kafka

CLOSE = SIZE + LATENESS
DEADLINE_S = 60.0


class NoListener:
    def on_assigned(self, partitions: object) -> dict[TopicPartition, int]:
        return {}

    def on_revoked(self, partitions: object) -> None: ...

    def on_lost(self, partitions: object) -> None: ...

    def on_skipped(self, source: object, position: int, start: int) -> None: ...


class Loop:
    """A set of control topics of its own, and what is on them."""

    def __init__(self, bootstrap: str, directory: Path) -> None:
        self.bootstrap = bootstrap
        self._directories = (directory / f"faust-{number}" for number in itertools.count())
        self.topics = ControlTopics(f"t{uuid.uuid4().hex[:8]}.", 2)
        self.log = KafkaLog(bootstrap)
        self.log.ensure_topics(self.topics.specs())
        self.catalog = Catalog(self.topics, lambda record: declaration())
        self.catalog.declare(declaration())
        self.catalog.declare(declaration("p"))
        self.catalog.versions.update(catalog(1).versions)
        self._writer = self.log.session(
            f"{self.topics.prefix}writer", [], instance="0", listener=NoListener()
        )

    def write(self, *partials: Partial) -> None:
        """In one transaction, which leaves a marker in every partition."""
        self.send(*((p.model, codec(Partial).encode(p)) for p in partials))

    def send(self, *values: tuple[str, bytes]) -> None:
        self._writer.begin()
        for model, value in values:
            partition = self.topics.partition(model)
            self._writer.send(Send(self.topics.partials, [b"k"], [value], partition))
        self._writer.commit({})

    def stage(self, idle_after_ms: int = 600_000, store: KeyValueStore | None = None) -> MergeStage:
        return MergeStage(
            self.catalog,
            self.log,
            SystemClock(),
            bootstrap=self.bootstrap,
            directory=next(self._directories),
            store=store,
            idle_after_ms=idle_after_ms,
        )

    def values(self, topic: str) -> list[bytes]:
        ends = self.log.end_offsets([topic])
        return [
            value
            for source, end in sorted(ends.items())
            for batch in self.log.read(source, 0, end)
            for value in batch.values
            if value is not None
        ]

    def windows(self) -> list[tuple[str, int]]:
        found = [codec(Window).decode(value) for value in self.values(self.topics.windows)]
        return [(window.id, window.revision) for window in found]

    def caught_up(self, *stages: MergeStage) -> bool:
        for stage in stages:
            stage.check()
        # Markers follow a commit one by one: until they are written, the stable end lies before.
        ends = self.log.end_offsets([self.topics.partials])
        if ends != self.log.high_watermarks([self.topics.partials]):
            return False
        positions = {s: o for stage in stages for s, o in stage.positions().items()}
        return all(s.ready and not s.busy for s in stages) and positions == ends

    def close(self) -> None:
        self._writer.close()
        self.log.close()


@pytest.fixture
def loop(kafka: str, tmp_path: Path) -> Iterator[Loop]:
    made = Loop(kafka, tmp_path)
    yield made
    made.close()
    assert not list(tmp_path.glob("faust-*"))


@contextlib.contextmanager
def running(stage: MergeStage) -> Iterator[MergeStage]:
    stage.start()
    try:
        yield stage
    finally:
        stage.stop()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        pause.wait(0.05)


def test_windows_close_once_and_positions_pass_markers(loop: Loop) -> None:
    loop.write(partial(0, watermark=50), partial(0, watermark=60, partition=1))
    with running(loop.stage()) as stage:
        wait_for(lambda: loop.caught_up(stage))
        assert loop.windows() == []
        loop.write(partial(100, watermark=CLOSE), partial(100, watermark=CLOSE, partition=1))
        wait_for(lambda: loop.caught_up(stage))
        assert loop.windows() == [("m/predictions/0/1/-", 0)]
    stage.check()


def test_a_restarted_stage_goes_on_and_repeats_nothing(loop: Loop) -> None:
    with running(loop.stage()) as stage:
        loop.write(partial(0, watermark=CLOSE), partial(100, watermark=130, partition=1))
        wait_for(lambda: loop.caught_up(stage))
    assert loop.windows() == [("m/predictions/0/1/-", 0)]
    loop.write(partial(0, watermark=130, end_offset=20, rows=7, late=4))
    with running(loop.stage()) as stage:
        wait_for(lambda: loop.caught_up(stage))
        closing = [partial(300, watermark=330, partition=p) for p in (0, 1)]
        loop.write(*closing)
        wait_for(lambda: loop.caught_up(stage))
    assert loop.windows() == [
        ("m/predictions/0/1/-", 0),
        ("m/predictions/0/1/-", 1),
        ("m/predictions/100/1/-", 0),
    ]


def test_a_restarted_stage_reads_no_window_that_its_table_knows(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition = loop.topics.partition("m")
    windows = TopicPartition(loop.topics.windows, partition)
    read: list[tuple[int, int]] = []
    plain = loop.log.read

    def noting(source: TopicPartition, start: int, end: int) -> Any:
        if source == windows:
            read.append((start, end))
        return plain(source, start, end)

    for watermark in (CLOSE, CLOSE + SIZE):
        with running(loop.stage()) as stage:
            loop.write(*(partial(0, watermark=watermark, partition=p) for p in (0, 1)))
            loop.write(*(partial(SIZE, watermark=watermark, partition=p) for p in (0, 1)))
            wait_for(lambda: loop.caught_up(stage))
    assert len(loop.windows()) == 2
    monkeypatch.setattr(loop.log, "read", noting)
    with running(loop.stage()) as stage:
        wait_for(lambda: stage.ready)
    (end,) = {loop.log.end_offsets([windows.topic])[windows]}
    assert read == [(end, end)]


def test_a_second_stage_takes_over_half_and_gives_it_back(loop: Loop) -> None:
    assert loop.topics.partition("m") != loop.topics.partition("p")

    def both(start: int, watermark: int) -> None:
        loop.write(
            *(
                partial(start, watermark=watermark, partition=p, model=model)
                for model in ("m", "p")
                for p in (0, 1)
            )
        )

    def closed(*starts: int) -> list[tuple[str, int]]:
        return sorted((f"{m}/predictions/{s}/1/-", 0) for m in ("m", "p") for s in starts)

    with running(loop.stage()) as first:
        both(0, 50)
        wait_for(lambda: loop.caught_up(first))
        with running(loop.stage()) as second:
            wait_for(lambda: len(second.positions()) == 1 and loop.caught_up(first, second))
            both(100, CLOSE)
            wait_for(lambda: loop.caught_up(first, second))
            assert sorted(loop.windows()) == closed(0)
        wait_for(lambda: len(first.positions()) == 2)
        both(200, 100 + CLOSE)
        wait_for(lambda: loop.caught_up(first))
    assert sorted(loop.windows()) == closed(0, 100)


def test_a_fetch_from_before_a_rebalance_takes_nothing_from_the_changelog(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer comes between the seek to the changelog's start and the flow's resuming, if the
    recovery does not wait for it."""
    fetch, seek = ThreadDelegateConsumer._getmany, Recovery._seek_offsets
    sought: dict[Any, asyncio.Event] = defaultdict(asyncio.Event)
    answered: dict[Any, asyncio.Event] = defaultdict(asyncio.Event)

    async def late(consumer: Any, active_partitions: Any, timeout: float) -> Any:
        sought[consumer.app].clear()
        answered[consumer.app].clear()
        records = await fetch(consumer, active_partitions, timeout)
        if records or consumer.flow_active:
            return records
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(sought[consumer.app].wait(), 2.0)
        # What is done in the consumer's thread when a fetch that waits there wakes up.
        thread = consumer._thread
        fetcher = thread._ensure_consumer()._fetcher
        try:
            return await thread.call_thread(
                fetcher.fetched_records, active_partitions, timeout=timeout
            )
        finally:
            answered[consumer.app].set()

    async def slow(recovery: Any, *arguments: Any) -> None:
        await seek(recovery, *arguments)
        sought[recovery.app].set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(answered[recovery.app].wait(), 0.5)

    monkeypatch.setattr(ThreadDelegateConsumer, "_getmany", late)
    monkeypatch.setattr(Recovery, "_seek_offsets", slow)
    with running(loop.stage()) as first:
        loop.write(partial(0, watermark=50), partial(0, watermark=50, model="p"))
        wait_for(lambda: loop.caught_up(first))
        with running(loop.stage()) as second:
            wait_for(lambda: len(second.positions()) == 1 and loop.caught_up(first, second))


def test_a_table_restored_before_anyone_waits_for_it_is_restored(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the start of the fetching and the waiting for its end lies time enough to read the
    changelog to its end."""
    with running(loop.stage()) as stage:
        loop.write(partial(0, watermark=50), partial(0, watermark=50, partition=1))
        wait_for(lambda: loop.caught_up(stage))
    start = Fetcher.maybe_start

    async def late(fetcher: Fetcher) -> bool:
        started = await start(fetcher)
        async with asyncio.timeout(DEADLINE_S):
            while fetcher.app.tables.recovery.in_recovery:
                await asyncio.sleep(0)
        return bool(started)

    monkeypatch.setattr(Fetcher, "maybe_start", late)
    with running(loop.stage()) as stage:
        wait_for(lambda: loop.caught_up(stage))
        loop.write(partial(100, watermark=CLOSE), partial(100, watermark=CLOSE, partition=1))
        wait_for(lambda: loop.caught_up(stage))
    assert loop.windows() == [("m/predictions/0/1/-", 0)]


def test_a_full_disk_while_the_table_is_restored_stops_the_stage(loop: Loop) -> None:
    """Faust logs what it is raised there, and reads on."""
    with running(loop.stage()) as stage:
        loop.write(*(partial(100 * k, watermark=50, partition=p) for k in range(9) for p in (0, 1)))
        wait_for(lambda: loop.caught_up(stage))
    store = FullStore()
    with running(loop.stage(store=store)) as stage, pytest.raises(NoRoomError, match="no room"):
        wait_for(lambda: stage.check() is not None)  # type: ignore[func-returns-value]
    assert store.asked == 1


def test_what_is_no_partial_becomes_a_dead_letter(loop: Loop) -> None:
    with running(loop.stage()) as stage:
        loop.send(("m", b"no partial at all"))
        wait_for(lambda: loop.caught_up(stage))
    (letter,) = [codec(DeadLetter).decode(v) for v in loop.values(loop.topics.dead_letters)]
    assert (letter.value, letter.reason) == (b"no partial at all", "not_avro")


def test_what_is_large_becomes_a_dead_letter_too(loop: Loop) -> None:
    large = bytes(range(1, 256)) * (12 << 12)
    with running(loop.stage()) as stage:
        loop.send(("m", large))
        wait_for(lambda: loop.caught_up(stage))
        loop.write(partial(0, watermark=CLOSE), partial(0, watermark=CLOSE, partition=1))
        wait_for(lambda: loop.caught_up(stage))
    (letter,) = [codec(DeadLetter).decode(v) for v in loop.values(loop.topics.dead_letters)]
    assert letter.value == large
    assert loop.windows() == [("m/predictions/0/1/-", 0)]


class FailingWork:
    """Raises at the first record."""

    def partition_of(self, key: bytes) -> int:
        return 0

    def gained(self, partition: int, entries: object) -> int:
        return 0

    def lost(self, partition: int) -> None: ...

    def written(self, offsets: object) -> dict[bytes, bytes | None]:
        return {}

    def process(self, records: list[TableRecord]) -> Work:
        raise DriftloopError("this work fails")

    def on_time(self) -> Work:
        return Work()


def test_failing_work_stops_the_app_uncommitted(loop: Loop, tmp_path: Path) -> None:
    group = loop.topics.group(MERGE)
    name = FaustTable.changelog(group, "t")
    loop.log.ensure_topics([TopicSpec(name, 2, {"cleanup.policy": "compact"})])
    loop.write(partial(0, watermark=0))
    table = FaustTable(
        FailingWork(),
        bootstrap=loop.bootstrap,
        group=group,
        topic=loop.topics.partials,
        table="t",
        partitions=2,
        directory=tmp_path,
    )
    with pytest.raises(DriftloopError, match="this work fails"):
        until_it_fails(table)
    table.stop()
    assert loop.log.committed(group, [loop.topics.partials]) == {}


def test_a_kafka_that_is_gone_is_told_as_that(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        bootstrap = f"127.0.0.1:{server.getsockname()[1]}"
    table = FaustTable(
        FailingWork(),
        bootstrap=bootstrap,
        group="g",
        topic="p",
        table="t",
        partitions=2,
        directory=tmp_path,
    )

    with pytest.raises(LogUnavailableError, match="Unable to bootstrap from"):
        until_it_fails(table)
    table.stop()


def until_it_fails(table: FaustTable) -> None:
    table.start()
    wait_for(lambda: table.check() is not None)  # type: ignore[func-returns-value]


def test_partitions_that_kafka_did_not_know_stop_the_app(loop: Loop, tmp_path: Path) -> None:
    """As after a broker's restart, when the leader's metadata lacks some or all of them."""
    group = loop.topics.group(MERGE)
    name = FaustTable.changelog(group, "t")
    loop.log.ensure_topics([TopicSpec(name, 2, {"cleanup.policy": "compact"})])
    table = FaustTable(
        FailingWork(),
        bootstrap=loop.bootstrap,
        group=group,
        topic=loop.topics.partials,
        table="t",
        partitions=3,
        directory=tmp_path,
    )
    table.start()
    with pytest.raises(LogUnavailableError, match=r"1 of 3 partitions .* assigned to nobody"):
        wait_for(lambda: table.check() is not None)  # type: ignore[func-returns-value]
    table.stop()
