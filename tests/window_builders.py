"""Builders of declarations, rows, batches and partials for the tests of windows."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.blocks import Categories, Features, OutcomeBlock, PredictionBlock
from driftloop.kernel.codec.records import codec
from driftloop.kernel.codec.rows import encode_outcomes, encode_predictions
from driftloop.kernel.declaration import (
    AlertPolicy,
    CategoricalFeature,
    Declaration,
    EventFields,
    Format,
    LabelFields,
    NumericFeature,
    PromotionPolicy,
    Task,
    TrainingPolicy,
    WindowPolicy,
)
from driftloop.kernel.metrics import Metric
from driftloop.kernel.ports import RecordBatch
from driftloop.kernel.records import (
    CategoricalProfile,
    LossBaseline,
    NumericProfile,
    OffsetRange,
    Partial,
    Profile,
    Recipe,
    Stream,
    Version,
)
from driftloop.kernel.schemas import parse_schema
from driftloop.kernel.statistics.sketch import Sketch
from driftloop.kernel.topics import ControlTopics, ModelTopics

SIZE, LATENESS, RETENTION = 100, 20, 300
LEVELS = ("a", "b")


@functools.cache
def declaration(name: str = "m", *, partitions: int = 2) -> Declaration:
    """Two numeric features, one categorical; windows of 100 ms."""
    schema = parse_schema('{"type": "record", "name": "E", "fields": []}')
    return Declaration(
        name=name,
        task=Task.BINARY,
        prior=0.5,
        topics=ModelTopics.of(name),
        partitions=partitions,
        events=EventFields(Format.AVRO, schema, "id", "time", 0, 1 << 60, 1 << 62),
        labels=LabelFields(Format.AVRO, "id", "label", "time", 1000),
        numeric=(NumericFeature("x", -1e9, 1e9), NumericFeature("y", -1e9, 1e9)),
        categorical=(CategoricalFeature("kind"),),
        windows=WindowPolicy(SIZE, LATENESS, RETENTION),
        alerts=AlertPolicy(1.0, 0.1, 0.01, 0.1, 1000),
        training=TrainingPolicy((), 1, 0, 0, 0, (), 0.2, 10.0, 1 << 30, 0),
        promotion=PromotionPolicy(0.05, 1000, 0),
    )


def profile() -> Profile:
    return Profile(
        rows=10,
        numeric=(
            NumericProfile("x", (-1.0, 0.0, 1.0), (1, 2, 3, 4), 0, -2.0, 2.0),
            NumericProfile("y", (0.5,), (5, 5), 0, 0.0, 1.0),
            NumericProfile("score", (0.25, 0.5, 0.75), (1, 2, 3, 4), 0, 0.0, 1.0),
        ),
        categorical=(CategoricalProfile("kind", LEVELS, (5, 5), 0),),
        loss=LossBaseline(10, 0.5, 0.6, 4.7),
    )


def version(number: int, model: str = "m") -> Version:
    return Version(
        model, number, Recipe("t", {}, 0), "a", "0" * 64, profile(), {}, (), 0, 1, "r", 0
    )


def catalog(*versions: int, declared: Declaration | None = None) -> Catalog:
    """A catalog that knows one model and these versions of it."""
    model = declared or declaration()
    made = Catalog(ControlTopics(partitions=4), lambda record: model)
    made.declare(model)
    for number in versions:
        made.versions[model.name, number] = version(number, model.name)
    return made


def outcomes(
    times: Sequence[int],
    *,
    versions: int | Sequence[int] = 1,
    shadows: int | Sequence[int] = -1,
    seed: int = 0,
) -> OutcomeBlock:
    """Random rows with these outcome times."""
    n = len(times)
    random = np.random.default_rng(seed)
    numeric = random.normal(size=(n, 2)) * 10.0 ** random.integers(-3, 4, size=(n, 2))
    numeric[random.random((n, 2)) < 0.1] = np.nan
    shadow = np.broadcast_to(np.asarray(shadows, dtype=np.int32), n).copy()
    codes = random.integers(-1, 3, size=(n, 1)).astype(np.int32)
    return OutcomeBlock(
        ids=[b"e%d" % i for i in range(n)],
        event_time=np.asarray(times, dtype=np.int64) - 5,
        outcome_time=np.asarray(times, dtype=np.int64),
        version=np.broadcast_to(np.asarray(versions, dtype=np.int32), n).copy(),
        scores=random.random((n, 1)),
        features=Features(numeric, Categories(codes, (("b", "z", "a"),))),
        shadow_version=shadow,
        shadow_scores=np.where(shadow[:, None] >= 0, random.random((n, 1)), np.nan),
        label=(random.random(n) < 0.4).astype(np.float64),
        label_delay=np.full(n, 5, dtype=np.int64),
        prediction_partition=np.zeros(n, dtype=np.int32),
        prediction_offset=np.arange(n, dtype=np.int64),
        label_partition=np.zeros(n, dtype=np.int32),
        label_offset=np.arange(n, dtype=np.int64),
    )


def predictions(
    times: Sequence[int], *, versions: int | Sequence[int] = 1, seed: int = 0
) -> PredictionBlock:
    """Random rows with these event times."""
    block = outcomes(times, versions=versions, seed=seed)
    return PredictionBlock(
        ids=block.ids,
        event_time=np.asarray(times, dtype=np.int64),
        version=block.version,
        scores=block.scores,
        features=block.features,
        shadow_version=block.shadow_version,
        shadow_scores=block.shadow_scores,
        source_partition=block.prediction_partition,
        source_offset=block.prediction_offset,
    )


def batch(
    block: PredictionBlock | OutcomeBlock, *, partition: int = 0, first: int = 0, model: str = "m"
) -> RecordBatch:
    """The block as records of its topic, offsets from ``first``."""
    topics = ModelTopics.of(model)
    if isinstance(block, OutcomeBlock):
        return raw_batch(encode_outcomes(block), topics.outcomes, partition, first)
    return raw_batch(encode_predictions(block), topics.predictions, partition, first)


def raw_batch(
    values: Sequence[bytes | None], topic: str, partition: int = 0, first: int = 0
) -> RecordBatch:
    n = len(values)
    return RecordBatch(topic, partition, range(first, first + n), [0] * n, [None] * n, list(values))


def cut(records: RecordBatch, low: int, high: int) -> RecordBatch:
    """Some of a batch's records."""
    return replace(
        records,
        offsets=records.offsets[low:high],
        timestamps=records.timestamps[low:high],
        keys=records.keys[low:high],
        values=records.values[low:high],
    )


