"""A recovery of Faust's is over when it is over, and one that stands still is noticed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from driftloop.adapters.faust.restoring import RecoveryEnd, Standstill
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
