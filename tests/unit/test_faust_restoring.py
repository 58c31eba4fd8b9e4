"""A recovery of Faust's is over when it is over, and one that stands still is noticed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from aiokafka.errors import IllegalStateError
from faust.types import TP

from driftloop.adapters.faust import FaustTable
from driftloop.adapters.faust.restoring import Fetching, RecoveryEnd, Standstill
from driftloop.adapters.faust.work import TableWork
from driftloop.kernel.errors import LogUnavailableError
from driftloop.kernel.ports import TopicPartition


@dataclass
class Recovery:
    in_recovery: bool = True
    active_offsets: dict[str, int] = field(default_factory=lambda: {"t/0": 1})
    active_highwaters: dict[str, int] = field(default_factory=lambda: {"t/0": 9})


def test_an_end_told_and_cleared_before_anyone_waits_is_known() -> None:
    async def scenario() -> bool:
        recovery = Recovery()
        end = RecoveryEnd(recovery)
        recovery.in_recovery = False
        end.set()
        end.clear()
        return await asyncio.wait_for(end.wait(), 5.0)

    assert asyncio.run(scenario())


def test_an_end_told_while_someone_waits_wakes_him_and_a_false_one_does_not() -> None:
    async def scenario() -> list[bool]:
        recovery = Recovery()
        end = RecoveryEnd(recovery)
        waiting = asyncio.create_task(end.wait())
        seen = []
        for over in (False, True):
            await asyncio.sleep(0)
            recovery.in_recovery = not over
            end.set()
            end.clear()
            for _ in range(3):
                await asyncio.sleep(0)
            seen.append(waiting.done())
        return seen

    assert asyncio.run(scenario()) == [False, True]


TABLE, STREAM = TopicPartition("table", 0), TopicPartition("stream", 0)


class Consumer:
    """Like Faust's: what was fetched is behind it, whoever took it."""

    def __init__(self) -> None:
        self.records = {TABLE: list(range(4)), STREAM: list(range(9))}
        self.positions = {TABLE: 0, STREAM: 0}

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:
        found = {}
        for source, position in self.positions.items():
            found[source] = self.records[source][position : position + 2]
            self.positions[source] += len(found[source])
        return found


def test_a_stream_is_read_from_where_it_is_sought_to_whatever_was_fetched_before() -> None:
    async def scenario() -> list[Any]:
        consumer, recovery = Consumer(), Mock()
        started: set[TopicPartition] = set()
        due: list[int] = []

        async def seek() -> None:
            for offset in due:
                await asyncio.sleep(0)
                consumer.positions[STREAM] = offset
                started.add(STREAM)
            due.clear()

        Fetching(recovery, consumer, seek, lambda source: source == TABLE or source in started)
        found = [await consumer._getmany({TABLE}, 1.0) for _ in range(2)]
        assert consumer.positions[STREAM] == 4
        due.append(1)
        return [*found, *[await consumer._getmany({STREAM}, 1.0) for _ in range(2)]]

    assert asyncio.run(scenario()) == [
        {TABLE: [0, 1]},
        {TABLE: [2, 3]},
        {TABLE: [], STREAM: [1, 2]},
        {TABLE: [], STREAM: [3, 4]},
    ]


def test_a_recovery_seeks_when_no_fetch_is_under_way() -> None:
    async def scenario() -> list[str]:
        seen: list[str] = []
        go_on = asyncio.Event()

        async def fetch(active_partitions: Any, timeout: float) -> Any:
            await go_on.wait()
            seen.append("fetched")
            return {}

        async def seek(*arguments: Any) -> None:
            seen.append("sought")

        async def nothing() -> None: ...

        consumer, recovery = Mock(_getmany=fetch), Mock(_seek_offsets=seek)
        Fetching(recovery, consumer, nothing, lambda source: True)
        fetching = asyncio.create_task(consumer._getmany(set(), 1.0))
        await asyncio.sleep(0)
        seeking = asyncio.create_task(recovery._seek_offsets())
        await asyncio.sleep(0)
        assert seen == []
        go_on.set()
        await asyncio.gather(fetching, seeking)
        return seen

    assert asyncio.run(scenario()) == ["fetched", "sought"]


def test_a_recovery_that_stands_still_is_an_error_and_one_that_gets_on_is_none() -> None:
    recovery = Recovery()
    standstill = Standstill(recovery)
    for now in range(0, 200, 10):
        recovery.active_offsets["t/0"] += 1
        standstill.check(float(now))
    standstill.check(219.0)
    with pytest.raises(LogUnavailableError, match="stood still for 30 s"):
        standstill.check(221.0)
    recovery.in_recovery = False
    standstill.check(222.0)
    standstill.check(999.0)


def table_of(rebalancing: bool = False) -> FaustTable:
    table = FaustTable(
        Mock(TableWork),
        bootstrap="",
        group="g",
        topic="t",
        table="w",
        partitions=2,
        directory=Path("unused"),
    )
    table._app = Mock(rebalancing=rebalancing)
    table._gained = {0: 7, 1: 0}
    return table


def wanted(table: FaustTable) -> list[int]:
    return [p for p in range(2) if table._is_wanted(TopicPartition("t", p))]


def test_partitions_are_read_once_they_have_been_sought_to_their_offsets() -> None:
    table = table_of()
    sought: list[dict[TP, int]] = []

    async def seek_wait(offsets: dict[TP, int]) -> None:
        assert wanted(table) == []
        sought.append(offsets)

    table._app.consumer.seek_wait = seek_wait
    for _ in range(2):
        asyncio.run(table._open())
    assert sought == [{TP("t", 0): 7, TP("t", 1): 0}]
    assert wanted(table) == [0, 1]
    assert table._is_wanted(TopicPartition("changelog", 5))


@pytest.mark.parametrize("fails", [False, True])
def test_partitions_that_leave_while_they_are_sought_are_not_read(fails: bool) -> None:
    table = table_of()

    async def seek_wait(offsets: dict[TP, int]) -> None:
        table._app.rebalancing = True
        if fails:
            raise IllegalStateError("t/1 is not assigned")
        await table._on_revoked(table._app, set())

    table._app.consumer.seek_wait = seek_wait
    asyncio.run(table._open())
    assert wanted(table) == []
    table._app.consumer.seek_wait = Mock(side_effect=AssertionError)
    table._gained = {0: 7}
    asyncio.run(table._open())
