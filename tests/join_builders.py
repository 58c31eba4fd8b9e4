"""A bench for the label join: predictions and labels of one partition on a memory log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from driftloop.adapters.clock import ManualClock
from driftloop.adapters.memory import MemoryLog
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.murmur2 import partition_of
from driftloop.kernel.codec.records import codec
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.metrics import Meter, NullMeter
from driftloop.kernel.ports import RecordBatch, Send, TopicPartition
from driftloop.kernel.processor import Outputs
from driftloop.kernel.records import DeadLetter, Label, ModelRecord, Outcome, Prediction
from driftloop.kernel.runner import Runner, Wiring
from driftloop.kernel.stores import MemoryStore
from driftloop.kernel.topics import ControlTopics
from driftloop.outcomes.core import EXPIRED_AT_ONCE, OutcomesCore
from driftloop.outcomes.reading import SERVICE
from driftloop.outcomes.recovery import JoinRecovery
from driftloop.outcomes.service import advance
from window_builders import declaration

HORIZON = 1000
PARTITION = 0
IDS = tuple(name for i in range(400) if partition_of((name := f"e{i}").encode(), 2) == PARTITION)
"""Event ids that belong into the partition."""


def model(horizon: int = HORIZON) -> Declaration:
    plain = declaration()
    return replace(plain, labels=replace(plain.labels, horizon=horizon))


def prediction(id: str, time: int, score: float = 0.25) -> bytes:
    record = Prediction(id, time, 1, (score,), (1.5, float("nan")), ("a",), -1, (), PARTITION, 7)
    return codec(Prediction).encode(record)


def label(id: str, observed: int, value: float = 1.0) -> bytes:
    return codec(Label).encode(Label(id, value, observed))


def batch(topic: str, values: Sequence[bytes | None], first: int = 0) -> RecordBatch:
    n = len(values)
    return RecordBatch(topic, PARTITION, range(first, first + n), [0] * n, [None] * n, values)


def copy(store: MemoryStore) -> MemoryStore:
    made = MemoryStore()
    made.write(dict(store.scan(b"", b"\xff" * 8)))
    return made


class Join:
    """The service on a log in memory: a runner that may die and be started again."""

    def __init__(
        self,
        declared: Declaration,
        *,
        rows: int = 100,
        meter: Meter | None = None,
        expired_at_once: int = EXPIRED_AT_ONCE,
        memory_bytes: int = 256 << 20,
        checkpoint_ms: int = 0,
    ) -> None:
        self.model = declared
        self.store = MemoryStore()
        self.clock = ManualClock()
        self.log = MemoryLog(self.clock)
        self._rows = rows
        self._meter = meter or NullMeter()
        self._expired_at_once = expired_at_once
        self._memory_bytes = memory_bytes
        self._checkpoint_ms = checkpoint_ms
        self._topics = ControlTopics("t.", partitions=1)
        self.log.ensure_topics([*self._topics.specs(), *declared.topics.specs(2)])
        self._producer = self.log.producer("test")
        record = codec(ModelRecord).encode(ModelRecord("m", "", "", "", 0))
        self._producer.send(Send(self._topics.models, [b"m"], [record], 0))
        self.start()

    def start(self) -> None:
        """Another process of the same name, with the store that is there now."""
        catalog = Catalog(self._topics, lambda record: self.model)
        self.core = OutcomesCore(
            catalog,
            self.store,
            self._meter,
            memory_bytes=self._memory_bytes,
            checkpoint_ms=self._checkpoint_ms,
            expired_at_once=self._expired_at_once,
        )
        self.runner = Runner(
            Wiring(
                SERVICE,
                self.core,
                JoinRecovery(self.log, catalog, self.core, f"t.{SERVICE}"),
                lambda c: (self.model.topics.predictions,),
                companions=lambda topic: (self.model.topics.labels,),
                batch_rows=self._rows,
            ),
            self.log,
            catalog,
            clock=self.clock,
            meter=self._meter,
            instance="0",
        )

    def predict(self, *values: bytes) -> None:
        keys = [None] * len(values)
        self._producer.send(Send(self.model.topics.predictions, keys, values, PARTITION))

    def tell(self, *values: bytes) -> None:
        keys = [None] * len(values)
        self._producer.send(Send(self.model.topics.labels, keys, values, PARTITION))

    def settle(self) -> None:
        while self.step():
            pass

    def step(self) -> bool:
        return advance(self.runner, self.core, 0.0)

    def outcomes(self) -> list[Outcome]:
        return [codec(Outcome).decode(v) for v in self._read(self.model.topics.outcomes)]

    def letters(self) -> list[DeadLetter]:
        return [codec(DeadLetter).decode(v) for v in self._read(self._topics.dead_letters)]

    def entries(self) -> dict[bytes, bytes]:
        """All that is stored but when it expires, which depends on what came in one batch; with
        what is settled and not written yet."""
        self.core.checkpoint()
        kind = len(b"\x00\x01m\x00\x00\x00\x00")
        found = {}
        for key, value in self.store.scan(b"", b"\xff" * 8):
            if key[kind : kind + 1] == b"E":
                found[key] = value[:1] + value[9:]
            elif key[kind : kind + 1] != b"T":
                found[key] = value
        return found

    def _read(self, topic: str) -> list[bytes]:
        source = TopicPartition(topic, 0)
        end = self.log.end_offsets([topic])[source]
        values = [value for part in self.log.read(source, 0, end) for value in part.values]
        return [value for value in values if value is not None]


class Bare:
    """A core without a runner: the test commits."""

    def __init__(
        self,
        store: MemoryStore,
        *,
        meter: Meter | None = None,
        expired_at_once: int = EXPIRED_AT_ONCE,
        checkpoint_ms: int = 0,
    ) -> None:
        self.model = model()
        self.store = store
        self._meter = meter or NullMeter()
        self._expired_at_once = expired_at_once
        self._checkpoint_ms = checkpoint_ms
        self._next = {self.model.topics.predictions: 0, self.model.topics.labels: 0}
        self.start()

    def start(self) -> None:
        """Another process, with the store that is there now."""
        self.catalog = Catalog(ControlTopics("t.", 1), lambda record: self.model)
        self.catalog.declare(self.model)
        self.core = OutcomesCore(
            self.catalog,
            self.store,
            self._meter,
            checkpoint_ms=self._checkpoint_ms,
            expired_at_once=self._expired_at_once,
        )

    def predict(self, *values: bytes) -> Outputs:
        return self.core.process(self.batch(self.model.topics.predictions, values))

    def tell(self, *values: bytes) -> Outputs:
        return self.core.process(self.batch(self.model.topics.labels, values))

    def batch(self, topic: str, values: Sequence[bytes]) -> RecordBatch:
        """The next of a topic."""
        first = self._next[topic]
        self._next[topic] += len(values)
        return batch(topic, values, first)

    def open(self) -> tuple[int, int]:
        return self.core.open_counts()["m"]


def through(outputs: Outputs) -> None:
    """The transaction that was waited for is."""
    assert outputs.committed is not None
    outputs.committed(0)
