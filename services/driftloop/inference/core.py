"""Scores a batch of events with the champion and the shadow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from driftloop.kernel import metrics
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.blocks import F64, EventBlock, PredictionBlock
from driftloop.kernel.codec.events import EventDecoder
from driftloop.kernel.codec.rows import encode_predictions
from driftloop.kernel.deadletters import dead_letter
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.metrics import Meter
from driftloop.kernel.ports import RecordBatch, Send, TopicPartition
from driftloop.kernel.processor import Outputs
from driftloop.models.constant import ConstantModel
from driftloop.models.ports import FrozenModel

SERVICE = "inference"


@dataclass(frozen=True, slots=True)
class Serving:
    """What scores a model's events, until the next swap."""

    sequence: int
    """Of the deployment that asks for it; -1 before the first."""
    champion: int
    champion_model: FrozenModel
    shadow: int
    """-1 without one."""
    shadow_model: FrozenModel | None


class InferenceCore:
    """Stateless but for the models loaded. See :class:`driftloop.kernel.processor.Core`."""

    def __init__(self, catalog: Catalog, meter: Meter) -> None:
        self._catalog = catalog
        self._meter = meter
        self._serving: dict[str, Serving] = {}
        self._decoders: dict[str, tuple[Declaration, EventDecoder]] = {}
        self._newest: dict[str, int] = {}
        """Highest event time seen, per model."""

    def install(self, model: str, serving: Serving) -> None:
        """Serve with ``serving`` from the next batch on."""
        self._serving[model] = serving
        self._meter.set(metrics.SERVED_VERSION, serving.champion, model, "champion")
        self._meter.set(metrics.SERVED_VERSION, serving.shadow, model, "shadow")

    def serving(self, model: Declaration) -> Serving:
        """Version 0, the declared prior, until a version is installed."""
        found = self._serving.get(model.name)
        if found is None:
            found = Serving(-1, 0, ConstantModel(model.prior), -1, None)
            self.install(model.name, found)
        return found

    def process(self, batch: RecordBatch) -> Outputs:
        model = self._catalog.model_of(batch.topic)
        block, rejected = self._decoder(model).decode(batch.values)
        letters = [dead_letter(SERVICE, batch, bad.row, bad.error) for bad in rejected]
        if len(block.rows) == 0:
            return Outputs(dead_letters=letters)
        serving = self.serving(model)
        values = encode_predictions(_predict(block, batch, serving))
        self._meter.add(metrics.PREDICTIONS, len(values), model.name, str(serving.champion))
        newest = max(self._newest.get(model.name, 0), int(block.times.max()))
        self._newest[model.name] = newest
        self._meter.set(metrics.EVENT_TIME, newest / 1000, model.name, "predictions")
        asked = np.asarray(batch.timestamps, dtype=np.float64)[block.rows]

        def answered(now: int) -> None:
            self._meter.observe(metrics.LATENCY, (now - asked) / 1000.0, model.name)

        return Outputs([Send(model.topics.predictions, block.ids, values)], letters, answered)

    def on_time(self, now: int) -> Outputs:
        return Outputs()

    def commit_due(self, now: int) -> bool:
        return True

    def flush(self) -> Outputs:
        return Outputs()

    def snapshot(self) -> Mapping[str, bytes | None]:
        return {}

    def restore(self, source: TopicPartition, entries: Mapping[str, bytes]) -> None:
        """No state but the models, which come from the control topics."""

    def drop(self, source: TopicPartition) -> None:
        """Nothing is held of a partition."""

    def _decoder(self, model: Declaration) -> EventDecoder:
        known = self._decoders.get(model.name)
        if known is None or known[0] is not model:
            known = (model, EventDecoder(model))
            self._decoders[model.name] = known
        return known[1]


def _predict(block: EventBlock, batch: RecordBatch, serving: Serving) -> PredictionBlock:
    n = len(block.rows)
    scores = serving.champion_model.score(block.features)
    shadow: F64 = np.full_like(scores, np.nan)
    if serving.shadow_model is not None:
        shadow = serving.shadow_model.score(block.features)
    offsets = np.asarray(batch.offsets, dtype=np.int64)
    return PredictionBlock(
        ids=block.ids,
        event_time=block.times,
        version=np.full(n, serving.champion, dtype=np.int32),
        scores=scores,
        features=block.features,
        shadow_version=np.full(n, serving.shadow, dtype=np.int32),
        shadow_scores=shadow,
        source_partition=np.full(n, batch.partition, dtype=np.int32),
        source_offset=offsets[block.rows],
    )
