"""The rows that a profile is made of: where each is counted, and in which block of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from driftloop.kernel.codec.blocks import F64, I64, Categories, Features
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.records import Stream
from driftloop.kernel.records.training import Variation
from driftloop.kernel.seasons import slot
from driftloop.kernel.statistics.layout import Layout, Place
from driftloop.models.dispersion import blocks_of, dispersion, share_dispersion, window_rows
from driftloop.models.payoffs import Betting
from driftloop.models.variation import variation

Bools = npt.NDArray[np.bool_]

_SLOT_LENGTH = 3_600_000
"""ms; the slots of all seasons are whole multiples."""


@dataclass(frozen=True, slots=True)
class ReferencePolicy:
    """What the references depend on of a declaration."""

    window: int = 0
    """ms; 0: unknown, then dispersion is that of consecutive rows."""
    season: tuple[str, ...] = ()
    segment: str = ""

    @classmethod
    def of(cls, declaration: Declaration) -> ReferencePolicy:
        alerts = declaration.alerts
        return cls(declaration.windows.size, alerts.season, alerts.segment)


@dataclass(frozen=True, slots=True)
class ReferenceRows:
    """The n rows of training, of which the last m are held out."""

    features: Features
    event_times: I64
    """Shape (n,), ms."""
    outcome_times: I64
    """Shape (n,), ms."""
    scores: F64
    """Shape (m,): what windows count as score."""
    losses: F64
    """Shape (m,): bounded losses."""
    errors: Bools
    """Shape (m,): whether the most probable class is not the label."""
    predicted: Categories
    """Shape (m, 1), multiclass: the most probable class; otherwise (m, 0)."""


@dataclass(frozen=True, slots=True)
class Column:
    """Where in the layout each row of one column is counted."""

    place: Place
    first: int
    """The first of the rows that the column is of; it is of all after it."""
    positions: I64


def positions(layout: Layout, rows: ReferenceRows) -> list[Column]:
    """In the order of the layout's places."""
    held_out = len(rows.event_times) - len(rows.scores)
    profile = layout.profile
    places = iter(layout.places)
    if layout.stream is Stream.OUTCOMES:
        if not profile.loss.counts:
            return []
        edges = np.array(profile.loss.edges)
        return [Column(next(places), held_out, np.searchsorted(edges, rows.losses, side="left"))]
    found: list[Column] = []
    columns = rows.features.numeric.T
    for numeric, values, first in zip(
        profile.numeric,
        [*columns, rows.scores],
        [*[0] * len(columns), held_out],
        strict=True,
    ):
        place = next(places)
        bins = np.searchsorted(np.array(numeric.edges), values, side="left")
        at = np.where(np.isnan(values), place.missing, place.bins.start + bins)
        found.append(Column(place, first, at.astype(np.int64)))
    kinds = [
        (rows.features.categories, 0, k) for k in range(rows.features.categories.codes.shape[1])
    ]
    kinds += [(rows.predicted, held_out, k) for k in range(rows.predicted.codes.shape[1])]
    for categorical, (categories, first, column) in zip(profile.categorical, kinds, strict=True):
        place = next(places)
        index = {level: place.bins.start + i for i, level in enumerate(categorical.levels)}
        codes = [index.get(level, place.other) for level in categories.levels[column]]
        # The last element answers code -1, which is missing.
        lookup = np.array([*codes, place.missing], dtype=np.int64)
        found.append(Column(place, first, lookup[categories.codes[:, column]]))
    return found


@dataclass(frozen=True, slots=True)
class _Counted:
    """Rows of one stream: their bins, of so many, their blocks, and their slots where declared."""

    bins: I64
    count: int
    blocks: I64
    slots: I64 | None


class RowBlocks:
    """Blocks of the rows by the time that windows of the stream are cut by: of all of them, and of
    the held-out ones."""

    def __init__(
        self, stream: Stream, rows: ReferenceRows, policy: ReferencePolicy, by_slot: bool
    ) -> None:
        """``by_slot``: whether windows are compared with the rows of their season's slot."""
        of_outcomes = stream is Stream.OUTCOMES
        self._times = rows.outcome_times if of_outcomes else rows.event_times
        self._errors = rows.errors if of_outcomes else None
        self._window = policy.window
        self._season = policy.season if by_slot else ()
        self._known: dict[int, tuple[I64, I64 | None]] = {}

    def dispersions(self, column: Column, inside: Bools | None = None) -> tuple[float, float]:
        """Of the values, and of how many are missing; of losses, and of how many are errors.
        ``inside``, shape (n,): of these rows only."""
        blocks, _ = self._blocks(column.first)
        values, other = self._rows(column, blocks, inside)
        return (
            dispersion(
                values.bins,
                values.count,
                values.blocks,
                self._betting(column),
                slots=values.slots,
            ),
            share_dispersion(other.bins, other.blocks, other.slots),
        )

    def variations(self, columns: Sequence[Column], inside: Bools | None = None) -> list[Variation]:
        """For each column in order that of the values, and that of how many are missing (of losses,
        of how many are errors), over windows, however few; none where windows are not known."""
        if self._window <= 0:
            return []
        found: list[Variation] = []
        for column in columns:
            windows = self._times[column.first :] // self._window
            values, other = self._rows(column, windows, inside)
            found += [
                variation(v.bins, v.count, v.blocks, betting, slots=v.slots)
                for v, betting in ((values, self._betting(column)), (other, Betting.UPPER))
            ]
        return found

    def _betting(self, column: Column) -> Betting:
        if self._errors is not None:
            return Betting.UPPER
        return Betting.ORDERED if column.place.numeric else Betting.UNORDERED

    def _rows(self, column: Column, blocks: I64, inside: Bools | None) -> tuple[_Counted, _Counted]:
        """Those with a value, in its bins; and all, by whether it is missing (of losses, by whether
        they are errors)."""
        _, slots = self._blocks(column.first)
        at = column.positions
        other = at == column.place.missing if self._errors is None else self._errors
        if inside is not None:
            chosen = inside[column.first :]
            at, other, blocks = at[chosen], other[chosen], blocks[chosen]
            slots = None if slots is None else slots[chosen]
        place = column.place
        # Rare levels that the profile does not keep are counted as one.
        bins = np.minimum(at - place.bins.start, place.bins.stop - place.bins.start)
        count = place.bins.stop - place.bins.start + 1
        some = at != place.missing
        own = None if slots is None else slots[some]
        return (
            _Counted(bins[some], count, blocks[some], own),
            _Counted(other.astype(np.int64), 2, blocks, slots),
        )

    def _blocks(self, first: int) -> tuple[I64, I64 | None]:
        """Of the rows from ``first`` on: their blocks, and their slots."""
        known = self._known.get(first)
        if known is None:
            times = self._times[first:]
            known = self._known[first] = (
                blocks_of(times, self._window, len(times)),
                slots_of(self._season, times) if self._season else None,
            )
        return known

    def window_rows(self, first: int, inside: Bools | None = None) -> float:
        """See ``Profile.window_rows``, of the rows from ``first`` on; ``inside`` as above."""
        times = self._times[first:]
        return window_rows(times if inside is None else times[inside[first:]], self._window)


def slots_of(season: Sequence[str], times: I64) -> I64:
    """Each row's slot, shape (n,); -1 without a season."""
    hours, of_row = np.unique(times // _SLOT_LENGTH, return_inverse=True)
    found = [slot(season, hour * _SLOT_LENGTH) for hour in hours.tolist()]
    return np.array(found, dtype=np.int64)[of_row]
