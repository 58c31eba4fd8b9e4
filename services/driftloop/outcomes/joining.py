"""Pairs of prediction and label to encoded outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from driftloop.kernel.codec.blocks import OutcomeBlock
from driftloop.kernel.codec.rows import decode_predictions, encode_outcomes
from driftloop.kernel.declaration import Declaration
from driftloop.outcomes.state import OpenLabel, OpenPrediction


@dataclass(frozen=True, slots=True)
class Pair:
    """A prediction and its label."""

    id: bytes
    prediction: OpenPrediction
    label: OpenLabel


def join(
    model: Declaration, pairs: Sequence[Pair], partition: int
) -> tuple[list[bytes], list[bytes]]:
    """Keys and values of the outcomes, in the pairs' order. Both halves lie in ``partition`` of
    their topics."""
    n = len(pairs)
    block, _, rejected = decode_predictions(
        [pair.prediction.record for pair in pairs],
        scores=model.scores,
        numeric=len(model.numeric),
        categorical=len(model.categorical),
    )
    if rejected:  # It was decoded when it came in, by the same declaration's shape.
        raise rejected[0].error
    label = np.array([pair.label.label for pair in pairs], dtype=np.float64)
    observed = np.array([pair.label.observed_at for pair in pairs], dtype=np.int64)
    outcomes = OutcomeBlock(
        ids=block.ids,
        event_time=block.event_time,
        outcome_time=np.maximum(block.event_time, observed),
        version=block.version,
        scores=block.scores,
        features=block.features,
        shadow_version=block.shadow_version,
        shadow_scores=block.shadow_scores,
        label=label,
        label_delay=observed - block.event_time,
        prediction_partition=np.full(n, partition, dtype=np.int32),
        prediction_offset=np.array([pair.prediction.offset for pair in pairs], dtype=np.int64),
        label_partition=np.full(n, partition, dtype=np.int32),
        label_offset=np.array([pair.label.offset for pair in pairs], dtype=np.int64),
    )
    return [pair.id for pair in pairs], encode_outcomes(outcomes)
