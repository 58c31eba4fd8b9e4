"""What Faust's recovery of a table is helped with (faust-streaming 0.15.3)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Literal

from typing_extensions import override

from driftloop.kernel.errors import LogUnavailableError

_STANDSTILL_S = 30.0


class RecoveryEnd(asyncio.Event):
    """Tells whoever waits for it that the table is restored, however late he comes.

    The task that reads the changelog sets Faust's own event and clears it again at once, on its
    next turn. The task that waits begins to only after it has started the fetching. Where the
    changelog was read in between, it waited for ever: the partitions were assigned, the group
    stable, and nothing read any more. Here the state decides that the event tells of.
    """

    def __init__(self, recovery: Any) -> None:
        super().__init__()
        self._recovery = recovery

    @override
    async def wait(self) -> Literal[True]:
        while self._recovery.in_recovery:
            self.clear()
            await super().wait()
        return True


class Fetching:
    """Lets a recovery seek only when no fetch is under way, and brings records of the stream only
    when it has been sought to where they are to be read from.

    A fetch waits for records for up to a second, in the consumer's thread. A rebalance empties the
    set of partitions it asks for, which it takes for all of them; while the flow is stopped what it
    brings is thrown away, and only the streams are sought back (nothing is committed for the
    changelog). A fetch still waiting from before a rebalance when the recovery sought to the
    changelog's start took the changelog's records with it: the recovery waited for ever.

    At the end of a recovery, too, the set is empty for a moment. What a fetch brought then was
    thrown away, what the next one brought was not, and the seek to the committed offsets came only
    after it: of the records that were read again nobody could know that the first had been lost.
    """

    def __init__(
        self,
        recovery: Any,
        consumer: Any,
        seek: Callable[[], Awaitable[None]],
        wanted: Callable[[Any], bool],
    ) -> None:
        """Takes the place of the consumer's fetching and of the recovery's seeking. ``seek`` is
        called when no fetch is under way and nothing fetched is left; records of partitions that
        are not ``wanted`` after a fetch are dropped, and must be sought back to."""
        self._fetch = consumer._getmany
        self._seek = recovery._seek_offsets
        self._before = seek
        self._wanted = wanted
        self._idle = asyncio.Event()
        self._idle.set()
        consumer._getmany = self._fetched
        recovery._seek_offsets = self._sought

    async def _fetched(self, active_partitions: Any, timeout: float) -> Any:
        self._idle.clear()
        try:
            await self._before()
            found = await self._fetch(active_partitions=active_partitions, timeout=timeout)
        finally:
            self._idle.set()
        return {source: records for source, records in found.items() if self._wanted(source)}

    async def _sought(self, *arguments: Any) -> None:
        # What waits here goes on after the fetching task has dropped what came: between the two
        # it awaits nothing.
        await self._idle.wait()
        await self._seek(*arguments)


class Standstill:
    """Notices a recovery that gets nowhere, for whatever other reason."""

    def __init__(self, recovery: Any) -> None:
        self._recovery = recovery
        self._state: Hashable = None
        self._since = 0.0

    def check(self, now: float) -> None:
        """``now``: monotonic seconds. Raises :class:`LogUnavailableError`: the restart of the
        service begins anew."""
        recovery = self._recovery
        state = (
            recovery.in_recovery,
            tuple(sorted(recovery.active_offsets.items(), key=str)),
            tuple(sorted(recovery.active_highwaters.items(), key=str)),
        )
        if state != self._state:
            self._state, self._since = state, now
        elif recovery.in_recovery and now - self._since > _STANDSTILL_S:
            raise LogUnavailableError(
                f"restoring the table has stood still for {_STANDSTILL_S:g} s at "
                f"{dict(recovery.active_offsets)} of {dict(recovery.active_highwaters)}"
            )
