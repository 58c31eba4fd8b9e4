"""Records of models whose records look alike, to be decoded and encoded together."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from weakref import WeakValueDictionary

import numpy as np

from driftloop.kernel.deadletters import dead_letter
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.ports import RecordBatch
from driftloop.kernel.processor import ControlBehindError
from driftloop.kernel.records import DeadLetter
from driftloop.kernel.sharing import Shared
from driftloop.kernel.slices import I64, Slices, concat


@dataclass(frozen=True, slots=True)
class Alike:
    """Rows of batches of one topic, model after model."""

    models: Sequence[Declaration]
    batches: Sequence[RecordBatch]
    rows: I64
    """Of the batches end to end, ascending within each model."""
    cuts: Sequence[int]
    """Where the rows of each model begin, and where the last one's end."""

    @classmethod
    def of(cls, model: Declaration, batch: RecordBatch) -> Alike:
        """A batch that is all of one model."""
        n = len(batch)
        return cls([model], [batch], np.arange(n, dtype=np.int64), [0, n])

    def values(self) -> Sequence[bytes | None]:
        """The records, in the order of the rows."""
        batches, rows = self.batches, self.rows
        if len(batches) == len(self.models) == 1 and len(rows) == len(batches[0]):
            return batches[0].values
        columns = [Slices.of(batch.values) for batch in batches]
        # Of one poll the batches mostly lie in one buffer, which then need not be copied.
        if any(column.data is not columns[0].data for column in columns):
            return concat(columns).take(rows)
        at = np.concatenate([column.at for column in columns])
        length = np.concatenate([column.length for column in columns])
        return Slices(columns[0].data, at[rows], length[rows])

    def timestamps(self) -> I64:
        """Of the records, ms."""
        return self._column([batch.timestamps for batch in self.batches])

    def offsets(self) -> I64:
        """Of the records."""
        return self._column([batch.offsets for batch in self.batches])

    def which(self) -> I64:
        """The index of the batch that each record is of."""
        found: I64 = np.searchsorted(self._starts(), self.rows, side="right") - 1
        return found

    def letter(self, service: str, row: int, error: DecodeError) -> DeadLetter:
        """The dead letter of one of the rows, by its place among them."""
        at, starts = int(self.rows[row]), self._starts()
        which = int(np.searchsorted(starts, at, side="right")) - 1
        return dead_letter(service, self.batches[which], at - int(starts[which]), error)

    def runs(self, chosen: I64) -> Iterator[tuple[Declaration, RecordBatch, int, int]]:
        """The chosen rows, ascending places among these, by model and batch: each with where its
        own begin and end among the chosen."""
        if not len(chosen):
            return
        model = np.searchsorted(self.cuts, chosen, side="right") - 1
        batch = self.which()[chosen]
        changes = np.flatnonzero((np.diff(model) != 0) | (np.diff(batch) != 0)) + 1
        bounds = [0, *changes.tolist(), len(chosen)]
        firsts = bounds[:-1]
        owners = zip(model[firsts].tolist(), batch[firsts].tolist(), strict=True)
        for (whose, where), (low, high) in zip(owners, pairwise(bounds), strict=True):
            yield self.models[whose], self.batches[where], low, high

    def _starts(self) -> I64:
        """Where each batch begins among all rows."""
        return np.cumsum([0, *map(len, self.batches[:-1])], dtype=np.int64)

    def _column(self, columns: Sequence[Sequence[int]]) -> I64:
        whole = np.concatenate([np.asarray(column, np.int64) for column in columns])
        if len(self.models) == 1 and len(whole) == len(self.rows):
            return whole
        taken: I64 = whole[self.rows]
        return taken


class Shape:
    """Of records: models that are alike have the same one. Comparing declarations by what decides
    it would take far longer."""

    __slots__ = ("__weakref__",)


class Shapes:
    """Which models' records look alike, by what ``shape`` says of a declaration. A shape that no
    model has any more is forgotten."""

    def __init__(self, shape: Callable[[Declaration], Hashable]) -> None:
        self._shape = shape
        self._known: dict[str, tuple[Declaration, Shape]] = {}
        self._same: WeakValueDictionary[Hashable, Shape] = WeakValueDictionary()

    def of(self, model: Declaration) -> Shape:
        """Of a declaration."""
        known = self._known.get(model.name)
        if known is None or known[0] is not model:
            shape = self._same.setdefault(self._shape(model), Shape())
            known = self._known[model.name] = (model, shape)
        return known[1]

    def split(self, shared: Shared, declared: Mapping[str, Declaration]) -> list[Alike]:
        """What several models share by those that are alike. Raises :class:`ControlBehindError`."""
        gone = [name for name in shared.names if name not in declared]
        if gone:
            raise ControlBehindError(f"no model {gone[0]!r} is declared")
        models = [declared[name] for name in shared.names]
        shapes = list(map(self.of, models))
        cuts = shared.cuts.tolist()
        if len(set(shapes)) == 1:
            return [Alike(models, shared.batches, shared.rows, cuts)]
        found = []
        for shape in dict.fromkeys(shapes):
            chosen = [k for k, own in enumerate(shapes) if own is shape]
            parts = [shared.rows[cuts[k] : cuts[k + 1]] for k in chosen]
            ends = np.cumsum([0, *map(len, parts)]).tolist()
            rows = np.concatenate(parts)
            found.append(Alike([models[k] for k in chosen], shared.batches, rows, ends))
        return found
