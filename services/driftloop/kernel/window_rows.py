"""Rows of the predictions and outcomes topics, placed in windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from driftloop.kernel.codec.blocks import I32, I64, OutcomeBlock, PredictionBlock, Rejected
from driftloop.kernel.codec.rows import decode_outcomes, decode_predictions
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import Stream
from driftloop.kernel.statistics.sketch import Sketch
from driftloop.kernel.windows import WindowKey, span, window_start


@dataclass(frozen=True, slots=True)
class StreamRows:
    """The rows of one batch, as columns of equal length, and what could not be decoded."""

    block: PredictionBlock | OutcomeBlock
    rows: I64
    """Which of the batch's records these are."""
    rejected: Sequence[Rejected]
    time: I64
    """The stream's event time, ms: of an outcome when both sides of it were known."""
    version: I32
    shadow: I32
    """-1 without a shadow; always -1 for predictions."""

    def __len__(self) -> int:
        return len(self.time)

    def update(self, sketch: Sketch, rows: I64) -> None:
        """Put the chosen rows into a sketch of their stream."""
        if isinstance(self.block, PredictionBlock):
            sketch.update_predictions(self.block, rows)
        else:
            sketch.update_outcomes(self.block, rows)

    def by_window(self, chosen: I64, size: int) -> Iterator[tuple[WindowKey, I64]]:
        """The chosen rows by window, in the order of the keys; within one, in row order."""
        if not len(chosen):
            return
        start = window_start(self.time[chosen], size)
        columns = (start, self.version[chosen], self.shadow[chosen])
        order, cuts = grouped(columns)
        firsts = order[cuts[:-1]]
        keys = map(WindowKey, *(column[firsts].tolist() for column in columns))
        for key, (low, high) in zip(keys, pairwise(cuts.tolist()), strict=True):
            yield key, chosen[order[low:high]]


def grouped(columns: Sequence[I64 | I32]) -> tuple[I64, I64]:
    """Rows by the values of some columns, the first of which counts most: their order, that of the
    rows among equal ones, and where in it each group begins and the last one ends. At least one
    row."""
    order = np.lexsort(tuple(reversed(columns)))
    changes = np.zeros(len(order) - 1, np.bool_)
    for column in columns:
        changes |= np.diff(column[order]) != 0
    cuts = np.concatenate(([0], np.flatnonzero(changes) + 1, [len(order)]))
    return order, cuts


def topic_of(declaration: Declaration, stream: Stream) -> str:
    """The topic that holds one of the model's two windowed streams."""
    topics = declaration.topics
    return topics.predictions if stream is Stream.PREDICTIONS else topics.outcomes


def stream_of(declaration: Declaration, topic: str) -> Stream:
    """Which of the model's two windowed streams a topic holds. Raises ValueError for others."""
    for stream in Stream:
        if topic == topic_of(declaration, stream):
            return stream
    raise ValueError(f"{topic!r} holds neither predictions nor outcomes of {declaration.name!r}")


def decode_rows(
    declaration: Declaration, stream: Stream, values: Sequence[bytes | None]
) -> StreamRows:
    """Decode records of a predictions or outcomes topic, whatever their times are."""
    scores = declaration.scores
    numeric, categorical = len(declaration.numeric), len(declaration.categorical)
    if stream is Stream.PREDICTIONS:
        block, rows, rejected = decode_predictions(
            values, scores=scores, numeric=numeric, categorical=categorical
        )
        none = np.full(len(rows), -1, dtype=np.int32)
        return StreamRows(block, rows, rejected, block.event_time, block.version, none)
    outcomes, rows, rejected = decode_outcomes(
        values, scores=scores, numeric=numeric, categorical=categorical
    )
    return StreamRows(
        outcomes, rows, rejected, outcomes.outcome_time, outcomes.version, outcomes.shadow_version
    )


def decode_rows_in_time(
    declaration: Declaration, stream: Stream, values: Sequence[bytes | None]
) -> StreamRows:
    """As :func:`decode_rows`; rows at times that no event or label has are rejected, for they would
    make all rows after them look late."""
    rows = decode_rows(declaration, stream, values)
    first, end = span(declaration)
    outside = set(rows.rows[(rows.time < first) | (rows.time >= end)].tolist())
    if not outside:
        return rows
    rest = [None if row in outside else value for row, value in enumerate(values)]
    why = f"its time is outside [{first}, {end}) ms, that of events and labels"
    rejected = [*rows.rejected]
    rejected += [Rejected(row, DecodeError(Reason.OUT_OF_LIMITS, why)) for row in outside]
    rejected.sort(key=lambda bad: bad.row)
    return replace(decode_rows(declaration, stream, rest), rejected=rejected)
