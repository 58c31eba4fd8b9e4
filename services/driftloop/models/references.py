"""What a profile knows of time and of parts of the rows: dispersions, and counts by season's slot
and segment.

It is made of the rows that the profile itself is made of: features of all rows of training, score
and loss of the held-out newest ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from driftloop.kernel.codec.blocks import F64, I64, Categories, Features
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.records import Stream
from driftloop.kernel.records.training import Profile, ReferenceCounts, Variation
from driftloop.kernel.seasons import slot
from driftloop.kernel.statistics.layout import Layout, Place
from driftloop.kernel.statistics.segments import segment_levels
from driftloop.models.dispersion import blocks_of, dispersion, share_dispersion, window_rows
from driftloop.models.variation import variation

MOST_COUNTS = 100_000
"""In all references of a profile, so that a version's record stays well under 1 MB. What is more is
left out: first slot by segment, then slots, then segments; windows are then compared with the rest.
"""
MOST_MEASURED = 30_000
"""Numbers that the variations of a profile hold; those of the whole first, then of each segment.
What is more is left out, as if nothing had been measured."""
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


def with_references(profile: Profile, rows: ReferenceRows, policy: ReferencePolicy) -> Profile:
    """The profile of these rows, its dispersions and references filled."""
    known = {stream: positions(Layout(profile, stream), rows) for stream in Stream}
    kept = _references(profile, rows, policy, known)
    blocks = {
        (stream, by_slot): _Blocks(stream, rows, policy, by_slot)
        for stream in Stream
        for by_slot in (False, True)
    }
    # Windows are compared within their slot only where its rows are kept.
    whole = {stream: blocks[stream, kept.has(stream, by_slot=True)] for stream in Stream}
    split = len(profile.numeric)
    found = [whole[Stream.PREDICTIONS].dispersions(c) for c in known[Stream.PREDICTIONS]]
    room = _Room(MOST_MEASURED)
    loss = profile.loss
    for column in known[Stream.OUTCOMES]:
        values, errors = whole[Stream.OUTCOMES].dispersions(column)
        loss = replace(
            loss,
            dispersion=values,
            error_dispersion=errors,
            window_rows=whole[Stream.OUTCOMES].window_rows(column.first),
            variations=room.taken(whole[Stream.OUTCOMES].variations([column])),
        )
    variations = room.taken(whole[Stream.PREDICTIONS].variations(known[Stream.PREDICTIONS]))
    return replace(
        profile,
        numeric=tuple(
            replace(numeric, dispersion=values, missing_dispersion=missing)
            for numeric, (values, missing) in zip(profile.numeric, found[:split], strict=True)
        ),
        categorical=tuple(
            replace(categorical, dispersion=values, missing_dispersion=missing)
            for categorical, (values, missing) in zip(
                profile.categorical, found[split:], strict=True
            )
        ),
        loss=loss,
        references=tuple(
            part
            if part.slot >= 0
            else _dispersed(
                part,
                known[part.stream],
                blocks[part.stream, kept.has(part.stream, by_slot=True, by_segment=True)],
                kept.segment == kept.levels.index(part.segment),
                room,
            )
            for part in kept.parts
        ),
        window_rows=whole[Stream.PREDICTIONS].window_rows(0),
        variations=variations,
    )


class _Room:
    """For what variations hold."""

    def __init__(self, numbers: int) -> None:
        self._left = numbers

    def taken(self, found: Sequence[Variation]) -> tuple[Variation, ...]:
        """These, without what is measured where it does not fit."""
        numbers = 3 * sum(len(one.ratios) for one in found)
        if numbers > self._left:
            return tuple(Variation(one.windows, one.rows) for one in found)
        self._left -= numbers
        return tuple(found)


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


class _Blocks:
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
                upper=self._errors is not None,
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
            upper = self._errors is not None
            found += [
                variation(v.bins, v.count, v.blocks, upper=one_sided, slots=v.slots)
                for v, one_sided in ((values, upper), (other, True))
            ]
        return found

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
                _slots(self._season, times) if self._season else None,
            )
        return known

    def window_rows(self, first: int, inside: Bools | None = None) -> float:
        """See ``Profile.window_rows``, of the rows from ``first`` on; ``inside`` as above."""
        times = self._times[first:]
        return window_rows(times if inside is None else times[inside[first:]], self._window)


@dataclass(frozen=True, slots=True)
class _Kept:
    """The parts of the rows that a profile keeps by themselves."""

    parts: Sequence[ReferenceCounts]
    segment: I64
    """Each row's segment among ``levels``, shape (n,); -1: none."""
    levels: Sequence[str]

    def has(self, stream: Stream, *, by_slot: bool, by_segment: bool = False) -> bool:
        return any(
            part.stream is stream
            and (part.slot >= 0) is by_slot
            and (part.segment != "") is by_segment
            for part in self.parts
        )


