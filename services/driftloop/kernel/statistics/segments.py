"""Which segments a version's windows and references have.

They follow from the version's profile and the name of the segment feature, so every window of a
version has the same ones, in the same order, as the references in its profile.
"""

from __future__ import annotations

from collections.abc import Sequence

from driftloop.kernel.declaration import Declaration
from driftloop.kernel.records import Profile

MOST_SEGMENTS = 16
"""The budget of false alarms is shared among segments, and rare ones have too few rows a window."""


def segment_levels(profile: Profile, feature: str) -> tuple[str, ...]:
    """The levels of a categorical feature that are segments: the most frequent of the reference, at
    most :data:`MOST_SEGMENTS`, in the profile's order. None of a feature that it does not know."""
    for column in profile.categorical:
        if column.name == feature:
            ranked = sorted(range(len(column.levels)), key=lambda i: (-column.counts[i], i))
            return tuple(column.levels[i] for i in sorted(ranked[:MOST_SEGMENTS]))
    return ()


def declared_segment(declaration: Declaration, profile: Profile | None) -> str:
    """The feature by whose levels new windows are cut; empty: none, also where the profile is of
    other columns than those declared."""
    feature = declaration.alerts.segment
    if profile is None or not _fits(declaration, profile) or not segment_levels(profile, feature):
        return ""
    return feature


def counted_segment(
    declaration: Declaration, profile: Profile | None, levels: Sequence[str]
) -> str:
    """The feature whose levels a window's segments are; empty without any, and where no feature of
    the profile has these.

    Mostly the declared one. But a window that was opened under an earlier declaration keeps its
    segments.
    """
    if not levels or profile is None or not _fits(declaration, profile):
        return ""
    names = [feature.name for feature in declaration.categorical]
    candidates = [declaration.alerts.segment, *names]
    return next((n for n in candidates if segment_levels(profile, n) == tuple(levels)), "")


def _fits(declaration: Declaration, profile: Profile) -> bool:
    """Whether the profile's features are those declared."""
    numeric = [feature.name for feature in declaration.numeric]
    categorical = [feature.name for feature in declaration.categorical]
    return (
        numeric == [column.name for column in profile.numeric[:-1]]
        and categorical == [column.name for column in profile.categorical][: len(categorical)]
    )
