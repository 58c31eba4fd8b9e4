"""Blocks and windows of labelled rows, as services make them."""

from __future__ import annotations

import numpy as np

from driftloop.kernel.codec.blocks import F64, OutcomeBlock, PredictionBlock
from driftloop.kernel.records import Stream, Window
from driftloop.kernel.statistics.sketch import Sketch
from loadtest.covariates import Labelled

_MINUTE = 60_000


def predictions(rows: Labelled, scores: F64) -> PredictionBlock:
    """Of version 1; ``scores``: shape (n, scores per row)."""
    n = len(rows)
    times = np.zeros(n, dtype=np.int64)
    return PredictionBlock(
        ids=[b""] * n,
        event_time=times,
        version=np.ones(n, dtype=np.int32),
        scores=scores,
        features=rows.features,
        shadow_version=np.full(n, -1, dtype=np.int32),
        shadow_scores=np.full((n, 1), np.nan),
        source_partition=np.zeros(n, dtype=np.int32),
        source_offset=times,
    )


def outcomes(rows: Labelled, scores: F64) -> OutcomeBlock:
    """Of version 1; ``scores``: shape (n, scores per row)."""
    n = len(rows)
    zeros, none = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int32)
    return OutcomeBlock(
        ids=[b""] * n,
        event_time=zeros,
        outcome_time=zeros,
        version=none + 1,
        scores=scores,
        features=rows.features,
        shadow_version=none - 1,
        shadow_scores=np.full((n, 1), np.nan),
        label=rows.labels,
        label_delay=zeros,
        prediction_partition=none,
        prediction_offset=zeros,
        label_partition=none,
        label_offset=zeros,
    )


def window_of(model: str, stream: Stream, sketch: Sketch) -> Window:
    """The only one there is, a minute long."""
    statistics = sketch.statistics()
    rows = statistics.rows
    return Window(model, stream, 0, _MINUTE, 1, -1, 0, rows, 0, (), 0, statistics, "")
