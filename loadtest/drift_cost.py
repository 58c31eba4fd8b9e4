"""What the drift service pays per window and model: the whole core, from a window's bytes to its
alerts, its changelog entries and the figures it exports."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from typing import Any

import numpy as np

from driftloop.adapters.prometheus import PrometheusMeter
from driftloop.drift.core import DriftCore
from driftloop.drift.figures import Figures
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.blocks import (
    F64,
    Categories,
    Features,
    OutcomeBlock,
    PredictionBlock,
)
from driftloop.kernel.codec.records import codec
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.ports import RecordBatch
from driftloop.kernel.records import ModelRecord, Profile, Stream, Version, Window
from driftloop.kernel.statistics.merge import statistics_digest
from driftloop.kernel.statistics.sketch import Sketch
from driftloop.kernel.topics import ControlTopics
from driftloop.models.profile import make_profile
from loadtest.drifting import FLOORS, SECOND, version, window
from loadtest.stream import declared

_FEATURES = 20
_ROWS = 500
_MODELS = 1000
_MINUTE_S = 60.0
_BATCH = 100
_WARM = 10
_ROUNDS = 5
_WARM_CHANGED = 80
"""Windows until the history is full."""
_CHANGE = 0.5


def share_of_a_core(seed: int) -> dict[str, Any]:
    """Processor time per window, microseconds; the same where features and labels have changed, but
    not as much as the floors ask for, so that the change is looked at with every window; and what
    1,000 models take with a window of predictions and one of outcomes a minute each, as a share of
    one core."""
    rng = np.random.default_rng(seed)
    declaration = declared(features=_FEATURES).declaration
    windows = replace(declaration.windows, size=_ROWS * SECOND)
    declaration = replace(declaration, name="m", windows=windows)
    profile = _profile(rng)
    cost = {
        str(stream): statistics.median(
            _cost(declaration, profile, stream, rng) for _ in range(_ROUNDS)
        )
        for stream in Stream
    }
    floors = dict.fromkeys(FLOORS, 100.0)
    patient = replace(declaration, alerts=replace(declaration.alerts, **floors))
    above = {
        str(stream): statistics.median(
            _cost(patient, profile, stream, rng, _WARM_CHANGED, _CHANGE) for _ in range(_ROUNDS)
        )
        for stream in Stream
    }
    share = sum(cost.values()) * 1e-6 * _MODELS / _MINUTE_S
    return {
        "cpu_us_per_window": cost,
        "cpu_us_per_window_above": above,
        "core_share_1000_models": share,
    }


def _profile(rng: np.random.Generator) -> Profile:
    names = [f"x{i}" for i in range(_FEATURES)]
    rows = rng.standard_normal((10_000, _FEATURES))
    none = Categories(np.zeros((10_000, 0), dtype=np.int32), ())
    scores = rng.beta(2.0, 5.0, 10_000)
    labels = (rng.random(10_000) < scores).astype(np.float64)
    return make_profile(names, [], Features(rows, none), scores[:, None], labels)


def _cost(
    declaration: Declaration,
    profile: Profile,
    stream: Stream,
    rng: np.random.Generator,
    warm: int = _WARM,
    change: float = 0.0,
) -> float:
    """Microseconds per window, after ``warm`` of them."""
    topics = ControlTopics()
    catalog = Catalog(topics, lambda record: declaration)
    partition = topics.partition("m")
    made: Version = version(profile)
    for topic, record in (
        (topics.models, ModelRecord("m", "", "", "", 0)),
        (topics.versions, made),
    ):
        kind: Any = type(record)
        catalog.apply(_batch(topic, partition, 0, [codec(kind).encode(record)]))
    core = DriftCore(catalog)
    figures = Figures(core, PrometheusMeter("drift"))
    encoded = [
        codec(Window).encode(_window(declaration, profile, stream, number, rng, change))
        for number in range(warm + _BATCH)
    ]
    started = 0.0
    for number, value in enumerate(encoded):
        if number == warm:
            started = time.process_time()
        refused = core.process(_batch(topics.windows, partition, number, [value])).dead_letters
        if refused:
            raise RuntimeError(f"window {number} was not taken: {refused[0].detail}")
        core.snapshot()
        figures.show(0)
    return (time.process_time() - started) / _BATCH * 1e6


def _batch(topic: str, partition: int, first: int, values: list[bytes]) -> RecordBatch:
    n = len(values)
    return RecordBatch(topic, partition, range(first, first + n), [0] * n, [b"m"] * n, values)


def _window(
    declaration: Declaration,
    profile: Profile,
    stream: Stream,
    number: int,
    rng: np.random.Generator,
    change: float = 0.0,
) -> Window:
    """Of rows like the reference's, as featurestats makes it; but for features that are ``change``
    standard deviations larger, and chances of labels that lie that much of the way to a half."""
    sketch = Sketch(declaration, profile, stream)
    numbers: F64 = change + rng.standard_normal((_ROWS, _FEATURES))
    features = Features(numbers, Categories(np.zeros((_ROWS, 0), dtype=np.int32), ()))
    scores = rng.beta(2.0, 5.0, (_ROWS, 1))
    none = np.full(_ROWS, -1, dtype=np.int32)
    zeros = np.zeros(_ROWS, dtype=np.int64)
    common: dict[str, Any] = {
        "ids": [b""] * _ROWS,
        "event_time": zeros,
        "version": np.ones(_ROWS, dtype=np.int32),
        "scores": scores,
        "features": features,
        "shadow_version": none,
        "shadow_scores": np.full((_ROWS, 1), np.nan),
    }
    rows = np.arange(_ROWS, dtype=np.int64)
    if stream is Stream.PREDICTIONS:
        sketch.update_predictions(
            PredictionBlock(**common, source_partition=none, source_offset=zeros), rows
        )
    else:
        chance = scores[:, 0] + change * (0.5 - scores[:, 0])
        label = (rng.random(_ROWS) < chance).astype(np.float64)
        sketch.update_outcomes(
            OutcomeBlock(
                **common,
                outcome_time=zeros,
                label=label,
                label_delay=zeros,
                prediction_partition=none,
                prediction_offset=zeros,
                label_partition=none,
                label_offset=zeros,
            ),
            rows,
        )
    found = sketch.statistics()
    made = window(stream, number, _ROWS, found, number * _ROWS)
    return replace(made, digest=statistics_digest(found))
