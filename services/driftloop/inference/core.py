"""Scores a batch of events with the champion and the shadow."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from driftloop.kernel import metrics, sharing
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.blocks import I64, Categories, EventBlock, Features, PredictionBlock
from driftloop.kernel.codec.events import EventDecoder
from driftloop.kernel.codec.rows import encode_predictions
from driftloop.kernel.deadletters import dead_letter
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.metrics import Meter
from driftloop.kernel.ports import RecordBatch, Send, TopicPartition
from driftloop.kernel.processor import Outputs
from driftloop.kernel.slices import concat as concat_slices
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
        self._serving: OrderedDict[str, Serving] = OrderedDict()
        """Least recently used first."""
        self.find: Callable[[Declaration], Serving | None] = lambda model: None
        """What should serve a model that nothing was installed for; None: nothing yet."""
        self._decoders: dict[Hashable, EventDecoder] = {}
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
            found = self.find(model) or Serving(-1, 0, ConstantModel(model.prior), -1, None)
            self.install(model.name, found)
        else:
            self._serving.move_to_end(model.name)
        return found

    def installed(self, model: str) -> Serving | None:
        """What was installed last; may be asked from any thread."""
        return self._serving.get(model)

    def resident(self) -> Sequence[str]:
        """Models with something installed, least recently used first."""
        return list(self._serving)

    def forget(self, model: str) -> None:
        """Let go of what is installed; it is found again when it is needed."""
        self._serving.pop(model, None)

    def process(self, batch: RecordBatch) -> Outputs:
        return self.process_parts([batch])

    def process_parts(self, parts: Sequence[RecordBatch]) -> Outputs:
        """Batches of one topic partition, one per model. Models whose events look alike are decoded
        and encoded together, and scored one after the other."""
        alike: dict[Hashable, list[tuple[Declaration, RecordBatch]]] = {}
        for part in parts:
            model = self._catalog.model_of(part)
            alike.setdefault(_shape(model), []).append((model, part))
        made = [self._process_alike(shape, group) for shape, group in alike.items()]
        if len(made) == 1:
            return made[0]

        def committed(now: int) -> None:
            for outputs in made:
                if outputs.committed is not None:
                    outputs.committed(now)

        return Outputs(
            [send for outputs in made for send in outputs.sends],
            [letter for outputs in made for letter in outputs.dead_letters],
            committed,
        )

    def _process_alike(
        self, shape: Hashable, group: Sequence[tuple[Declaration, RecordBatch]]
    ) -> Outputs:
        model, batch = group[0]
        starts = np.cumsum([0, *(len(part) for _, part in group)])
        block, rejected = self._decoder(shape, model).decode(
            batch.values if len(group) == 1 else concat_slices([part.values for _, part in group])
        )
        letters = []
        for bad in rejected:
            which = int(np.searchsorted(starts, bad.row, side="right")) - 1
            part = group[which][1]
            letters.append(dead_letter(SERVICE, part, bad.row - int(starts[which]), bad.error))
        if len(block.rows) == 0:
            return Outputs(dead_letters=letters)
        cuts = np.searchsorted(block.rows, starts).tolist()
        runs = [
            (one, low, high)
            for (one, _), (low, high) in zip(group, pairwise(cuts), strict=True)
            if low < high
        ]
        offsets: I64 = _joined([part.offsets for _, part in group])[block.rows]
        asked = _joined([part.timestamps for _, part in group])[block.rows]
        values = encode_predictions(self._predict(block, runs, batch.partition, offsets))
        headers = None
        if model.topics.shared:
            whose = np.repeat(np.arange(len(runs)), [high - low for _, low, high in runs])
            headers = sharing.table_of([one.name for one, _, _ in runs], whose)

        def answered(now: int) -> None:
            seconds = (now - asked) / 1000.0
            for one, low, high in runs:
                self._meter.observe(metrics.LATENCY, seconds[low:high], one.name)

        send = Send(model.topics.predictions, block.ids, values, headers=headers)
        return Outputs([send], letters, answered)

    def _predict(
        self,
        block: EventBlock,
        runs: Sequence[tuple[Declaration, int, int]],
        partition: int,
        offsets: I64,
    ) -> PredictionBlock:
        n = len(block.rows)
        version, shadow = np.empty(n, np.int32), np.empty(n, np.int32)
        scores = np.empty((n, runs[0][0].scores))
        shadow_scores = np.full_like(scores, np.nan)
        categories = block.features.categories
        for model, low, high in runs:
            serving = self.serving(model)
            features = Features(
                block.features.numeric[low:high],
                Categories(categories.codes[low:high], categories.levels),
            )
            version[low:high], shadow[low:high] = serving.champion, serving.shadow
            scores[low:high] = serving.champion_model.score(features)
            if serving.shadow_model is not None:
                shadow_scores[low:high] = serving.shadow_model.score(features)
            self._meter.add(metrics.PREDICTIONS, high - low, model.name, str(serving.champion))
            newest = max(self._newest.get(model.name, 0), int(block.times[low:high].max()))
            self._newest[model.name] = newest
            self._meter.set(metrics.EVENT_TIME, newest / 1000, model.name, "predictions")
        return PredictionBlock(
            ids=block.ids,
            event_time=block.times,
            version=version,
            scores=scores,
            features=block.features,
            shadow_version=shadow,
            shadow_scores=shadow_scores,
            source_partition=np.full(n, partition, dtype=np.int32),
            source_offset=offsets,
        )

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

    def _decoder(self, shape: Hashable, model: Declaration) -> EventDecoder:
        known = self._decoders.get(shape)
        if known is None:
            known = self._decoders[shape] = EventDecoder(model)
        return known


def _shape(model: Declaration) -> Hashable:
    """What decides how events become predictions, but for the scores themselves."""
    events = model.events
    return (
        model.topics.predictions,
        model.scores,
        events.schema.fingerprint,
        events.format,
        events.id,
        events.time,
        events.earliest,
        events.latest,
        model.numeric,
        model.categorical,
    )


def _joined(columns: Sequence[Sequence[int]]) -> I64:
    if len(columns) == 1:
        return np.asarray(columns[0], np.int64)
    return np.concatenate([np.asarray(column, np.int64) for column in columns])
