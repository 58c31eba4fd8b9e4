"""One version as it is watched on one kind of windows: its streams, and what they are compared
with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from driftloop.drift.clumps import Clumps
from driftloop.drift.groups import TwoSided, Upper
from driftloop.drift.luck import bounded, evidence
from driftloop.drift.still import STILL
from driftloop.drift.streams import Measure, Streams, Watched, watched_streams
from driftloop.kernel.codec.blocks import F64, I64
from driftloop.kernel.declaration import AlertPolicy
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import (
    Profile,
    ReferenceCounts,
    Stream,
    Variation,
    Version,
    Window,
)
from driftloop.kernel.seasons import season_of, slot
from driftloop.kernel.statistics.checks import check_statistics
from driftloop.kernel.statistics.layout import Layout
from driftloop.models.variation import ENOUGH_WINDOWS

TWO_SIDED = "two_sided"
UPPER = "upper"


@dataclass(frozen=True, slots=True)
class Watch:
    """Everything watched of one version on one kind of windows."""

    policy: AlertPolicy
    layout: Layout
    streams: Streams
    groups: Mapping[str, TwoSided | Upper]
    """By family; a family without streams is not there."""
    season: tuple[str, ...]
    """Whose slots the references are: that of the profile, for a season declared since then holds
    from the next version on."""
    references: Mapping[int, I64]
    """Season slot (-1: none declared) to the reference's counts, (S, L): of all rows, then of each
    segment. Empty where the first weeks are the reference."""
    clumps: Mapping[str, Clumps]
    """By family. Where few windows of training were seen, what these may have had, whatever they
    showed by luck (``drift.luck``)."""
    measured: Mapping[str, Clumps]
    """By family: what the training windows showed."""
    trained: Mapping[str, I64]
    """By family: as of how many training windows, (T,); :data:`ENOUGH_WINDOWS` where they are not
    known, for then there is nothing to learn more of. 0 where the first weeks are the reference:
    these are learnt from alone."""

    @property
    def rows(self) -> int:
        """S."""
        return 1 + len(self.streams.segments)

    def slot(self, window: Window) -> int:
        return slot(self.season, window.start)

    def counts(self, window: Window) -> I64:
        """A window's counts, (S, L). Raises :class:`DecodeError` when it does not fit, or no rows
        could give it."""
        check_statistics(window.statistics)
        whole = self.layout.of_window(window)
        levels = tuple(part.level for part in window.statistics.segments)
        if not self.streams.segments:
            return whole[None, :]
        if levels != self.streams.segments or any(
            len(part.counts) != len(whole) for part in window.statistics.segments
        ):
            raise DecodeError(
                Reason.MALFORMED,
                f"window {window.id}: segments do not fit version {window.version}'s profile",
            )
        return np.array(
            [whole, *(part.counts for part in window.statistics.segments)], dtype=np.int64
        )


def watch(version: Version, stream: Stream, policy: AlertPolicy) -> Watch:
    """What a version's profile gives to watch."""
    profile = version.profile
    layout = Layout(profile, stream)
    streams = watched_streams(profile, stream, policy)
    groups: dict[str, TwoSided | Upper] = {}
    if streams.two_sided:
        groups[TWO_SIDED] = TwoSided(streams.two_sided, layout.reference())
    if streams.upper:
        groups[UPPER] = Upper(streams.upper)
    watched = {family: (group.streams, streams.segments) for family, group in groups.items()}
    watched[STILL] = (streams.still, ())
    measured = {
        family: _clumps(profile, stream, segments, own)
        for family, (own, segments) in watched.items()
    }
    if policy.reference == "first_weeks":
        none = {f: np.zeros(len(own), dtype=np.int64) for f, (own, _) in watched.items()}
        season = tuple(policy.season)
        return Watch(policy, layout, streams, groups, season, {}, measured, measured, none)
    references = _references(profile, layout, streams)
    trained = {family: _trained(profile, stream, own) for family, (own, _) in watched.items()}
    clumps = {
        family: measured[family].or_more(_bounds(profile, stream, segments, own))
        for family, (own, segments) in watched.items()
    }
    season = season_of(references)
    return Watch(policy, layout, streams, groups, season, references, clumps, measured, trained)