def partial(
    start: int,
    *,
    watermark: int,
    partition: int = 0,
    end_offset: int = 10,
    rows: int = 3,
    late: int = 0,
    version_number: int = 1,
    source_partitions: int = 2,
    model: str = "m",
) -> Partial:
    """A partial of predictions; its rows follow from window, partition and end offset."""
    seed = abs(hash((start, partition, end_offset, version_number))) % (1 << 32)
    sketch = Sketch(declaration(), profile(), Stream.PREDICTIONS)
    sketch.update_predictions(
        predictions([start] * rows, versions=version_number, seed=seed), np.arange(rows)
    )
    return Partial(
        model=model,
        stream=Stream.PREDICTIONS,
        start=start,
        end=start + SIZE,
        version=version_number,
        shadow=-1,
        source=OffsetRange(f"{model}.predictions", partition, 0, end_offset),
        late=late,
        watermark=watermark,
        source_partitions=source_partitions,
        statistics=sketch.statistics(),
    )


def decoded_partials(values: Sequence[bytes | None]) -> list[Partial]:
    return [codec(Partial).decode(value) for value in values]


class CountingMeter:
    """Adds up counters by metric and labels, and keeps gauges likewise."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, ...], float] = {}
        self.values: dict[tuple[str, ...], float] = {}

    def add(self, metric: Metric, amount: float = 1.0, *labels: str) -> None:
        key = (metric.name, *labels)
        self.counts[key] = self.counts.get(key, 0.0) + amount

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        self.values[metric.name, *labels] = value

    def set_all(
        self, metric: Metric, series: Sequence[tuple[str, ...]], values: Sequence[float]
    ) -> None:
        for labels, value in zip(series, values, strict=True):
            self.set(metric, value, *labels)

    def observe(self, metric: Metric, values: object, *labels: str) -> None: ...

    def forget(self, metric: Metric, *labels: str) -> None:
        self.values.pop((metric.name, *labels), None)
