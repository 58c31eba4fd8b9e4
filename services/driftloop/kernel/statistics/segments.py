"""Which segments a version's windows and references have.

They follow from the version's profile alone, whatever is declared by now: so every window of a
version has the same ones, in the same order, as the references it is compared with. What is
declared decides the segments of the next version.
"""

from __future__ import annotations

from driftloop.kernel.declaration import Declaration
from driftloop.kernel.records import CategoricalProfile, Profile, Stream

MOST_SEGMENTS = 16
"""The budget of false alarms is shared among segments, and rare ones have too few rows a window."""


def segment_levels(column: CategoricalProfile) -> tuple[str, ...]:
    """The levels of a feature that are segments where it is declared: the most frequent of the
    reference, at most :data:`MOST_SEGMENTS`, in the profile's order."""
    ranked = sorted(range(len(column.levels)), key=lambda i: (-column.counts[i], i))
    return tuple(column.levels[i] for i in sorted(ranked[:MOST_SEGMENTS]))


def segments_of(profile: Profile, stream: Stream) -> tuple[str, ...]:
    """The segments that the profile has references of, in order."""
    return tuple(
        part.segment
        for part in profile.references
        if part.stream is stream and part.slot < 0 and part.segment
    )


def segment_column(declaration: Declaration, profile: Profile | None, stream: Stream) -> int:
    """The place among the categorical features of the one whose levels are the profile's segments;
    -1 without segments, and where the profile is of other features than those declared."""
    if profile is None:
        return -1
    levels = segments_of(profile, stream)
    numeric = [feature.name for feature in declaration.numeric]
    categorical = [feature.name for feature in declaration.categorical]
    if (
        not levels
        or numeric != [column.name for column in profile.numeric[:-1]]
        or categorical != [column.name for column in profile.categorical][: len(categorical)]
    ):
        return -1
    # Two features may have the same levels, but hardly as many rows of each.
    rows = {
        part.segment: part.rows
        for part in profile.references
        if part.stream is Stream.PREDICTIONS and part.slot < 0 and part.segment
    }
    for place, column in enumerate(profile.categorical[: len(categorical)]):
        known = dict(zip(column.levels, column.counts, strict=True))
        if segment_levels(column) == levels and all(
            rows.get(v, known[v]) == known[v] for v in levels
        ):
            return place
    return -1
