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
from driftloop.kernel.slices import Slices
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
        self._shapes: dict[str, tuple[Declaration, Hashable]] = {}
        self._same: dict[Hashable, Hashable] = {}
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
        model = self._catalog.model_of(batch)
        whole = np.arange(len(batch), dtype=np.int64)
        return self._process_alike(self._shape_of(model), batch, batch.values, [(model, whole)])

    def process_shared(self, batch: RecordBatch, parts: Mapping[str, I64]) -> Outputs:
        """A batch that several models share, with the rows of each. Models whose events look alike
        are decoded and encoded together, and scored one after the other."""
        alike: dict[Hashable, list[tuple[Declaration, I64]]] = {}
        for name, rows in sorted(parts.items()):
            model = self._catalog.models[name]
            alike.setdefault(self._shape_of(model), []).append((model, rows))
        values = Slices.of(batch.values)
        made = []
        for shape, group in alike.items():
            chosen = values.take(np.concatenate([rows for _, rows in group]))
            made.append(self._process_alike(shape, batch, chosen, group))
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
        self,
        shape: Hashable,
        batch: RecordBatch,
        values: Sequence[bytes | None],
        group: Sequence[tuple[Declaration, I64]],
    ) -> Outputs:
        """``values`` are those of the group's rows of the batch, model after model."""
        model = group[0][0]
        rows = group[0][1] if len(group) == 1 else np.concatenate([rows for _, rows in group])
        block, rejected = self._decoder(shape, model).decode(values)
        letters = [dead_letter(SERVICE, batch, int(rows[bad.row]), bad.error) for bad in rejected]
        if len(block.rows) == 0:
            return Outputs(dead_letters=letters)
        starts = np.cumsum([0, *(len(rows) for _, rows in group)])
        cuts = np.searchsorted(block.rows, starts).tolist()
        runs = [
            (one, low, high)
            for (one, _), (low, high) in zip(group, pairwise(cuts), strict=True)
            if low < high
        ]
        answered_rows = rows[block.rows]
        offsets: I64 = np.asarray(batch.offsets, np.int64)[answered_rows]
        asked = np.asarray(batch.timestamps, np.float64)[answered_rows]
        encoded = encode_predictions(self._predict(block, runs, batch.partition, offsets))
        headers = None
        if model.topics.shared:
            whose = np.repeat(np.arange(len(runs)), [high - low for _, low, high in runs])
            headers = sharing.table_of([one.name for one, _, _ in runs], whose)

        # A histogram has many series: those of a thousand small models would drown Prometheus.
        whose_latency = model.topics.events if model.topics.shared else model.name

        def answered(now: int) -> None:
            self._meter.observe(metrics.LATENCY, (now - asked) / 1000.0, whose_latency)

        send = Send(model.topics.predictions, block.ids, encoded, headers=headers)
        return Outputs([send], letters, answered)

    def _shape_of(self, model: Declaration) -> Hashable:
        known = self._shapes.get(model.name)
        if known is None or known[0] is not model:
            # One object per shape: comparing these by what they are takes far longer.
            shape = _shape(model)
            known = self._shapes[model.name] = (model, self._same.setdefault(shape, object()))
        return known[1]

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
