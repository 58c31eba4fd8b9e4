"""One cause, one alert: which findings belong together, and what becomes of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from driftloop.drift import wording
from driftloop.drift.alerts import opened, resolved, updated
from driftloop.drift.effects import Effect
from driftloop.drift.panel import Key
from driftloop.drift.shiryaev import LOG_TEN
from driftloop.drift.state import Kept
from driftloop.drift.streams import Watched
from driftloop.kernel.codec.mapping import from_plain, to_plain
from driftloop.kernel.decisions import merge_ranges
from driftloop.kernel.records import Alert, Evidence, Finding, Window
from driftloop.kernel.records.alerts import MOST_FINDINGS

_IDS = 64


@dataclass(frozen=True, slots=True)
class Found:
    """One stream whose change shows in the newest window, or that is followed since it did."""

    key: Key
    stream: Watched
    segment: str
    level: float
    """Log of its M."""
    dispersion: float
    effect: Effect
    since: Sequence[Kept]
    """Windows from the suspected onset on."""
    rows: int
    """Of the stream in them."""

    @property
    def subject(self) -> str:
        return f"{self.stream.subject}[{self.segment}]" if self.segment else self.stream.subject


@dataclass(slots=True)
class Member:
    """One stream of an open alert."""

    onset: int
    """Number of the window its change began in."""
    opened: int
    """Number of the window it was found in."""
    rows: int
    """Of the stream, which its recovery takes: as many as between the two, doubled ``doublings``
    times."""
    drifted: list[float]
    """Counts on its bins while drifted, which it recovers from; empty of a feature that stands
    still."""
    recovery: float = 0.0
    """CUSUM of the log evidence against the shares of these counts."""
    turned: int = 0
    """Number of the window it last left 0 with."""
    returned: int = 0
    """Rows of the stream since then."""
    seen: int = 0
    """Rows of the stream since the onset."""
    doublings: int = 0
    """For the times it came back soon after a recovery."""
    away: int = -1
    """Event time, ms, since when the change has stayed away; -1: not known."""


@dataclass(slots=True)
class Case:
    """An open alert and its streams."""

    alert: Alert
    reported: float
    """Log e-value of its newest published record."""
    members: dict[Key, Member]

    def to_plain(self) -> dict[str, Any]:
        members = [
            [
                list(key),
                m.onset,
                m.opened,
                m.rows,
                m.drifted,
                m.recovery,
                m.turned,
                m.returned,
                m.seen,
                m.doublings,
                m.away,
            ]
            for key, m in sorted(self.members.items())
        ]
        return {"alert": to_plain(self.alert), "reported": self.reported, "members": members}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Case:
        members = {(f, r, s): Member(*rest) for (f, r, s), *rest in plain["members"]}
        return cls(from_plain(Alert, plain["alert"]), plain["reported"], members)

    def takes(self, found: Found, begun: int) -> bool:
        """Whether a finding is of the same cause: what it says may have begun, at event time
        ``begun`` at the earliest, when the alert was opened."""
        begun = min(begun, found.since[0].start)
        return found.stream.kind is self.alert.kind and begun <= self.alert.opened_at


def open_case(
    model: str, window: Window, found: Sequence[Found], members: dict[Key, Member], by: str
) -> Case:
    """A new alert of streams that were found in one window; the strongest is its subject. ``by``
    says what they were compared with."""
    lead = strongest(found)
    alert = opened(
        model,
        lead.stream.kind,
        lead.stream.subject,
        window.version,
        window.end,
        lead.since[0].start,
        merge_ranges(part for kept in lead.since for part in kept.sources),
        _evidence(found, lead, by),
        segment=lead.segment,
    )
    return Case(alert, lead.level, members)


def follow(
    case: Case, window: Window, found: Sequence[Found], joined: bool, by: str
) -> Alert | None:
    """Bring an open alert's evidence up to date; a record when it has become much stronger or more
    severe, or has been joined. ``found``: all its members as they are now."""
    lead = next((f for f in found if _is_subject(f, case.alert)), None) or strongest(found)
    evidence = _evidence(found, lead, by)
    alert = replace(
        case.alert,
        subject=lead.stream.subject,
        segment=lead.segment,
        evidence=evidence,
        onset_sources=merge_ranges((*case.alert.onset_sources, *(part for part in window.sources))),
    )
    worst = max((wording.severity(f.effect.ratio) for f in found), key=wording.rank)
    stronger = lead.level >= max(2 * case.reported, case.reported + LOG_TEN)
    if joined or stronger or wording.rank(worst) > wording.rank(alert.severity):
        alert = updated(alert, window.end, worst)
        case.reported = lead.level
        case.alert = alert
        return alert
    case.alert = alert
    return None


def close(case: Case, window: Window, last: Sequence[Found]) -> Alert:
    """The alert's resolution, when its last members have recovered."""
    lead = strongest(last)
    evidence = replace(
        case.alert.evidence,
        effect=lead.effect.size,
        effect_name=lead.effect.name,
        effect_floor=lead.effect.floor,
    )
    alert = replace(case.alert, evidence=evidence)
    return resolved(alert, window.end, wording.recovered(alert, lead.rows))


def strongest(found: Sequence[Found]) -> Found:
    """By effect over its floor, then by evidence."""
    return max(found, key=lambda f: (f.effect.ratio, f.level, f.key))


def chosen(candidates: Sequence[tuple[float, Key]], known: int) -> list[tuple[float, Key]]:
    """Of streams of one kind and how far they are above their thresholds (natural logarithm), those
    that are found: the largest k such that k streams lie above minus log(known + k), ``known``
    being in the alert already. That is the e-BH procedure at each window, as e-detectors allow it
    (arXiv 2501.04130); the first must pass its threshold by itself."""
    ranked = sorted(candidates, key=lambda item: (-item[0], item[1]))
    best = 0
    for k in range(1, len(ranked) + 1):
        if ranked[k - 1][0] >= -math.log(known + k):
            best = k
    if not known and (not ranked or ranked[0][0] < 0.0):
        return []
    return ranked[:best]


def _is_subject(found: Found, alert: Alert) -> bool:
    return (found.stream.subject, found.segment) == (alert.subject, alert.segment)


def _evidence(found: Sequence[Found], lead: Found, by: str) -> Evidence:
    ranked = sorted(found, key=lambda f: (-f.effect.ratio, f.key))
    return Evidence(
        statistic="shiryaev_roberts",
        e_value=lead.level,
        threshold=lead.stream.threshold,
        effect=lead.effect.size,
        effect_name=lead.effect.name,
        effect_floor=lead.effect.floor,
        rows=lead.rows,
        windows=tuple(id for kept in lead.since for id in kept.ids)[-_IDS:],
        share=lead.stream.share,
        dispersion=lead.dispersion,
        reference=by,
        findings=tuple(
            Finding(f.subject, f.level, f.effect.size, f.effect.name)
            for f in ranked[:MOST_FINDINGS]
        ),
    )
