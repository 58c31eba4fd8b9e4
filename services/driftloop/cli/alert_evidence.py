"""What an alert's windows show: its streams against their reference, and the e-value over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from driftloop.cli.alert_records import AlertBook
from driftloop.cli.retracing import STREAM_OF, Retracing
from driftloop.drift.detectors import Detectors
from driftloop.drift.panel import Key
from driftloop.drift.shiryaev import EMPTY, LOG_TEN
from driftloop.drift.state import Kept
from driftloop.drift.streams import Measure, Watched
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.ports import Log
from driftloop.kernel.records import Alert, AlertKind, AlertStatus, Profile

_LEVELS = 12
"""Categories shown one by one."""
_BEFORE = 12
"""Windows shown before the onset, at least, if there are so many."""
_TWO = {
    Measure.MISSING: ("present", "missing"),
    Measure.UNSEEN: ("known", "new"),
    Measure.OUTSIDE: ("in range", "out of range"),
    Measure.ERRORS: ("right", "wrong"),
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One bin: shares of the rows now, of the reference, and of what the test ranks rows among: the
    reference and the rows that came before the change."""

    label: str
    now: float
    reference: float
    before: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """One stream since the onset."""

    subject: str
    rows: int
    until: int
    """End of the newest window in it."""
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """An e-detector after one window."""

    windows: tuple[str, ...]
    """Its id, or those of its parts."""
    at: int
    """The window's end."""
    log10_e: float | None
    """None where nothing was tested."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What there is to draw. ``problem`` says why something is not there."""

    points: tuple[Point, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    problem: str = ""


def named(alert: Alert) -> str:
    """The alert's stream, with its segment."""
    return f"{alert.subject}[{alert.segment}]" if alert.segment else alert.subject


def evidence_of(
    log: Log,
    catalog: Catalog,
    book: AlertBook,
    id: str,
    *,
    findings: int,
    progress: Callable[[str], None] = lambda line: None,
) -> Shown:
    """Of one alert. Of a resolved one the rows until its last record before: the change as it was,
    not its end. Raises :class:`ConfigurationError` where what is needed is gone, or there is no
    such alert."""
    records = book.records(id)
    alert = records[-1]
    stream = STREAM_OF.get(alert.kind)
    version = catalog.versions.get((alert.model, alert.version))
    if stream is None:
        return Shown(problem=f"alerts of {alert.kind} are not from windows' counts")
    if version is None:
        return Shown(problem=f"version {alert.version} is not on the versions topic any more")
    over = alert.status is AlertStatus.RESOLVED
    until = max((r.at for r in records if r.status is not AlertStatus.RESOLVED), default=alert.at)
    drawn = _Drawn(alert, version.profile, until if over else None)
    retracing = Retracing(log, catalog, alert.model, stream, book.all(), progress, drawn.tested)
    for step in retracing.steps():
        if any(a.id == alert.id and a.status is AlertStatus.RESOLVED for a in step.said):
            break
    detectors = drawn.detectors
    if detectors is None or drawn.key is None:
        return Shown(problem="its windows are not on the windows topic any more")
    subjects = [finding.subject for finding in alert.evidence.findings] or [named(alert)]
    compared = [
        _compared(detectors, alert.kind, subject, drawn.kept, version.profile)
        for subject in subjects[:findings]
    ]
    comparisons = tuple(one for one in compared if one is not None)
    problem = ""
    if compared and not comparisons:
        problem = "the distribution of what it is about is not watched"
    return Shown(_since(drawn.points, alert.onset), comparisons, problem)


class _Drawn:
    """What there is to draw of the windows that are tested, each with the e-value after it."""

    def __init__(self, alert: Alert, profile: Profile, until: int | None) -> None:
        """``until``: end of the newest window to compare with the reference; None for any."""
        self._alert = alert
        self._profile = profile
        self._until = until
        self.points: list[Point] = []
        self.kept: list[Kept] = []
        """Windows to compare with the reference."""
        self.detectors: Detectors | None = None
        """The newest of the alert's version."""
        self.key: Key | None = None
        """The alert's among them."""

    def tested(self, window: Kept, detectors: Detectors) -> None:
        if detectors.watch.layout.profile != self._profile:
            return
        if detectors is not self.detectors:
            self.detectors = detectors
            self.key = detectors.find(self._alert.kind, named(self._alert))
        if self.key is not None:
            level = detectors.level(self.key)
            shown = None if level <= EMPTY / 2 else level / LOG_TEN
            self.points.append(Point(window.ids, window.end, shown))
        if window.start >= self._alert.onset and (self._until is None or window.end <= self._until):
            self.kept.append(window)


def _since(points: Sequence[Point], onset: int) -> tuple[Point, ...]:
    """Those from the onset on, and at least as many before, if there are."""
    first = next((i for i, point in enumerate(points) if point.at > onset), len(points))
    return tuple(points[max(0, first - max(_BEFORE, len(points) - first)) :])


def _compared(
    detectors: Detectors, kind: AlertKind, subject: str, kept: Sequence[Kept], profile: Profile
) -> Comparison | None:
    if kind is AlertKind.CONSTANT:
        # What stands still shows in the feature's distribution.
        kind = AlertKind.DATA_DRIFT
    key = detectors.find(kind, subject)
    if key is None or not kept:
        return None
    stream = detectors.stream(key)
    counts, expected, before = detectors.compared(key, kept)
    rows = float(counts.sum())
    now = counts / rows if rows else counts
    shares = zip(now.tolist(), expected.tolist(), before.tolist(), strict=True)
    bars = [Bar(label, *own) for label, own in zip(_labels(stream, profile), shares, strict=True)]
    if stream.measure is Measure.DISTRIBUTION and not stream.ordered:
        bars = _fewer(bars)
        bars += _new_values(detectors, subject, kept)
    return Comparison(subject, int(rows), kept[-1].end, tuple(bars))


def _labels(stream: Watched, profile: Profile) -> list[str]:
    if stream.measure in _TWO:
        return list(_TWO[stream.measure])
    if stream.measure is Measure.LOSS:
        return _intervals(profile.loss.edges)
    for numeric in profile.numeric:
        if numeric.name == stream.subject:
            return _intervals(numeric.edges)
    return next(list(c.levels) for c in profile.categorical if c.name == stream.subject)


def _intervals(edges: Sequence[float]) -> list[str]:
    if not edges:
        return ["all"]
    shown = _apart(edges)
    between = [f"{low} to {high}" for low, high in pairwise(shown)]
    return [f"up to {shown[0]}", *between, f"over {shown[-1]}"]


def _apart(edges: Sequence[float]) -> list[str]:
    """With as many digits as it takes to tell them apart."""
    for digits in range(4, 17):
        shown = [f"{edge:.{digits}g}" for edge in edges]
        if len(set(shown)) == len(edges):
            return shown
    return list(map(repr, edges))


def _fewer(bars: list[Bar]) -> list[Bar]:
    """The largest categories, the others together."""
    if len(bars) <= _LEVELS:
        return bars
    ranked = sorted(bars, key=lambda bar: -max(bar.now, bar.reference))
    rest = ranked[_LEVELS:]
    sums = [float(np.sum([getattr(b, n) for b in rest])) for n in ("now", "reference", "before")]
    return [*ranked[:_LEVELS], Bar(f"{len(rest)} others", *sums)]


def _new_values(detectors: Detectors, subject: str, kept: Sequence[Kept]) -> list[Bar]:
    """Of all rows that have a value, those whose value the reference does not know; none where they
    are not watched."""
    key = detectors.find(AlertKind.NEW_CATEGORIES, subject)
    if key is None:
        return []
    counts, expected, before = detectors.compared(key, kept)
    now = float(counts[-1] / max(1.0, counts.sum()))
    return [Bar("new values", now, float(expected[-1]), float(before[-1]))]
