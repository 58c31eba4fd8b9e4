"""A recovery of Faust's is over when it is over, and one that stands still is noticed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from mode.utils.queues import FlowControlQueue

from driftloop.adapters.faust import FaustTable
from driftloop.adapters.faust.restoring import Flow, RecoveryEnd, Standstill
from driftloop.adapters.faust.work import TableWork
from driftloop.kernel.errors import LogUnavailableError


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


def test_resuming_a_flow_clears_the_queues_only_where_it_was_suspended() -> None:
    flow = Flow()
    queue: FlowControlQueue[str] = FlowControlQueue(flow_control=flow, clear_on_resume=True)
    queue.put_nowait("read before the partitions were given back")
    flow.resume()
    assert queue.empty()
    queue.put_nowait("read since")
    flow.resume()
    assert queue.get_nowait() == "read since"
    flow.suspend()
    queue.put_nowait("read by another generation")
    flow.resume()
    assert queue.empty()


def test_a_record_read_before_and_after_a_seek_is_taken_once() -> None:
    async def scenario() -> list[tuple[int, int]]:
        table = FaustTable(
            Mock(TableWork),
            bootstrap="",
            group="g",
            topic="t",
            table="w",
            partitions=2,
            directory=Path("unused"),
        )

        async def events() -> AsyncIterator[Any]:
            for offset in (3, 4, 3, 4, 6):
                message = Mock(partition=0, offset=offset, timestamp=0.0, key=b"", value=b"")
                yield Mock(message=message)
            yield Mock(message=Mock(partition=1, offset=0, timestamp=0.0, key=b"", value=b""))

        await table._take(Mock(events=events))
        return [(record.partition, record.offset) for record in table._buffer]

    assert asyncio.run(scenario()) == [(0, 3), (0, 4), (0, 6), (1, 0)]
