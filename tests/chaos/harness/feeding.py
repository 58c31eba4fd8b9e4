"""A service on a log in memory whose input are batches exactly as they are given, and whose output
is handed out: what is left in memory is the service's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from typing_extensions import override

from driftloop.adapters.clock import ManualClock
from driftloop.adapters.memory import MemoryLog
from driftloop.adapters.memory.session import MemorySession
from driftloop.adapters.memory.storage import Group
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.declaration_toml import declaration_of
from driftloop.kernel.metrics import NullMeter
from driftloop.kernel.pipeline import Inline
from driftloop.kernel.ports import AssignmentListener, RecordBatch, Send, TopicPartition
from driftloop.kernel.service import Context, Service

from .corpus import Corpus

_TURN_MS = 31_000
"""From one batch to the next: longer than anything waits to be flushed or written."""
_MOST_STEPS = 200


class FedLog(MemoryLog):
    """Its sessions read what is put into ``queued`` and leave what they write in ``written``."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.queued: list[RecordBatch] = []
        self.written: list[Send] = []

    @override
    def session(
        self,
        group: str,
        topics: Sequence[str],
        *,
        instance: str,
        listener: AssignmentListener,
        companions: Callable[[str], Sequence[str]] = lambda topic: (),
    ) -> MemorySession:
        joined = self._storage.groups.setdefault(group, Group())
        made = _FedSession(self._storage, joined, topics, instance, listener, companions)
        made.log = self
        return made


class _FedSession(MemorySession):
    log: FedLog

    @override
    def poll(self, limit: int, timeout_s: float) -> Sequence[RecordBatch]:
        super().poll(limit, timeout_s)  # partitions are assigned
        mine: list[RecordBatch] = []
        others: list[RecordBatch] = []
        for batch in self.log.queued:
            (mine if batch.source in self._positions else others).append(batch)
        self.log.queued = others
        return mine

    @override
    def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        assert self._staged is not None
        written, self._staged = self._staged, None
        self.log.written += written


class Fed:
    """A service that is given batches. Made by :func:`fed`."""

    def __init__(
        self, corpus: Corpus, make: Callable[[Context, Catalog], Service], instance: str
    ) -> None:
        topics = corpus.settings.topics
        self._clock = ManualClock(1_700_000_000_000)
        self._log = FedLog(self._clock)
        self._log.ensure_topics(topics.specs())
        for declared in corpus.models:
            own = declared.declaration
            self._log.ensure_topics(own.topics.specs(own.partitions))
        producer = self._log.producer("tests")
        for topic in (topics.models, topics.versions, topics.deployments):
            values = corpus.values[topic]
            producer.send(Send(topic, [b"k"] * len(values), values, 0))
        settings = replace(corpus.settings, instance=instance, dead_letter_limit=1 << 40)
        context = Context(self._log, self._clock, NullMeter(), settings, Inline(), Inline)
        self.service = make(context, Catalog(topics, declaration_of))
        self.feed()

    def feed(self, *batches: RecordBatch) -> list[Send]:
        """Let the service work on these in one poll, until it is done; what it has written."""
        self._log.queued += batches
        for _ in range(_MOST_STEPS):
            worked = self.service.step(0.0)
            self._clock.advance(_TURN_MS)
            if not (worked or self._log.queued or self.service.status().busy):
                break
        else:
            raise AssertionError(f"{self.service.name} is not done after {_MOST_STEPS} steps")
        written, self._log.written = self._log.written, []
        return written


@contextmanager
def fed(
    corpus: Corpus, make: Callable[[Context, Catalog], Service], instance: str
) -> Iterator[Fed]:
    """``instance`` must be new: a service's state is kept under it."""
    made = Fed(corpus, make, instance)
    try:
        yield made
    finally:
        made.service.close()
