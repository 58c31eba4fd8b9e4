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


def joined(parts: Sequence[Pairs], order: I64) -> Pairs:
    """The rows of all parts, by ``order``; at least one part."""
    whole = (
        parts[0]
        if len(parts) == 1
        else Pairs(
            concat([part.predictions for part in parts]),
            np.concatenate([part.prediction_offset for part in parts]),
            np.concatenate([part.label for part in parts]),
            np.concatenate([part.observed_at for part in parts]),
            np.concatenate([part.label_offset for part in parts]),
        )
    )
    return whole if np.array_equal(order, np.arange(len(whole))) else whole.take(order)


def outcomes(pairs: Pairs, model: Declaration, partition: int) -> Send:
    """The outcomes, in the pairs' order. Both halves lie in ``partition`` of their topics."""
    block, n = pairs.predictions, len(pairs)
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
            prediction_partition=np.full(n, partition, dtype=np.int32),
            prediction_offset=pairs.prediction_offset,
            label_partition=np.full(n, partition, dtype=np.int32),
            label_offset=pairs.label_offset,
        )
    )
    headers = sharing.headers(model, n)
    return Send(model.topics.outcomes, block.ids, values, partition, headers=headers)
