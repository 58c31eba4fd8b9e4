"""Scores a batch of events with the champion and the shadow."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from driftloop.inference.reports import Reports
from driftloop.kernel import metrics, sharing
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.blocks import (
    I32,
    I64,
    Categories,
    EventBlock,
    Features,
    PredictionBlock,
)
from driftloop.kernel.codec.events import EventDecoder
from driftloop.kernel.codec.rows import encode_predictions
from driftloop.kernel.deadletters import dead_letter
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.metrics import Meter
from driftloop.kernel.ports import RecordBatch, Send, TopicPartition
from driftloop.kernel.processor import Outputs
from driftloop.kernel.sharing import Shared
from driftloop.kernel.slices import Slices
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

    def __init__(self, catalog: Catalog, meter: Meter, reports: Reports | None = None) -> None:
        """``reports``: what is told of the loading, with the predictions."""
        self._catalog = catalog
        self._reports = reports
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

    def used(self, model: str) -> None:
        """It is not the least recently used one; may be said from any thread."""
        with suppress(KeyError):
            self._serving.move_to_end(model)

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
        return self._process_alike(self._shape_of(model), [(model, batch, whole)])

    def process_shared(self, batches: Sequence[Shared]) -> Outputs:
        """Batches that several models share. Models whose events look alike are decoded and encoded
        together, and scored one after the other."""
        alike: dict[Hashable, dict[str, list[tuple[Declaration, RecordBatch, I64]]]] = {}
        for shared in batches:
            for name, rows in shared.parts.items():
                model = self._catalog.models[name]
                of_shape = alike.setdefault(self._shape_of(model), {})
                of_shape.setdefault(name, []).append((model, shared.batch, rows))
        made = [
            self._process_alike(shape, [part for name in sorted(parts) for part in parts[name]])
            for shape, parts in alike.items()
        ]
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
        self, shape: Hashable, parts: Sequence[tuple[Declaration, RecordBatch, I64]]
    ) -> Outputs:
        """Rows of batches, model after model."""
        model = parts[0][0]
        block, rejected = self._decoder(shape, model).decode(_values(parts))
        starts = np.cumsum([0, *(len(rows) for _, _, rows in parts)])
        letters = []
        for bad in rejected:
            which = int(np.searchsorted(starts, bad.row, side="right")) - 1
            _, batch, rows = parts[which]
            row = int(rows[bad.row - int(starts[which])])
            letters.append(dead_letter(SERVICE, batch, row, bad.error))
        if len(block.rows) == 0:
            return Outputs(dead_letters=letters)
        kept = block.rows
        offsets = _column(parts, lambda batch: batch.offsets)[kept]
        asked = _column(parts, lambda batch: batch.timestamps)[kept]
        partition = np.repeat(
            np.array([batch.partition for _, batch, _ in parts], np.int32), np.diff(starts)
        )[kept]
        runs = _runs(parts, starts, kept)
        predictions = self._predict(block, runs, partition, offsets)
        headers = None
        if model.topics.shared:
            whose = np.repeat(np.arange(len(runs)), [high - low for _, low, high in runs])
            headers = sharing.table_of([one.name for one, _, _ in runs], whose)
        # A histogram has many series: those of a thousand small models would drown Prometheus.
        whose_latency = model.topics.events if model.topics.shared else model.name

        def answered(now: int) -> None:
            self._meter.observe(metrics.LATENCY, (now - asked) / 1000.0, whose_latency)

        send = Send(
            model.topics.predictions, block.ids, encode_predictions(predictions), headers=headers
        )
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
        partition: I32,
        offsets: I64,
    ) -> PredictionBlock:
        n = len(block.rows)
        version, shadow = np.empty(n, np.int32), np.empty(n, np.int32)
        scores = np.empty((n, runs[0][0].scores))
        shadow_scores = np.full_like(scores, np.nan)
        categories = block.features.categories
        newest = np.maximum.reduceat(block.times, [low for _, low, _ in runs]).tolist()
        for (model, low, high), last in zip(runs, newest, strict=True):
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
            if last > self._newest.get(model.name, 0):
                self._newest[model.name] = last
                self._meter.set(metrics.EVENT_TIME, last / 1000, model.name, "predictions")
        return PredictionBlock(
            ids=block.ids,
            event_time=block.times,
            version=version,
            scores=scores,
            features=block.features,
            shadow_version=shadow,
            shadow_scores=shadow_scores,
            source_partition=partition,
            source_offset=offsets,
        )

    def on_time(self, now: int) -> Outputs:
        return Outputs() if self._reports is None else self._reports.outputs(now)

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
        model.vectors,
    )


def _values(parts: Sequence[tuple[Declaration, RecordBatch, I64]]) -> Sequence[bytes | None]:
    _, batch, rows = parts[0]
    if len(parts) == 1 and len(rows) == len(batch):
        return batch.values
    # Of one poll the batches mostly lie in one buffer, which then need not be copied.
    columns = [Slices.of(batch.values) for _, batch, _ in parts]
    if any(column.data is not columns[0].data for column in columns):
        return concat_slices(
            [column.take(rows) for column, (_, _, rows) in zip(columns, parts, strict=True)]
        )
    rows_of = [rows for _, _, rows in parts]
    return Slices(
        columns[0].data,
        np.concatenate([c.at[rows] for c, rows in zip(columns, rows_of, strict=True)]),
        np.concatenate([c.length[rows] for c, rows in zip(columns, rows_of, strict=True)]),
    )


def _column(
    parts: Sequence[tuple[Declaration, RecordBatch, I64]],
    column: Callable[[RecordBatch], Sequence[int]],
) -> I64:
    """A column of the batches, at the parts' rows."""
    known: dict[int, I64] = {}
    chosen = []
    for _, batch, rows in parts:
        whole = known.get(id(batch))
        if whole is None:
            whole = known[id(batch)] = np.asarray(column(batch), np.int64)
        chosen.append(whole[rows])
    return np.concatenate(chosen)


def _runs(
    parts: Sequence[tuple[Declaration, RecordBatch, I64]], starts: I64, kept: I64
) -> list[tuple[Declaration, int, int]]:
    """Each model's rows of the block: the model, the first and the one after the last."""
    cuts = np.searchsorted(kept, starts).tolist()
    runs: list[tuple[Declaration, int, int]] = []
    for (model, _, _), (low, high) in zip(parts, pairwise(cuts), strict=True):
        if runs and runs[-1][0] is model:
            runs[-1] = (model, runs[-1][1], high)
        elif low < high:
            runs.append((model, low, high))
    return runs
