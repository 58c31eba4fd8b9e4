"""One version as it is watched on one kind of windows: its streams, and what they are compared
with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from driftloop.drift.clumps import Clumps
from driftloop.drift.groups import TwoSided, Upper
from driftloop.drift.still import STILL
from driftloop.drift.streams import Measure, Streams, Watched, watched_streams
from driftloop.kernel.codec.blocks import I64
from driftloop.kernel.declaration import AlertPolicy
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import Profile, Stream, Version, Window
from driftloop.kernel.seasons import season_of, slot
from driftloop.kernel.statistics.checks import check_statistics
from driftloop.kernel.statistics.layout import Layout

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
    """By family."""

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
    clumps = {
        family: _clumps(profile, stream, streams.segments, group.streams)
        for family, group in groups.items()
    }
    clumps[STILL] = _clumps(profile, stream, (), streams.still)
    if policy.reference == "first_weeks":
        return Watch(policy, layout, streams, groups, tuple(policy.season), {}, clumps)
    references = _references(profile, layout, streams)
    return Watch(policy, layout, streams, groups, season_of(references), references, clumps)


def _clumps(
    profile: Profile, stream: Stream, segments: Sequence[str], watched: Sequence[Watched]
) -> Clumps:
    """A segment has the dispersion of all rows at least: of fewer rows less is known."""
    known = {
        part.segment: part
        for part in profile.references
        if part.stream is stream and part.slot < 0 and part.dispersions
    }
    found = np.array([[one.dispersion for one in watched]] * (1 + len(segments)))
    of_all = profile.window_rows if stream is Stream.PREDICTIONS else profile.loss.window_rows
    window_rows = np.full(1 + len(segments), of_all)
    for row, segment in enumerate(segments, start=1):
        part = known.get(segment)
        if part is None:
            continue
        window_rows[row] = part.window_rows
        for index, one in enumerate(watched):
            second = one.measure in (Measure.MISSING, Measure.ERRORS)
            own = part.dispersions[2 * one.column + second :][:1]
            found[row, index] = max(*own, 1.0)
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
