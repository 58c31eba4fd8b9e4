"""What a profile knows of time and of parts of the rows: dispersions, and counts by season's slot
and segment.

It is made of the rows that the profile itself is made of: features of all rows of training, score
and loss of the held-out newest ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from driftloop.kernel.codec.blocks import I64
from driftloop.kernel.records import Stream
from driftloop.kernel.records.training import Profile, ReferenceCounts, Variation
from driftloop.kernel.statistics.layout import Layout
from driftloop.kernel.statistics.segments import segment_levels
from driftloop.models.reference_rows import (
    Bools,
    Column,
    ReferencePolicy,
    ReferenceRows,
    RowBlocks,
    positions,
    slots_of,
)

MOST_COUNTS = 100_000
"""In all references of a profile, so that a version's record stays well under 1 MB. What is more is
left out: first slot by segment, then slots, then segments; windows are then compared with the rest.
"""
MOST_MEASURED = 30_000
"""Numbers that the variations of a profile hold; those of the whole first, then of each segment.
What is more is left out, as if nothing had been measured."""


def with_references(profile: Profile, rows: ReferenceRows, policy: ReferencePolicy) -> Profile:
    """The profile of these rows, its dispersions and references filled."""
    known = {stream: positions(Layout(profile, stream), rows) for stream in Stream}
    kept = _references(profile, rows, policy, known)
    blocks = {
        (stream, by_slot): RowBlocks(stream, rows, policy, by_slot)
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
    slot = {stream: slots_of(policy.season, times[stream]) for stream in Stream}
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
    blocks: RowBlocks,
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