def _trained(profile: Profile, stream: Stream, watched: Sequence[Watched]) -> I64:
    """See ``Watch.trained``."""
    variations = _variations(profile, stream)
    if not variations:
        return np.full(len(watched), ENOUGH_WINDOWS)
    return np.array([variations[_place(one)].windows for one in watched], dtype=np.int64)


def _bounds(
    profile: Profile, stream: Stream, segments: Sequence[str], watched: Sequence[Watched]
) -> Clumps:
    """What few windows of training may have had; 1 where there were enough."""
    of_all = _variations(profile, stream)
    parts = {part.segment: part.variations for part in _parts(profile, stream)}
    found: F64 = np.ones((1 + len(segments), len(watched)))
    rows: F64 = np.zeros_like(found)
    for row, own in enumerate((of_all, *(parts.get(segment, ()) for segment in segments))):
        for index, one in enumerate(watched):
            # What is enough for all rows is enough for each segment: it is few rows by itself.
            if not own or of_all[_place(one)].windows >= ENOUGH_WINDOWS:
                continue
            shown = own[_place(one)]
            rows[row, index] = shown.rows / max(1, shown.windows)
            found[row, index] = bounded(shown, evidence(one.threshold, rows[row, index]))
    clumps = Clumps.of(found, rows)
    return Clumps(np.maximum(clumps.least, clumps.least[:1]), clumps.pairs)


def _variations(profile: Profile, stream: Stream) -> Sequence[Variation]:
    of_outcomes = stream is Stream.OUTCOMES
    return profile.loss.variations if of_outcomes else profile.variations


def _parts(profile: Profile, stream: Stream) -> list[ReferenceCounts]:
    """Those of segments over all slots."""
    return [part for part in profile.references if part.stream is stream and part.slot < 0]


def _place(one: Watched) -> int:
    """Where a column's dispersions are in a list of all of them: of its values, or of how many are
    missing, or are errors."""
    return 2 * one.column + (one.measure in (Measure.MISSING, Measure.ERRORS))


def _clumps(
    profile: Profile, stream: Stream, segments: Sequence[str], watched: Sequence[Watched]
) -> Clumps:
    """A segment has the dispersion of all rows at least: of fewer rows less is known."""
    known = {part.segment: part for part in _parts(profile, stream) if part.dispersions}
    found = np.array([[one.dispersion for one in watched]] * (1 + len(segments)))
    of_all = profile.window_rows if stream is Stream.PREDICTIONS else profile.loss.window_rows
    window_rows = np.full(1 + len(segments), of_all)
    for row, segment in enumerate(segments, start=1):
        part = known.get(segment)
        if part is None:
            continue
        window_rows[row] = part.window_rows
        for index, one in enumerate(watched):
            found[row, index] = max(*part.dispersions[_place(one) :][:1], 1.0)
    clumps = Clumps.of(found, window_rows)
    return Clumps(np.maximum(clumps.least, clumps.least[:1]), clumps.pairs)


def _references(profile: Profile, layout: Layout, streams: Streams) -> dict[int, I64]:
    whole = layout.reference()
    found = {
        (part.slot, part.segment): np.array(part.counts, dtype=np.int64)
        for part in profile.references
        if part.stream is layout.stream and len(part.counts) == len(whole)
    }
    found[-1, ""] = whole
    slots = {slot for slot, _ in found}
    none = np.zeros_like(whole)
    # A version whose profile knows no segment by slot has the segment's rows of all slots.
    return {
        slot: np.array(
            [
                found.get((slot, ""), whole),
                *(
                    found.get((slot, level), found.get((-1, level), none))
                    for level in streams.segments
                ),
            ]
        )
        for slot in slots
    }
