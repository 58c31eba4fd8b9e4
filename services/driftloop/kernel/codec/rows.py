"""Batches of predictions and outcomes, to bytes and back, as single-object Avro.

The bytes equal those of ``codec.records`` for the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from driftloop.kernel.codec.blocks import (
    F64,
    I32,
    I64,
    Features,
    OutcomeBlock,
    PredictionBlock,
    Rejected,
)
from driftloop.kernel.codec.categories import categories_of_slices, slices_of_categories
from driftloop.kernel.codec.columns import ColumnReader, Columns, Decoded, bits
from driftloop.kernel.codec.faults import Faults
from driftloop.kernel.codec.plan import Want
from driftloop.kernel.codec.slice_kernels import gather
from driftloop.kernel.codec.writing import ColumnWriter
from driftloop.kernel.reasons import Reason
from driftloop.kernel.schemas import record_schema
from driftloop.kernel.slices import Slices

_SHARED: Mapping[str, Want] = {
    "event_id": Want.TEXT,
    "event_time": Want.INTEGER,
    "version": Want.INTEGER,
    "scores": Want.NUMBERS,
    "numeric": Want.NUMBERS,
    "categories": Want.TEXTS,
    "shadow_version": Want.INTEGER,
    "shadow_scores": Want.NUMBERS,
}
_WANTED: Mapping[str, Mapping[str, Want]] = {
    "prediction": {
        **_SHARED,
        "source_partition": Want.INTEGER,
        "source_offset": Want.INTEGER,
    },
    "outcome": {
        **_SHARED,
        "outcome_time": Want.INTEGER,
        "label": Want.NUMBER,
        "label_delay": Want.INTEGER,
        "prediction_partition": Want.INTEGER,
        "prediction_offset": Want.INTEGER,
        "label_partition": Want.INTEGER,
        "label_offset": Want.INTEGER,
    },
}


def encode_predictions(block: PredictionBlock) -> Slices[bytes]:
    """One framed record per row."""
    return _encode("prediction", block)


def encode_outcomes(block: OutcomeBlock) -> Slices[bytes]:
    """One framed record per row."""
    return _encode("outcome", block)


def decode_predictions(
    values: Sequence[bytes | None], *, scores: int, numeric: int, categorical: int
) -> tuple[PredictionBlock, I64, list[Rejected]]:
    """The predictions of a batch, the rows they stand in, and the other rows. Never raises.

    A prediction with other than this many scores and features is malformed.
    """
    part = _decode("prediction", values, scores, numeric, categorical)
    block = PredictionBlock(
        ids=part.ids,
        event_time=part.longs("event_time"),
        version=part.ints("version"),
        scores=part.scores,
        features=part.features,
        shadow_version=part.ints("shadow_version"),
        shadow_scores=part.shadow_scores,
        source_partition=part.ints("source_partition"),
        source_offset=part.longs("source_offset"),
    )
    return block, part.rows, part.rejected


def decode_outcomes(
    values: Sequence[bytes | None], *, scores: int, numeric: int, categorical: int
) -> tuple[OutcomeBlock, I64, list[Rejected]]:
    """The outcomes of a batch, as :func:`decode_predictions` the predictions."""
    part = _decode("outcome", values, scores, numeric, categorical)
    label = part.columns.numbers[:, part.reader.columns["label"].slot]
    block = OutcomeBlock(
        ids=part.ids,
        event_time=part.longs("event_time"),
        outcome_time=part.longs("outcome_time"),
        version=part.ints("version"),
        scores=part.scores,
        features=part.features,
        shadow_version=part.ints("shadow_version"),
        shadow_scores=part.shadow_scores,
        label=np.ascontiguousarray(label),
        label_delay=part.longs("label_delay"),
        prediction_partition=part.ints("prediction_partition"),
        prediction_offset=part.longs("prediction_offset"),
        label_partition=part.ints("label_partition"),
        label_offset=part.longs("label_offset"),
    )
    return block, part.rows, part.rejected


@dataclass(frozen=True, slots=True)
class _Rows:
    """What both kinds of rows have in common, and access to the rest."""

    reader: ColumnReader
    columns: Columns
    rows: I64
    rejected: list[Rejected]
    ids: Slices[bytes]
    scores: F64
    shadow_scores: F64
    features: Features

    def longs(self, name: str) -> I64:
        return np.ascontiguousarray(self.columns.integers[:, self.reader.columns[name].slot])

    def ints(self, name: str) -> I32:
        return self.longs(name).astype(np.int32)


@cache
def _reader(kind: str) -> ColumnReader:
    return ColumnReader(record_schema(kind), _WANTED[kind])


@cache
def _writer(kind: str) -> ColumnWriter:
    return ColumnWriter(record_schema(kind), _WANTED[kind])


def _encode(kind: str, block: PredictionBlock | OutcomeBlock) -> Slices[bytes]:
    writer = _writer(kind)
    n = len(block.ids)
    integers = [name for name, want in _WANTED[kind].items() if want is Want.INTEGER]
    numbers = [name for name, want in _WANTED[kind].items() if want is Want.NUMBER]
    ids = Slices.of(block.ids)
    used = ids.total()
    levels, text_at, text_length = slices_of_categories(block.features.categories, used)
    data, id_at = ids.packed(levels) if levels else (ids.data, ids.at)
    matrices = {
        "scores": block.scores,
        "numeric": block.features.numeric,
        "shadow_scores": block.shadow_scores,
    }
    counts = {name: np.full(n, m.shape[1], np.int64) for name, m in matrices.items()}
    counts["shadow_scores"][block.shadow_version == -1] = 0
    counts["categories"] = np.full(n, text_at.shape[1], np.int64)
    arrays = [name for name, want in _WANTED[kind].items() if want in (Want.NUMBERS, Want.TEXTS)]
    seq_at = np.empty((n, len(arrays)), np.int64)
    seq_count = np.empty((n, len(arrays)), np.int64)
    used = 0
    for slot, name in enumerate(arrays):
        width = text_at.shape[1] if name == "categories" else matrices[name].shape[1]
        seq_at[:, slot] = np.arange(n, dtype=np.int64) * width
        seq_count[:, slot] = counts[name]
        if name != "categories":
            seq_at[:, slot] += used
            used += n * width
    columns = Columns(
        data=data,
        numbers=np.stack([getattr(block, name) for name in numbers], axis=1)
        if numbers
        else np.empty((n, 0)),
        number_null=np.zeros((n, len(numbers)), np.uint8),
        integers=np.stack([getattr(block, name) for name in integers], axis=1, dtype=np.int64),
        integer_null=np.zeros((n, len(integers)), np.uint8),
        at=id_at.reshape(n, 1),
        length=ids.length.reshape(n, 1),
        seq_at=seq_at,
        seq_count=seq_count,
        flat_numbers=np.concatenate([matrices[a].ravel() for a in arrays if a in matrices]),
        flat_at=text_at.ravel(),
        flat_length=text_length.ravel(),
    )
    return writer.write(columns)


def _decode(
    kind: str, values: Sequence[bytes | None], scores: int, numeric: int, categorical: int
) -> _Rows:
    reader = _reader(kind)
    decoded = reader.read(values)
    faults = Faults(decoded)
    _check_counts(faults, reader, decoded, scores, numeric, categorical)
    columns = decoded.columns.take(faults.keep()) if faults else decoded.columns
    places = reader.columns

    def matrix(name: str, width: int, rows: slice | I64 = slice(None)) -> F64:
        starts = np.ascontiguousarray(columns.seq_at[rows, places[name].slot])
        out = np.empty((len(starts), width))
        gather(bits(columns.flat_numbers), starts, bits(out))
        return out

    def slices(flat: I64) -> I64:
        starts = np.ascontiguousarray(columns.seq_at[:, places["categories"].slot])
        out = np.empty((len(starts), categorical), np.int64)
        gather(flat.view(np.uint64), starts, out.view(np.uint64))
        return out

    shadow = np.full((len(columns), scores), np.nan)
    shadowed = np.flatnonzero(columns.integers[:, places["shadow_version"].slot] != -1)
    shadow[shadowed] = matrix("shadow_scores", scores, shadowed)
    return _Rows(
        reader=reader,
        columns=columns,
        rows=faults.rows(),
        rejected=faults.rejected(),
        ids=columns.slices(places["event_id"].slot),
        scores=matrix("scores", scores),
        shadow_scores=shadow,
        features=Features(
            matrix("numeric", numeric),
            categories_of_slices(
                columns.data, slices(columns.flat_at), slices(columns.flat_length)
            ),
        ),
    )


def _check_counts(
    faults: Faults,
    reader: ColumnReader,
    decoded: Decoded,
    scores: int,
    numeric: int,
    categorical: int,
) -> None:
    columns, places = decoded.columns, reader.columns
    shadowed = columns.integers[:, places["shadow_version"].slot] != -1
    expected = {
        "scores": np.full(len(columns), scores),
        "numeric": np.full(len(columns), numeric),
        "categories": np.full(len(columns), categorical),
        "shadow_scores": np.where(shadowed, scores, 0),
    }
    for name, counts in expected.items():
        found = columns.seq_count[:, places[name].slot]
        for index in np.flatnonzero(found != counts).tolist():
            faults.add(
                index,
                Reason.MALFORMED,
                f"field {name!r} has {int(found[index])} entries, not {int(counts[index])}",
            )
