"""One stream of one model's windows, watched: which version serves, what its detectors say, and
the alerts that come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from driftloop.drift import wording
from driftloop.drift.alerts import opened, resolved, updated
from driftloop.drift.detectors import Detector
from driftloop.drift.observations import Watch
from driftloop.drift.shiryaev import advance, level, onset
from driftloop.drift.state import DetectorState, History, Kept
from driftloop.kernel.codec.blocks import F64
from driftloop.kernel.decisions import merge_ranges
from driftloop.kernel.entries import Entries
from driftloop.kernel.records import Alert, AlertKind, Evidence, Window

RECENT_ROWS = 1000
"""Rows an effect is measured on where it is asked whether it still lasts."""
CALM_WINDOWS = 3
_LOG_TEN = 2.302585092994046
_IDS = 64


@dataclass(slots=True)
class Serving:
    """Which version's windows count."""

    version: int = -1
    highest: int = -1
    last_start: int = -1
    last_end: int = -1

    def takes_over(self, window: Window) -> bool:
        """Whether the window shows that another version serves now: a version never seen before
        does, an older one (rolled back to) once the present one has been silent for a window.

        A worker that swaps a moment later than the others thus does not bring the old version
        back.
        """
        if window.version == self.version:
            return False
        return window.version > self.highest or window.start > self.last_end

    def note(self, window: Window) -> None:
        self.version = window.version
        self.highest = max(self.highest, window.version)
        self.last_start = max(self.last_start, window.start)
        self.last_end = max(self.last_end, window.end)


@dataclass(frozen=True, slots=True)
class Reading:
    """Where one detector stands after the newest window."""

    model: str
    kind: AlertKind
    subject: str
    effect: float
    """Of the newest rows, in the unit of the kind."""
    evidence: float
    """Its value over its threshold, difference of natural logarithms; alarm from 0 on."""


