"""Topics that several models share: which record is whose is told by a header."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from driftloop.kernel.codec.categories import categories_of_slices
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.header_table import HeaderTable
from driftloop.kernel.ports import Headers, RecordBatch
from driftloop.kernel.slices import I64, Slices

MODEL_HEADER = "driftloop-model"


@dataclass(frozen=True, slots=True)
class Shared:
    """A batch of a topic that models share, and the rows of each."""

    batch: RecordBatch
    parts: Mapping[str, I64]


@dataclass(frozen=True, slots=True)
class Parted:
    """A batch by models."""

    parts: Mapping[str, I64]
    """Rows of each model that is named, ascending."""
    nameless: I64
    """Rows whose header is missing, or no UTF-8."""


def header_of(model: Declaration) -> Headers:
    """What tells a model's records apart; nothing where its topics are its own."""
    return ((MODEL_HEADER, model.name.encode()),) if model.topics.shared else ()


def headers(model: Declaration, count: int) -> Sequence[Headers] | None:
    """The header of ``count`` records of one model."""
    return table_of([model.name], np.zeros(count, np.int64)) if model.topics.shared else None


def table_of(names: Sequence[str], which: I64) -> HeaderTable:
    """One header per record: the name that ``which`` picks."""
    return HeaderTable.single(
        MODEL_HEADER, Slices.of([name.encode() for name in names]).take(which)
    )


def part(batch: RecordBatch) -> Parted:
    """Who is named by which record."""
    if batch.headers is None:
        return Parted({}, np.arange(len(batch), dtype=np.int64))
    named = HeaderTable.of(batch.headers).last(MODEL_HEADER)
    try:
        coded = categories_of_slices(
            named.data, named.at.reshape(-1, 1), named.length.reshape(-1, 1)
        )
    except UnicodeDecodeError:
        return _part_slowly(named)
    codes, names = coded.codes[:, 0], coded.levels[0]
    order = np.argsort(codes, kind="stable")
    cuts = np.searchsorted(codes[order], np.arange(len(names) + 1))
    found = {
        name: order[cuts[code] : cuts[code + 1]].astype(np.int64) for code, name in enumerate(names)
    }
    return Parted(found, np.flatnonzero(codes < 0))


def take(batch: RecordBatch, rows: I64, model: str | None) -> RecordBatch:
    """Some rows of a batch, as those of ``model``."""
    return replace(
        batch,
        offsets=_chosen(batch.offsets, rows),
        timestamps=_chosen(batch.timestamps, rows),
        keys=Slices.of(batch.keys).take(rows),
        values=Slices.of(batch.values).take(rows),
        headers=None if batch.headers is None else HeaderTable.of(batch.headers).take(rows),
        model=model,
    )


def of_model(model: Declaration, batch: RecordBatch) -> RecordBatch:
    """The model's own records of a batch of one of its topics."""
    if not model.topics.shared:
        return batch
    rows = part(batch).parts.get(model.name, np.zeros(0, np.int64))
    return replace(take(replace(batch, headers=None), rows, model.name))


def _chosen(values: Sequence[int], rows: I64) -> Sequence[int]:
    chosen: list[int] = np.asarray(values, np.int64)[rows].tolist()
    return chosen


def _part_slowly(named: Slices[bytes | None]) -> Parted:
    parts: dict[str, list[int]] = {}
    nameless = []
    for row, raw in enumerate(named):
        try:
            parts.setdefault((raw or b"").decode(), []).append(row)
        except UnicodeDecodeError:
            nameless.append(row)
    nameless += parts.pop("", [])
    found = {name: np.array(rows, np.int64) for name, rows in parts.items()}
    return Parted(found, np.array(sorted(nameless), np.int64))
