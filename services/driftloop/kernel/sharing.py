"""Topics that several models share: which record is whose is told by a header."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from driftloop.kernel.codec.categories import categories_of_slices
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.header_table import HeaderTable
from driftloop.kernel.ports import Headers, RecordBatch
from driftloop.kernel.slices import I64, Slices, concat

MODEL_HEADER = "driftloop-model"


@dataclass(frozen=True, slots=True)
class Shared:
    """Batches of a topic that models share, by models."""

    batches: Sequence[RecordBatch]
    names: Sequence[str]
    rows: I64
    """Of the batches end to end, model after model, ascending within each."""
    cuts: I64
    """Where the rows of each model begin, and where the last one's end."""


@dataclass(frozen=True, slots=True)
class Parted:
    """Records by models; see :class:`Shared`."""

    names: Sequence[str]
    """Those that are named, ascending."""
    rows: I64
    cuts: I64
    nameless: I64
    """Rows whose header is missing, or no UTF-8."""

    @property
    def parts(self) -> Mapping[str, I64]:
        """Rows of each model."""
        pairs = pairwise(self.cuts.tolist())
        return {name: self.rows[a:b] for name, (a, b) in zip(self.names, pairs, strict=True)}

    def among(
        self, sharers: Set[str], batches: Sequence[RecordBatch]
    ) -> tuple[Shared, Mapping[int, str]]:
        """What belongs to models that share the topic; and the rows of no such model, with the name
        that they give (empty: none). ``batches``: those that were parted."""
        strangers = dict.fromkeys(self.nameless.tolist(), "")
        if sharers >= set(self.names):
            return Shared(batches, self.names, self.rows, self.cuts), strangers
        parts = self.parts
        names = [name for name in self.names if name in sharers]
        for name in parts.keys() - sharers:
            strangers |= dict.fromkeys(parts[name].tolist(), name)
        rows = [parts[name] for name in names]
        every = np.concatenate([np.zeros(0, np.int64), *rows])
        cuts = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        return Shared(batches, names, every, cuts), strangers


def headers(model: Declaration, count: int) -> Sequence[Headers] | None:
    """The header of ``count`` records of one model."""
    return table_of([model.name], np.zeros(count, np.int64)) if model.topics.shared else None


def headers_of(model: Declaration) -> Headers:
    """Of one record of a model."""
    return ((MODEL_HEADER, model.name.encode()),) if model.topics.shared else ()


def table_of(names: Sequence[str], which: I64) -> HeaderTable:
    """One header per record: the name that ``which`` picks."""
    return HeaderTable.single(
        MODEL_HEADER, Slices.of([name.encode() for name in names]).take(which)
    )


def part(batches: Sequence[RecordBatch]) -> Parted:
    """Who is named by which record of some batches end to end; at least one."""
    named = concat([_named(batch) for batch in batches])
    try:
        coded = categories_of_slices(
            named.data, named.at.reshape(-1, 1), named.length.reshape(-1, 1)
        )
    except UnicodeDecodeError:
        return _part_slowly(named)
    found = coded.levels[0]
    ascending = sorted(range(len(found)), key=found.__getitem__)
    # The last element answers index -1, which is missing.
    place = np.full(len(found) + 1, -1, np.int32)
    place[ascending] = np.arange(len(found))
    codes = place[coded.codes[:, 0]]
    order = np.argsort(codes, kind="stable").astype(np.int64, copy=False)
    cuts = np.searchsorted(codes[order], np.arange(len(found) + 1))
    first = int(cuts[0])
    names = [found[code] for code in ascending]
    return Parted(names, order[first:], cuts - first, order[:first])


def _named(batch: RecordBatch) -> Slices[bytes | None]:
    """The models' names by the records' headers."""
    if batch.headers is None:
        return Slices.of([None] * len(batch))
    return HeaderTable.of(batch.headers).last(MODEL_HEADER)


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
    return named(model.name, batch) if model.topics.shared else batch


def named(model: str, batch: RecordBatch) -> RecordBatch:
    """The records of a batch that say they are this model's."""
    rows = part([batch]).parts.get(model, np.zeros(0, np.int64))
    return take(replace(batch, headers=None), rows, model)


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
    names = sorted(parts)
    return Parted(
        names,
        np.array([row for name in names for row in parts[name]], np.int64),
        np.cumsum([0, *(len(parts[name]) for name in names)], dtype=np.int64),
        np.array(sorted(nameless), np.int64),
    )
