"""Predictions and labels of the same events to encoded outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from driftloop.kernel import sharing
from driftloop.kernel.codec.blocks import F64, I64, OutcomeBlock, PredictionBlock
from driftloop.kernel.codec.reshape import concat, take
from driftloop.kernel.codec.rows import encode_outcomes
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.ports import Send
from driftloop.kernel.slices import Slices


@dataclass(frozen=True, slots=True)
class Pairs:
    """Predictions and their labels, row by row."""

    predictions: PredictionBlock
    prediction_offset: I64
    label: F64
    observed_at: I64
    label_offset: I64

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: I64) -> Pairs:
        """The rows of these indices, in their order."""
        return Pairs(
            take(self.predictions, rows),
            self.prediction_offset[rows],
            self.label[rows],
            self.observed_at[rows],
            self.label_offset[rows],
        )

    def delay(self) -> I64:
        """From event to observation, ms."""
        return self.observed_at - self.predictions.event_time


@dataclass(frozen=True, slots=True)
class Found:
    """The pairs of one model's partition."""

    model: Declaration
    partition: int
    """Where both halves lie in their topics."""
    pairs: Pairs


def outcomes(found: Sequence[Found]) -> list[Send]:
    """The outcomes of models that are alike, encoded together: for each partition those of one
    model after the other, in the pairs' order."""
    found = sorted((one for one in found if len(one.pairs)), key=lambda one: one.partition)
    if not found:
        return []
    pairs = _joined([one.pairs for one in found])
    block = pairs.predictions
    counts = [len(one.pairs) for one in found]
    partition = np.repeat(np.array([one.partition for one in found], np.int32), counts)
    values = encode_outcomes(
        OutcomeBlock(
            ids=block.ids,
            event_time=block.event_time,
            outcome_time=np.maximum(block.event_time, pairs.observed_at),
            version=block.version,
            scores=block.scores,
            features=block.features,
            shadow_version=block.shadow_version,
            shadow_scores=block.shadow_scores,
            label=pairs.label,
            label_delay=pairs.delay(),
            prediction_partition=partition,
            prediction_offset=pairs.prediction_offset,
            label_partition=partition,
            label_offset=pairs.label_offset,
        )
    )
    topics = found[0].model.topics
    names = [one.model.name for one in found]
    whose = np.repeat(np.arange(len(found)), counts)
    ids = Slices.of(block.ids)
    sends = []
    for number in dict.fromkeys(one.partition for one in found):
        low, high = np.searchsorted(partition, [number, number + 1]).tolist()
        headers = sharing.table_of(names, whose[low:high]) if topics.shared else None
        keys, records = ids[low:high], values[low:high]
        sends.append(Send(topics.outcomes, keys, records, number, headers=headers))
    return sends


def _joined(parts: Sequence[Pairs]) -> Pairs:
    """The rows of one part after the other; at least one part."""
    if len(parts) == 1:
        return parts[0]
    return Pairs(
        concat([part.predictions for part in parts]),
        np.concatenate([part.prediction_offset for part in parts]),
        np.concatenate([part.label for part in parts]),
        np.concatenate([part.observed_at for part in parts]),
        np.concatenate([part.label_offset for part in parts]),
    )