class Track:
    """Windows of other versions than the one serving are not tested: their alerts are over, and
    what they tell is of no use to anyone any more."""

    def __init__(self, entries: Entries, model: str, stream: str) -> None:
        self._entries = entries
        self._model = model
        self._prefix = f"{model}/{stream}/"
        self._serving = Serving()
        self._next = 0
        self._history = History()
        self._states: dict[str, DetectorState] = {}
        self.readings: list[Reading] = []
        """Of the newest window tested."""

    def take(
        self,
        window: Window,
        watch: Watch | None,
        values: F64 | None,
        floor: Callable[[AlertKind], float],
    ) -> list[Alert]:
        """Alerts that a window not used before leads to. ``watch`` and ``values`` are None for a
        version without a profile; ``floor`` gives the least effect worth an alert."""
        out: list[Alert] = []
        if self._serving.takes_over(window):
            out += self._replace(window)
        if self._serving.version in (-1, window.version):
            self._serving.note(window)
        if window.version == self._serving.version and watch is not None and values is not None:
            out += self._test(window, watch, values, floor)
        self._save_head()
        return out

    def open_alerts(self) -> list[Alert]:
        """In the order of their detectors' names: that of the states is another one after they
        were restored."""
        states = (state for _, state in sorted(self._states.items()))
        return [state.alert for state in states if state.alert is not None]

    def load(self, name: str, value: Any) -> None:
        """Take back one entry, named without the prefix."""
        part, _, rest = name.partition("/")
        if part == "head":
            self._next = value["next"]
            self._serving = Serving(**value["serving"])
        elif part == "kept":
            self._history.windows.append(Kept.from_plain(value))
        else:
            self._states[rest] = DetectorState.from_plain(value)

    def _test(
        self, window: Window, watch: Watch, values: F64, floor: Callable[[AlertKind], float]
    ) -> list[Alert]:
        recent = self._history.recent(watch.length)
        tested: list[tuple[str, Detector, DetectorState]] = []
        for detector in watch.detectors:
            name = f"{detector.kind}.{detector.subject}"
            state = self._states.setdefault(name, DetectorState(since=self._next))
            tested.append((name, detector, state))
            rows = detector.rows(values)
            if rows > 0:
                state.log_m = advance(state.log_m, detector.log_e(values, recent), rows)
        kept = Kept.of(self._next, window, values)
        self._next += 1
        self._entries.put(self._kept_name(kept), kept.to_plain())
        for old in self._history.append(kept):
            self._entries.delete(self._kept_name(old))
        out = []
        for name, detector, state in tested:
            least = floor(detector.kind)
            if state.alert is None:
                alert = self._open(window, watch, detector, state, least)
            else:
                alert = self._follow(window, watch, detector, state, state.alert, least)
            if alert is not None:
                out.append(alert)
            self._entries.put(f"{self._prefix}watch/{name}", state.to_plain())
        newest = History.total(self._history.newest(RECENT_ROWS), watch.length)
        self.readings = [
            Reading(
                self._model,
                detector.kind,
                detector.subject,
                detector.effect(newest),
                (0.0 if state.log_m is None else level(state.log_m)) - watch.threshold,
            )
            for _, detector, state in tested
        ]
        return out

    def _open(
        self, window: Window, watch: Watch, detector: Detector, state: DetectorState, floor: float
    ) -> Alert | None:
        if state.log_m is None or level(state.log_m) < watch.threshold:
            return None
        candidates = self._history.since(state.since)
        recent = self._history.recent(watch.length)
        scores = detector.scores([kept.values for kept in candidates], recent, state.log_m)
        since = candidates[onset(scores) :]
        effect = detector.effect(History.total(since, watch.length))
        if effect < floor:
            # A slight change that has lasted long must not hide a large one that has just begun.
            newest = self._history.newest(RECENT_ROWS)
            since = [kept for kept in newest if kept.number >= state.since]
            effect = detector.effect(History.total(since, watch.length))
            if effect < floor:
                return None
        state.onset = since[0].number
        state.reported = level(state.log_m)
        state.calm = 0
        evidence = Evidence(
            statistic="shiryaev_roberts",
            e_value=state.reported,
            threshold=watch.threshold,
            effect=effect,
            effect_name=detector.effect_name,
            effect_floor=floor,
            rows=sum(detector.rows(kept.values) for kept in since),
            windows=tuple(kept.id for kept in since)[-_IDS:],
        )
        sources = merge_ranges(part for kept in since for part in kept.sources)
        state.alert = opened(
            self._model,
            detector.kind,
            detector.subject,
            window.version,
            window.end,
            since[0].start,
            sources,
            evidence,
        )
        return state.alert

    def _follow(
        self,
        window: Window,
        watch: Watch,
        detector: Detector,
        state: DetectorState,
        alert: Alert,
        floor: float,
    ) -> Alert | None:
        """Keep an open alert's evidence up to date; publish it when it has become much stronger or
        more severe, or when the effect has gone."""
        recent = detector.effect(History.total(self._history.newest(RECENT_ROWS), watch.length))
        state.calm = state.calm + 1 if recent < floor / 2 else 0
        newest = self._history.windows[-1]
        evidence = replace(
            alert.evidence,
            e_value=alert.evidence.e_value if state.log_m is None else level(state.log_m),
            effect=detector.effect(History.total(self._history.since(state.onset), watch.length)),
            effect_floor=floor,
            rows=alert.evidence.rows + detector.rows(newest.values),
            windows=(*alert.evidence.windows, newest.id)[-_IDS:],
        )
        sources = merge_ranges((*alert.onset_sources, *newest.sources))
        alert = replace(alert, evidence=evidence, onset_sources=sources)
        if state.calm >= CALM_WINDOWS:
            state.alert = None
            state.log_m = None
            state.since = self._next
            summary = wording.calmed(
                alert.kind, alert.subject, alert.version, recent, floor, state.calm
            )
            return resolved(
                replace(alert, evidence=replace(evidence, effect=recent)), window.end, summary
            )
        worse = wording.severity(evidence.effect, floor)
        stronger = evidence.e_value >= max(2 * state.reported, state.reported + _LOG_TEN)
        if stronger or wording.rank(worse) > wording.rank(alert.severity):
            state.reported = evidence.e_value
            alert = updated(alert, window.end, worse)
            state.alert = alert
            return alert
        state.alert = alert
        return None

    def _replace(self, window: Window) -> list[Alert]:
        """The window's version takes over: what was known of the other is over."""
        summary = wording.replaced(self._serving.version, window.version)
        out = [resolved(alert, window.end, summary) for alert in self.open_alerts()]
        for name in self._states:
            self._entries.delete(f"{self._prefix}watch/{name}")
        for kept in self._history.windows:
            self._entries.delete(self._kept_name(kept))
        self._states = {}
        self._history = History()
        self._serving.version = window.version
        return out

    def _save_head(self) -> None:
        serving = self._serving
        head = {
            "next": self._next,
            "serving": {
                "version": serving.version,
                "highest": serving.highest,
                "last_start": serving.last_start,
                "last_end": serving.last_end,
            },
        }
        self._entries.put(f"{self._prefix}head", head)

    def _kept_name(self, kept: Kept) -> str:
        return f"{self._prefix}kept/{kept.number:012d}"
