"""Topics that several models share: each record reaches its model, and no other."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from loadtest.stream import Encoder, Stream, declared

from driftloop.adapters.clock import ManualClock
from driftloop.adapters.memory import MemoryLog
from driftloop.inference.core import InferenceCore, Serving
from driftloop.kernel import sharing
from driftloop.kernel.alike import Shapes
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.records import codec
from driftloop.kernel.header_table import HeaderTable
from driftloop.kernel.metrics import NullMeter
from driftloop.kernel.ports import Headers, RecordBatch, Send, TopicPartition
from driftloop.kernel.processor import ControlBehindError
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import DeadLetter, ModelRecord, Prediction
from driftloop.kernel.recovery import NoState
from driftloop.kernel.runner import Runner, Wiring
from driftloop.kernel.slices import Slices
from driftloop.kernel.stores import MemoryStore
from driftloop.kernel.topics import ControlTopics, ModelTopics
from driftloop.models.constant import ConstantModel
from driftloop.outcomes.core import OutcomesCore

TOPICS = ControlTopics("t.", partitions=1)
SHARED = ModelTopics.of("shop", shared=True)
NAMES = ("alpha", "beta", "gamma")
FEATURES = 2


def model(name: str):  # type: ignore[no-untyped-def]
    return replace(declared(name, features=FEATURES, partitions=1).declaration, topics=SHARED)


def header(name: str) -> Headers:
    return ((sharing.MODEL_HEADER, name.encode()),)


class Bench:
    """Three models on shared topics, and a runner of inference."""

    def __init__(self) -> None:
        self.clock = ManualClock(1_700_000_000_000)
        self.log = MemoryLog(self.clock)
        self.log.ensure_topics([*TOPICS.specs(), *SHARED.specs(1)])
        self.producer = self.log.producer("test")
        for name in NAMES:
            self.declare(name)
        catalog = Catalog(TOPICS, lambda record: model(record.name))
        self.core = InferenceCore(catalog, NullMeter())
        for version, name in enumerate(NAMES, 1):
            self.core.install(name, Serving(1, version, ConstantModel(version / 10), -1, None))
        self.catalog = catalog
        self.runner = Runner(
            Wiring(
                "inference",
                self.core,
                NoState(),
                lambda c: (SHARED.events,),
                process_shared=self.core.process_shared,
            ),
            self.log,
            catalog,
            clock=self.clock,
            meter=NullMeter(),
            instance="0",
        )

    def declare(self, name: str) -> None:
        record = codec(ModelRecord).encode(ModelRecord(name, "", "", "", 0))
        self.producer.send(Send(TOPICS.models, [name.encode()], [record], 0))

    def send(self, first: int, headers: Sequence[Headers]) -> None:
        rows = Stream(FEATURES).rows(first, len(headers))
        values = Encoder(FEATURES).events(rows, np.full(len(headers), 1_700_000_000_000))
        self.producer.send(Send(SHARED.events, rows.ids, values, 0, headers=headers))

    def settle(self) -> None:
        while self.runner.step(0.0):
            pass

    def read(self, topic: str) -> list[RecordBatch]:
        source = TopicPartition(topic, 0)
        return list(self.log.read(source, 0, self.log.end_offsets([topic])[source]))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_every_event_is_scored_by_its_own_model(bench: Bench) -> None:
    bench.send(0, [header(NAMES[i % 3]) for i in range(30)])
    bench.settle()
    found = {}
    for batch in bench.read(SHARED.predictions):
        assert batch.headers is not None
        for value, headers in zip(batch.values, batch.headers, strict=True):
            assert value is not None
            record = codec(Prediction).decode(value)
            found[record.source_offset] = (dict(headers)[sharing.MODEL_HEADER], record.version)
    assert found == {i: (NAMES[i % 3].encode(), i % 3 + 1) for i in range(30)}


def test_a_record_without_a_model_is_a_dead_letter(bench: Bench) -> None:
    bench.send(0, [(), header("nobody"), header("alpha"), ((sharing.MODEL_HEADER, b"\xff"),)])
    bench.settle()
    letters = [
        codec(DeadLetter).decode(value)
        for batch in bench.read(TOPICS.dead_letters)
        for value in batch.values
        if value is not None
    ]
    assert [(letter.offset, letter.reason) for letter in letters] == [
        (offset, Reason.UNKNOWN_MODEL) for offset in (0, 1, 3)
    ]
    assert sum(map(len, bench.read(SHARED.predictions))) == 1


def test_a_model_declared_before_its_event_is_known(bench: Bench) -> None:
    bench.settle()
    bench.declare("delta")
    bench.send(0, [header("delta")])
    bench.settle()
    assert sum(map(len, bench.read(SHARED.predictions))) == 1
    assert bench.read(TOPICS.dead_letters) == []


def test_reading_one_models_rows_leaves_out_the_others(bench: Bench) -> None:
    bench.send(0, [header(NAMES[i % 3]) for i in range(9)])
    bench.settle()
    (batch,) = bench.read(SHARED.predictions)
    own = sharing.of_model(bench.catalog.models["beta"], batch)
    assert len(own) == 3
    assert {codec(Prediction).decode(v).version for v in own.values if v is not None} == {2}


def test_joins_are_kept_apart(bench: Bench) -> None:
    """The same event id in two models is two events."""
    bench.send(0, [header("alpha")] * 2)
    bench.send(0, [header("beta")] * 2)
    bench.settle()
    join = OutcomesCore(bench.catalog, MemoryStore(), NullMeter())
    (batch,) = bench.read(SHARED.predictions)
    for name, rows in sharing.part([batch]).parts.items():
        part = sharing.take(batch, rows, name)
        join.process(part)
    assert join.open_counts() == {"alpha": (2, 0), "beta": (2, 0)}


def test_a_header_table_says_the_same_as_tuples() -> None:
    rows: list[Headers] = [(("a", b"1"), ("b", None)), (), (("b", b""), ("a", b"2"), ("a", b"3"))]
    table = HeaderTable.of(rows)
    assert [table[i] for i in range(3)] == rows
    assert list(table[1:]) == rows[1:]
    assert list(table.last("a")) == [b"1", None, b"3"]
    assert list(table.last("b")) == [None, None, b""]
    assert list(HeaderTable.single("m", Slices.of([b"x", b"y"]))) == [
        (("m", b"x"),),
        (("m", b"y"),),
    ]


def test_a_shape_that_no_model_has_any_more_is_forgotten() -> None:
    shapes = Shapes(lambda declared: len(declared.numeric))
    one, other = model("alpha"), model("beta")
    assert shapes.of(one) is shapes.of(other)
    wider = replace(one, numeric=(*one.numeric, *one.numeric))
    first = weakref.ref(shapes.of(wider))
    assert first() is not shapes.of(other)
    shapes.of(one)
    gc.collect()
    assert first() is None


def test_a_model_that_is_gone_is_asked_for_before_anything_changes(bench: Bench) -> None:
    bench.send(0, [header("alpha"), header("beta")])
    (batch,) = bench.read(SHARED.events)
    shared, _ = sharing.part([batch]).among(set(NAMES), [batch])
    bench.settle()
    del bench.catalog.models["beta"]
    with pytest.raises(ControlBehindError, match="beta"):
        bench.core.process_shared([shared])
