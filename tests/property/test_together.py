"""Records of models that share topics are taken in together: the same comes of it as one by one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from loadtest.stream import declared

from driftloop.featurestats.sketch import SketchCore
from driftloop.kernel import sharing
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.blocks import Categories, Features, OutcomeBlock, PredictionBlock
from driftloop.kernel.codec.murmur2 import partitions_of
from driftloop.kernel.codec.records import codec
from driftloop.kernel.codec.rows import encode_outcomes, encode_predictions
from driftloop.kernel.declaration import CategoricalFeature, Declaration
from driftloop.kernel.metrics import NullMeter
from driftloop.kernel.ports import RecordBatch
from driftloop.kernel.processor import Core, Outputs
from driftloop.kernel.records import Label
from driftloop.kernel.stores import MemoryStore
from driftloop.kernel.topics import ControlTopics, ModelTopics
from driftloop.outcomes.core import OutcomesCore

PARTITIONS = 2
HORIZON = 300
SHARED = ModelTopics.of("shop", shared=True)


def model(name: str) -> Declaration:
    """Those with a c in their names have a feature more; those with an e have longer windows."""
    made = declared(name, features=3 if "c" in name else 2, partitions=PARTITIONS).declaration
    size = 200 if "e" in name else 100
    return replace(
        made,
        topics=SHARED,
        categorical=(CategoricalFeature("kind"),),
        events=replace(made.events, ahead=1 << 62, earliest=0),
        labels=replace(made.labels, horizon=HORIZON),
        windows=replace(made.windows, size=size, lateness=50, retention=100),
    )


NAMES = ("a", "b", "c", "d", "e", "ce")
MODELS = {name: model(name) for name in NAMES}


@dataclass(frozen=True)
class Row:
    name: str
    id: int
    time: int
    partition: int
    bad: bool


ROWS = st.lists(
    st.builds(
        Row,
        st.sampled_from([*NAMES, "nobody"]),
        st.integers(0, 12),
        st.integers(0, 900),
        st.integers(0, PARTITIONS - 1),
        st.sampled_from([False, False, False, True]),
    ),
    min_size=1,
    max_size=40,
)


def catalog() -> Catalog:
    found = Catalog(ControlTopics("t.", partitions=1), lambda record: MODELS[record.name])
    for one in MODELS.values():
        found.declare(one)
    return found


def ids(row: Row) -> bytes:
    return b"%d" % row.id


def predicted(row: Row) -> PredictionBlock:
    width = 3 if "c" in row.name else 2
    draw = np.random.default_rng(row.id)
    # Each model has values of its own, and some are missing; some rows have a shadow.
    kinds, code = (f"{row.name}{row.id}",), np.full((1, 1), -(row.id % 4 == 1), np.int32)
    shadow = row.id % 3 - 1
    return PredictionBlock(
        ids=[ids(row)],
        event_time=np.array([row.time]),
        version=np.zeros(1, np.int32),
        scores=draw.random((1, 1)),
        features=Features(draw.normal(size=(1, width)), Categories(code, (kinds,))),
        shadow_version=np.full(1, shadow, np.int32),
        shadow_scores=np.full((1, 1), 0.5 if shadow >= 0 else np.nan),
        source_partition=np.array([row.partition], np.int32),
        source_offset=np.array([row.id]),
    )


def prediction(row: Row) -> bytes | None:
    (value,) = encode_predictions(predicted(row))
    return value[:-3] if row.bad else value


def outcome(row: Row) -> bytes | None:
    block = predicted(row)
    one, number = np.zeros(1, np.int64), np.zeros(1, np.int32)
    (value,) = encode_outcomes(
        OutcomeBlock(
            ids=block.ids,
            event_time=block.event_time,
            outcome_time=block.event_time,
            version=block.version,
            scores=block.scores,
            features=block.features,
            shadow_version=block.shadow_version,
            shadow_scores=block.shadow_scores,
            label=np.array([float(row.id % 2)]),
            label_delay=one,
            prediction_partition=number,
            prediction_offset=one,
            label_partition=number,
            label_offset=one,
        )
    )
    return value[:-3] if row.bad else value


def label(row: Row) -> bytes | None:
    value = codec(Label).encode(Label(str(row.id), float(row.id % 2), row.time))
    return value[:-3] if row.bad else value


class Source:
    """Turns rows into polls of a topic, offsets going on."""

    def __init__(self, topic: str, encode) -> None:  # type: ignore[no-untyped-def]
        self.topic = topic
        self.encode = encode
        self.next = [0] * PARTITIONS

    def poll(self, rows: Sequence[Row]) -> list[RecordBatch]:
        found = []
        for partition in range(PARTITIONS):
            own = [row for row in rows if row.partition == partition]
            if own:
                first = self.next[partition]
                self.next[partition] += len(own)
                found.append(
                    RecordBatch(
                        self.topic,
                        partition,
                        range(first, first + len(own)),
                        [1 << 40] * len(own),
                        [ids(row) for row in own],
                        [self.encode(row) for row in own],
                        headers=[((sharing.MODEL_HEADER, row.name.encode()),) for row in own],
                    )
                )
        return found


def together(core: SketchCore | OutcomesCore, batches: Sequence[RecordBatch]) -> Outputs:
    shared, _ = sharing.part(batches).among(set(NAMES), batches)
    return core.process_shared([shared])


def apart(core: Core, batches: Sequence[RecordBatch]) -> Outputs:
    made = []
    for batch in batches:
        shared, _ = sharing.part([batch]).among(set(NAMES), [batch])
        for which, name in enumerate(shared.names):
            rows = shared.rows[shared.cuts[which] : shared.cuts[which + 1]]
            made.append(core.process(sharing.take(batch, rows, name)))
    return Outputs(
        [send for outputs in made for send in outputs.sends],
        [letter for outputs in made for letter in outputs.dead_letters],
    )


def written(outputs: Outputs) -> Mapping[object, Sequence[object]]:
    """Records by model and partition, in their order."""
    found: dict[object, list[object]] = defaultdict(list)
    for send in outputs.sends:
        for row, (key, value) in enumerate(zip(send.keys, send.values, strict=True)):
            header = send.headers[row] if send.headers is not None else None
            found[send.topic, send.partition, header].append((key, value))
    return found


def told(outputs: Outputs) -> list[object]:
    return sorted(
        (one.topic, one.partition, one.offset, one.reason, one.value or b"")
        for one in outputs.dead_letters
    )


@settings(max_examples=60, deadline=None)
@given(polls=st.lists(ROWS, min_size=1, max_size=4), flushes=st.integers(0, 15))
def test_windows_are_the_same(polls: list[list[Row]], flushes: int) -> None:
    one, other = SketchCore(catalog()), SketchCore(catalog())
    predictions, outcomes = Source(SHARED.predictions, prediction), Source(SHARED.outcomes, outcome)
    for number, rows in enumerate(polls):
        for source in (predictions, outcomes):
            batches = source.poll(rows)
            assert told(together(one, batches)) == told(apart(other, batches))
        if flushes >> number & 1 or number == len(polls) - 1:
            assert written(one.flush()) == written(other.flush())
            assert one.snapshot() == other.snapshot()


@settings(max_examples=60, deadline=None)
@given(
    polls=st.lists(st.tuples(ROWS, ROWS), min_size=1, max_size=4),
    checkpoints=st.integers(0, 15),
    placed=st.booleans(),
)
def test_joins_are_the_same(
    polls: list[tuple[list[Row], list[Row]]], checkpoints: int, placed: bool
) -> None:
    stores = MemoryStore(), MemoryStore()
    one, other = (OutcomesCore(catalog(), store, NullMeter()) for store in stores)
    sources = Source(SHARED.predictions, prediction), Source(SHARED.labels, label)

    def where(row: Row) -> Row:
        own = int(partitions_of([ids(row)], PARTITIONS)[0])
        return replace(row, partition=own) if placed else row

    for number, poll in enumerate(polls):
        for source, rows in zip(sources, poll, strict=True):
            batches = source.poll([where(row) for row in rows])
            first, second = together(one, batches), apart(other, batches)
            assert written(first) == written(second)
            assert told(first) == told(second)
        for core in (one, other):
            core.on_time(number)
            if checkpoints >> number & 1:
                core.checkpoint()
        assert one.open_counts() == other.open_counts()
    for core in (one, other):
        core.checkpoint()
    # Behind that: how far each source was read, which a part alone does not say.
    contents = [list(store.scan(b"", b"\xff")) for store in stores]
    assert contents[0] == contents[1]
