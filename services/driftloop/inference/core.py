"""Scores a batch of events with the champion and the shadow."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from weakref import WeakKeyDictionary

import numpy as np

from driftloop.inference.reports import Reports
from driftloop.inference.tallies import Tallies
from driftloop.kernel import metrics, sharing
from driftloop.kernel.alike import Alike, Shape, Shapes
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.blocks import (
    I32,
    I64,
    Categories,
    EventBlock,
    Features,
    PredictionBlock,
    Rejected,
)
from driftloop.kernel.codec.events import EventDecoder
from driftloop.kernel.codec.rows import encode_predictions
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.metrics import Meter
from driftloop.kernel.ports import RecordBatch, Send, TopicPartition
from driftloop.kernel.processor import Outputs
from driftloop.kernel.sharing import Shared
from driftloop.models.constant import ConstantModel
from driftloop.models.ports import FrozenModel

SERVICE = "inference"


@dataclass(frozen=True, slots=True)
class Serving:
    """What scores a model's events, until the next swap."""

    sequence: int
    """Of the deployment that asks for it. -1: none does; it is before the first, or serves in the
    place of what cannot be loaded."""
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
        self._decoders: WeakKeyDictionary[Shape, EventDecoder] = WeakKeyDictionary()
        self._shapes = Shapes(_shape)
        self._tallies = Tallies(meter)

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
        alike = Alike.of(self._catalog.model_of(batch), batch)
        return self._answer(alike, *self._read(alike))

    def process_shared(self, shared: Sequence[Shared]) -> Outputs:
        """Batches that several models share. Models whose events look alike are decoded and encoded
        together, and scored one after the other."""
        models = self._catalog.models
        parts = [alike for one in shared for alike in self._shapes.split(one, models)]
        # What cannot be read now is asked for again, all of it: nothing may be counted by then.
        read = [self._read(alike) for alike in parts]
        made = [self._answer(alike, *decoded) for alike, decoded in zip(parts, read, strict=True)]
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

    def _read(self, alike: Alike) -> tuple[EventBlock, Sequence[Rejected]]:
        """Raises :class:`RegistryUnavailableError`."""
        return self._decoder(alike.models[0]).decode(alike.values(), alike.timestamps())

    def _answer(self, alike: Alike, block: EventBlock, rejected: Sequence[Rejected]) -> Outputs:
        model = alike.models[0]
        letters = [alike.letter(SERVICE, bad.row, bad.error) for bad in rejected]
        if len(block.rows) == 0:
            return Outputs(dead_letters=letters)
        asked = alike.timestamps()[block.rows]
        partitions = np.array([batch.partition for batch in alike.batches], np.int32)
        bounds = pairwise(np.searchsorted(block.rows, alike.cuts).tolist())
        runs = [
            (own, low, high)
            for own, (low, high) in zip(alike.models, bounds, strict=True)
            if low < high
        ]
        predictions = self._predict(
            block, runs, partitions[alike.which()[block.rows]], alike.offsets()[block.rows]
        )
        headers = None
        if model.topics.shared:
            whose = np.repeat(np.arange(len(runs)), [high - low for _, low, high in runs])
            headers = sharing.table_of([one.name for one, _, _ in runs], whose)

        def answered(now: int) -> None:
            self._meter.observe(metrics.LATENCY, (now - asked) / 1000.0, model.label)

        send = Send(
            model.topics.predictions, block.ids, encode_predictions(predictions), headers=headers
        )
        return Outputs([send], letters, answered)

    def _predict(
        self,
        block: EventBlock,
        runs: Sequence[tuple[Declaration, int, int]],
        partition: I32,
        offsets: I64,
    ) -> PredictionBlock:
        n = len(block.rows)
        served: list[tuple[int, int]] = []
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
            served.append((serving.champion, serving.shadow))
            scores[low:high] = serving.champion_model.score(features)
            if serving.shadow_model is not None:
                shadow_scores[low:high] = serving.shadow_model.score(features)
            self._tallies.scored(model.name, serving.champion, high - low, last)
        lengths = [high - low for _, low, high in runs]
        version, shadow = np.repeat(np.array(served, np.int32), lengths, axis=0).T.copy()
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
        self._tallies.tell(now)
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

    def _decoder(self, model: Declaration) -> EventDecoder:
        shape = self._shapes.of(model)
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
        # Its text, as defaults say what may be left out, and no fingerprint tells them.
        events.schema.text,
        events.format,
        events.id,
        events.time,
        events.earliest,
        events.latest,
        events.ahead,
        model.numeric,
        model.categorical,
        model.vectors,
    )
