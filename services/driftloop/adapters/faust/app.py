"""A Faust app that keeps a changelog-backed table beside one topic.

What Faust does here: group membership and rebalances, fetching, the table's recovery from its
changelog, producing. What it is not trusted with (faust-streaming 0.15.3):

- Acknowledging. Streams ack in ``finally``, also when the work failed, and the offsets between two
  records (transaction markers, compaction) pile up in its bookkeeping. The topic is therefore
  declared with ``acks=False``, and offsets are committed here, after everything that was made of
  the records has been acknowledged by the broker.
- ``take()``. It acks on its own and keeps records across a rebalance. The agent only puts records
  into a buffer, which a rebalance empties.
- Writing the table through its mapping interface, which needs a current event and does not wait.
  Entries are sent to the changelog, awaited, and then put where the table's entries lie.
- Keeping the table. Its stores are a dictionary, or one RocksDB per partition, whose offsets this
  module could not keep right; see ``adapters.faust.entries``.
- Restarting failed agents. A failure stops the app, uncommitted, and is raised by
  :meth:`FaustTable.check`.
- Assigning. The leader shares out the partitions its metadata has at that moment. Just after a
  broker's restart that may be none, and the group would rest so for ever: an assignment that leaves
  partitions out stops the app.
- Restoring. A fetch from before a rebalance could swallow the changelog, the signal that it is
  done could be missed, and records that came just then were lost or came twice; see
  ``adapters.faust.restoring``. The topic is read from an offset that is sought here, when the
  table is restored.

Reads are uncommitted: records of aborted transactions are seen too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import faust
from aiokafka.errors import IllegalStateError, KafkaError
from faust.types import TP

from driftloop.adapters.faust.entries import FaustStore, TableEntries
from driftloop.adapters.faust.restoring import Fetching, RecoveryEnd, Standstill
from driftloop.adapters.faust.settings import app_settings
from driftloop.adapters.faust.work import TableRecord, TableWork, Work
from driftloop.kernel.errors import LogError, LogUnavailableError
from driftloop.kernel.ports import TopicPartition
from driftloop.kernel.stores import KeyValueStore, MemoryStore

_log = logging.getLogger(__name__)

_RAW = {
    "key_type": bytes,
    "value_type": bytes,
    "key_serializer": "raw",
    "value_serializer": "raw",
}

_BUFFERED = 1024
"""Records taken from Faust ahead of the work."""

_ACK_DEADLINE_S = 30.0
_START_DEADLINE_S = 60.0


class FaustTable:
    """Runs the app in a thread of its own, from :meth:`start` to :meth:`stop`."""

    def __init__(
        self,
        work: TableWork,
        *,
        bootstrap: str,
        group: str,
        topic: str,
        table: str,
        partitions: int,
        directory: Path,
        store: KeyValueStore | None = None,
        options: Mapping[str, str] | None = None,
        tick_s: float = 0.1,
    ) -> None:
        """``group`` is Faust's app id; ``partitions`` are those of ``topic``. ``directory``: Faust
        makes it though it keeps nothing there; deleted at the end. ``store``: for the table's
        entries; empty, and nobody else's; by default in memory."""
        self._work = work
        self._entries = TableEntries(MemoryStore() if store is None else store)
        self._bootstrap = bootstrap
        self._group = group
        self._topic = topic
        self._table_name = table
        self._partitions = partitions
        self._directory = directory
        self._options = options or {}
        self._tick_s = tick_s
        self._thread = threading.Thread(target=self._run, name=f"faust {group}", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._stopping = asyncio.Event()
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()
        self._working = asyncio.Lock()
        self._buffer: list[TableRecord] = []
        self._epoch = 0
        self._gained: dict[int, int] = {}
        """Partitions whose entries are restored, and where they are read from."""
        self._opened: set[int] = set()
        """Those that have been sought there since the rebalance."""
        self._positions: dict[int, int] = {}
        self._ready = False
        self._left_out = 0
        """Partitions that the newest assignment by this member forgot."""

    def start(self) -> None:
        """Raises what the app failed of, if it cannot be built."""
        self._thread.start()
        if not self._started.wait(_START_DEADLINE_S):
            raise LogUnavailableError(f"Faust app {self._group!r} did not start")
        self.check()

    def stop(self) -> None:
        """Finish the work under way, commit it, leave the group. May be called twice."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has closed by itself
                self._loop.call_soon_threadsafe(self._stopping.set)
        if self._thread.is_alive():
            self._thread.join()

    def check(self) -> None:
        """Raise the failure that stopped the app, if one did."""
        if self._failure is not None:
            raise self._failure

    @property
    def ready(self) -> bool:
        """Whether partitions are assigned (or there are none for this member) and restored."""
        return self._ready

    @property
    def busy(self) -> bool:
        """Whether records are taken but not committed."""
        return bool(self._buffer) or self._working.locked()

    @property
    def gained(self) -> frozenset[int]:
        """The partitions whose entries are restored."""
        return frozenset(self._gained)

    def positions(self) -> Mapping[TopicPartition, int]:
        """The offset after the last committed record, of the partitions where there was one."""
        positions = dict(self._positions)
        return {TopicPartition(self._topic, p): offset for p, offset in positions.items()}

    @staticmethod
    def changelog(group: str, table: str) -> str:
        """The name Faust gives a table's changelog topic: made, compacted, before the start."""
        return f"{group}-{table}-changelog"

    # In the thread.

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except KafkaError as error:
            failure = LogUnavailableError(f"Faust app {self._group!r} cannot go on: {error}")
            failure.__cause__ = error
            self._failure = failure
        except BaseException as error:
            self._failure = error
        finally:
            self._ready = False
            self._started.set()
            shutil.rmtree(self._directory, ignore_errors=True)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        settings = app_settings(self._bootstrap, self._directory, self._options, self._partitions)
        self._app: Any = faust.App(self._group, **settings)
        topic = self._app.topic(self._topic, acks=False, **_RAW)
        self._table: Any = self._app.Table(
            self._table_name,
            partitions=self._partitions,
            store="memory://",
            key_type=bytes,
            value_type=bytes,
        )
        self._table._data = self._store()
        self._app.agent(topic, name=f"{self._group}-{self._table_name}")(self._take)
        recovery = self._app.tables.recovery
        recovery._signal_recovery_end = RecoveryEnd(recovery)
        Fetching(recovery, self._app.consumer, self._open, self._is_wanted)
        self._restoring = Standstill(recovery)
        self._app.on_partitions_revoked.connect(self._on_revoked, weak=False)
        assign = self._app.assignor.assign
        self._app.assignor.assign = lambda *arguments: self._checked(assign(*arguments))
        tasks = [
            asyncio.create_task(coroutine)
            for coroutine in (self._app_until_it_ends(), self._work_on(), self._stopping.wait())
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            self._stopping.set()
            for task in done:
                task.result()
            await tasks[1]
        finally:
            self._ready = False
            self._epoch += 1
            await self._app.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _store(self) -> FaustStore:
        made = FaustStore("memory://", self._app, self._table, table_name=self._table_name)
        made.entries = self._entries
        return made

    def _checked(self, shares: Mapping[str, Any]) -> Mapping[str, Any]:
        """What this member, as the group's leader, gives to each member."""
        shared = {
            partition
            for share in shares.values()
            for topic, partitions in share.assignment
            if topic == self._topic
            for partition in partitions
        }
        self._left_out = self._partitions - len(shared)
        return shares

    async def _app_until_it_ends(self) -> None:
        await self._app.start()
        self._started.set()
        await self._app.wait_until_stopped()
        if not self._stopping.is_set():
            reason = self._app.crash_reason or LogError(f"Faust app {self._group!r} ended")
            raise reason

    async def _take(self, stream: Any) -> None:
        async for event in stream.events():
            message = event.message
            record = TableRecord(
                message.partition,
                message.offset,
                int(message.timestamp * 1000),
                message.key,
                message.value,
            )
            epoch = self._epoch
            while len(self._buffer) >= _BUFFERED:
                self._taken.clear()
                await self._taken.wait()
            if epoch == self._epoch:
                self._buffer.append(record)
                self._arrived.set()

    async def _open(self) -> None:
        """Have partitions read from where they are to be. Of what was fetched of them before,
        nothing was taken."""
        due = {p: offset for p, offset in self._gained.items() if p not in self._opened}
        if not due or self._app.rebalancing:
            return
        epoch = self._epoch
        offsets = {TP(self._topic, partition): offset for partition, offset in due.items()}
        try:
            await self._app.consumer.seek_wait(offsets)
        except IllegalStateError as error:
            # A rebalance took them; the fetching must live on.
            _log.info("%s: %s", self._topic, error)
            return
        if epoch == self._epoch:
            self._opened.update(due)

    def _is_wanted(self, source: Any) -> bool:
        return source.topic != self._topic or source.partition in self._opened

    async def _on_revoked(self, app: Any, revoked: Any, **arguments: Any) -> None:
        """Finish the work under way, which still belongs to this member; drop the rest."""
        self._ready = False
        self._epoch += 1
        self._buffer.clear()
        self._opened.clear()
        self._taken.set()
        async with self._working:
            for partition in sorted(self._gained):
                await self._blocking(self._work.lost, partition)
            self._gained.clear()
            self._positions.clear()

    async def _work_on(self) -> None:
        while not self._stopping.is_set():
            await _first(self._arrived.wait(), self._stopping.wait(), timeout=self._tick_s)
            self._arrived.clear()
            if self._left_out:
                raise LogUnavailableError(
                    f"{self._left_out} of {self._partitions} partitions of {self._topic} were "
                    "assigned to nobody: Kafka did not know them just then"
                )
            self._entries.check()
            self._restoring.check(asyncio.get_running_loop().time())
            async with self._working:
                if self._app.tables.actives_ready and not self._app.rebalancing:
                    await self._step()

    async def _step(self) -> None:
        epoch = self._epoch
        await self._gain()
        records, self._buffer = self._buffer, []
        self._taken.set()
        if records:
            await self._carry_out(await self._blocking(self._work.process, records))
        await self._carry_out(await self._blocking(self._work.on_time))
        positions = {record.partition: record.offset + 1 for record in records}
        if positions and await self._commit(positions) and epoch == self._epoch:
            self._positions.update(positions)
        self._ready = epoch == self._epoch

    async def _gain(self) -> None:
        assigned = {
            tp.partition for tp in self._app.consumer.assignment() if tp.topic == self._topic
        }
        await self._blocking(self._entries.keep, assigned)
        for partition in sorted(assigned - self._gained.keys()):
            entries = self._entries.of(partition)
            self._gained[partition] = await self._blocking(self._work.gained, partition, entries)
            _log.info("%s/%d: restored", self._topic, partition)

    async def _carry_out(self, work: Work) -> None:
        """In this order: what a table says was written must have been."""
        acknowledgements = []
        for send in work.sends:
            topic = self._app.topic(send.topic, **_RAW)
            for key, value in zip(send.keys, send.values, strict=True):
                sent = await topic.send(key=key, value=value, partition=send.partition, force=True)
                acknowledgements.append(sent)
        offsets: dict[TopicPartition, int] = {}
        for written in await self._acknowledged(acknowledgements):
            source = TopicPartition(written.topic, written.partition)
            offsets[source] = max(written.offset, offsets.get(source, 0))
        await self._change(work.entries)
        if offsets:
            await self._change(self._work.written(offsets))

    async def _change(self, entries: Mapping[bytes, bytes | None]) -> None:
        """Of the table."""
        changelog = self._table.changelog_topic
        acknowledgements = []
        changes: dict[int, dict[bytes, bytes | None]] = {}
        for key, value in entries.items():
            partition = self._work.partition_of(key)
            changes.setdefault(partition, {})[key] = value
            sent = await changelog.send(
                key=key,
                value=value,
                partition=partition,
                key_serializer="raw",
                value_serializer="raw",
                force=True,
            )
            acknowledgements.append(sent)
        await self._acknowledged(acknowledgements)
        for partition, changed in changes.items():
            await self._blocking(self._entries.write, partition, changed)

    async def _acknowledged(self, sent: Sequence[Awaitable[Any]]) -> Sequence[Any]:
        """Where each was written."""
        if not sent:
            return ()
        try:
            return await asyncio.wait_for(asyncio.gather(*sent), _ACK_DEADLINE_S)
        except TimeoutError as error:
            raise LogUnavailableError(
                f"Kafka did not acknowledge {len(sent)} records of {self._group!r} "
                f"in {_ACK_DEADLINE_S:g} s"
            ) from error

    async def _commit(self, positions: Mapping[int, int]) -> bool:
        """Whether it was done: not when a rebalance came between."""
        offsets = {TP(self._topic, p): offset for p, offset in positions.items()}
        committed: bool = await self._app.consumer._commit(offsets)
        return committed

    async def _blocking(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


async def _first(*coroutines: Coroutine[Any, Any, Any], timeout: float) -> None:
    """Wait for one of them, at most ``timeout`` s."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