def _references(
    profile: Profile,
    rows: ReferenceRows,
    policy: ReferencePolicy,
    known: Mapping[Stream, Sequence[Column]],
) -> _Kept:
    column = next((c for c in profile.categorical if c.name == policy.segment), None)
    levels = segment_levels(column) if column is not None else ()
    segment = _segments(profile, rows, policy.segment, levels)
    times = {Stream.PREDICTIONS: rows.event_times, Stream.OUTCOMES: rows.outcome_times}
    slot = {stream: _slots(policy.season, times[stream]) for stream in Stream}
    none = np.full(len(segment), -1, dtype=np.int64)
    left = MOST_COUNTS
    kept: list[ReferenceCounts] = []
    for by_slot, by_segment in ((False, True), (True, False), (True, True)):
        if (by_slot and not policy.season) or (by_segment and not levels):
            continue
        for stream in (stream for stream in Stream if known[stream]):
            made = list(
                _parts(
                    Layout(profile, stream),
                    known[stream],
                    rows,
                    slot[stream] if by_slot else none,
                    segment if by_segment else none,
                    levels,
                )
            )
            size = sum(len(part.counts) for part in made)
            if size <= left:
                left -= size
                kept += made
    return _Kept(kept, segment, levels)


def _parts(
    layout: Layout,
    columns: Sequence[Column],
    rows: ReferenceRows,
    slot: I64,
    segment: I64,
    levels: Sequence[str],
) -> Iterator[ReferenceCounts]:
    """Of the layout's stream, ascending, those that have rows; of segments alone each, for windows
    have each. A slot or segment of -1 throughout is not looked at."""
    width = len(levels) + 1
    all_slots, all_segments = (slot < 0).all(), (segment < 0).all()
    inside = (all_slots | (slot >= 0)) & (all_segments | (segment >= 0))
    first = columns[0].first if layout.stream is Stream.OUTCOMES else 0
    inside[:first] = False
    key = (slot + 1) * width + segment + 1
    wanted = range(1, width) if all_slots else ()
    keys = np.union1d(key, np.array(wanted, dtype=np.int64))
    group = np.searchsorted(keys, key)
    length = layout.length
    counts = np.zeros((len(keys), length), dtype=np.int64)
    for column in columns:
        chosen = inside[column.first :]
        at = group[column.first :] * length + column.positions
        counts += np.bincount(at[chosen], minlength=counts.size).reshape(counts.shape)
        if layout.stream is Stream.OUTCOMES:
            wrong = chosen & rows.errors
            counts[:, column.place.other] = np.bincount(
                group[column.first :][wrong], minlength=len(keys)
            )
        elif column.place.numeric:
            # As of the whole reference: its two extremes stand for what lies beyond them.
            present = counts[:, column.place.bins].sum(axis=1)
            counts[:, column.place.other] = np.minimum(2, present)
    found = np.bincount(group[inside], minlength=len(keys))
    for number, n, part in zip(keys.tolist(), found.tolist(), counts.tolist(), strict=True):
        if n or number in wanted:
            at_slot, at_segment = number // width - 1, number % width - 1
            level = levels[at_segment] if at_segment >= 0 else ""
            yield ReferenceCounts(layout.stream, at_slot, level, n, tuple(part))


def _dispersed(
    part: ReferenceCounts,
    columns: Sequence[Column],
    blocks: _Blocks,
    inside: Bools,
    room: _Room,
) -> ReferenceCounts:
    """A segment's rows may come in clumps where those of all do not."""
    pairs = [blocks.dispersions(column, inside) for column in columns]
    return replace(
        part,
        dispersions=tuple(value for pair in pairs for value in pair),
        window_rows=blocks.window_rows(columns[0].first, inside),
        variations=room.taken(blocks.variations(columns, inside)),
    )


def _segments(profile: Profile, rows: ReferenceRows, feature: str, levels: Sequence[str]) -> I64:
    """Each row's segment, shape (n,); -1: none."""
    if not levels:
        return np.full(len(rows.event_times), -1, dtype=np.int64)
    column = [categorical.name for categorical in profile.categorical].index(feature)
    categories = rows.features.categories
    index = {level: i for i, level in enumerate(levels)}
    at = [index.get(level, -1) for level in categories.levels[column]]
    return np.array([*at, -1], dtype=np.int64)[categories.codes[:, column]]


def _slots(season: Sequence[str], times: I64) -> I64:
    """Each row's slot, shape (n,); -1 without a season."""
    hours, of_row = np.unique(times // _SLOT_LENGTH, return_inverse=True)
    found = [slot(season, hour * _SLOT_LENGTH) for hour in hours.tolist()]
    return np.array(found, dtype=np.int64)[of_row]
