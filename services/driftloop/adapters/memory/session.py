"""A group member of the memory log."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from driftloop.adapters.memory.storage import Group, Storage
from driftloop.kernel.companions import Companions
from driftloop.kernel.errors import FencedError, LogError
from driftloop.kernel.ports import AssignmentListener, RecordBatch, Send, TopicPartition


class MemorySession:
    """See :class:`driftloop.kernel.ports.Session`."""

    def __init__(
        self,
        storage: Storage,
        group: Group,
        topics: Sequence[str],
        instance: str,
        listener: AssignmentListener,
        companions: Callable[[str], Sequence[str]],
    ) -> None:
        self.topics = tuple(topics)
        self.instance = instance
        self.fenced = False
        self._storage = storage
        self._group = group
        self._listener = listener
        self._companions = Companions(companions)
        self._positions: dict[TopicPartition, int] = {}
        self._leads: set[TopicPartition] = set()
        self._staged: list[Send] | None = None
        self._turn = 0
        for member in list(group.members):
            if member.instance == instance:
                member.fence()
        group.members.append(self)

    def subscribe(self, topics: Sequence[str]) -> None:
        self.topics = tuple(topics)

    def poll(self, limit: int, timeout_s: float) -> Sequence[RecordBatch]:
        self._check()
        self._rebalance()
        batches = []
        sources = sorted(self._positions)
        # Start with another partition each time, so that none starves the others.
        self._turn += 1
        for index in range(len(sources)):
            source = sources[(index + self._turn) % len(sources)]
            partition = self._storage.partition(source)
            batch = partition.slice(source, self._positions[source], partition.end, limit)
            if batch is None:
                self._positions[source] = max(self._positions[source], partition.end)
                continue
            limit -= len(batch)
            self._positions[source] = partition.after(batch)
            batches.append(batch)
            if limit <= 0:
                break
        return batches

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(self._positions)

    def positions(self) -> Mapping[TopicPartition, int]:
        return dict(self._positions)

    def seek(self, positions: Mapping[TopicPartition, int]) -> None:
        for source, offset in positions.items():
            if source in self._positions:
                self._positions[source] = offset

    def begin(self) -> None:
        self._check()
        if self._staged is not None:
            raise LogError("a transaction is open already")
        self._staged = []

    def send(self, send: Send) -> None:
        if self._staged is None:
            raise LogError("no transaction is open")
        self._staged.append(send)

    def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        self._check()
        if self._staged is None:
            raise LogError("no transaction is open")
        stray = [source for source in positions if source not in self._positions]
        if stray:
            self._staged = None
            raise LogError(f"{stray[0]} is not assigned to this member; the transaction is aborted")
        touched: set[TopicPartition] = set()
        for send in self._staged:
            touched |= self._storage.append(send)
        for source in touched:
            self._storage.partition(source).mark()
        self._group.committed.update(positions)
        self._staged = None

    def abort(self) -> None:
        self._staged = None

    def close(self) -> None:
        if self.fenced:
            return
        self._release(set(self._leads), self._listener.on_revoked)
        self._staged = None
        if self in self._group.members:
            self._group.members.remove(self)

    def fence(self) -> None:
        """Another process of the same name took over: this one can commit nothing any more."""
        self.fenced = True
        self._staged = None
        self._group.members.remove(self)
        for lead in self._leads:
            self._group.owners.pop(lead, None)

    def _check(self) -> None:
        if self.fenced:
            raise FencedError(f"another process named {self.instance!r} took over; this one stops")

    def _rebalance(self) -> None:
        targets = self._storage.targets(self._group)
        mine = {source for source, member in targets.items() if member is self}
        leaving = self._leads - mine
        if leaving:
            self._release(leaving, self._listener.on_revoked)
        free = sorted(source for source in mine - self._leads if source not in self._group.owners)
        if not free:
            return
        for lead in free:
            self._group.owners[lead] = self
        self._leads.update(free)
        gained = self._companions.gain(free)
        starts = self._listener.on_assigned(gained)
        for source in gained:
            committed = self._group.committed.get(source, 0)
            self._positions[source] = starts.get(source, committed)

    def _release(
        self, leads: set[TopicPartition], tell: Callable[[Sequence[TopicPartition]], None]
    ) -> None:
        leaving = self._companions.leave(sorted(leads))
        if leaving:
            tell(leaving)
        for source in leaving:
            self._positions.pop(source, None)
        for lead in leads:
            self._group.owners.pop(lead, None)
        self._leads -= leads
