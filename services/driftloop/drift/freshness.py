"""Whether windows of predictions still come. The one decision that is the clock's: it lies off the
deterministic path, and no other decision depends on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from driftloop.drift import wording
from driftloop.drift.alerts import opened, resolved, updated
from driftloop.kernel.codec.mapping import from_plain, to_plain
from driftloop.kernel.entries import Entries
from driftloop.kernel.records import Alert, AlertKind, Evidence, OffsetRange, Window


class Freshness:
    """Of one model. Age is counted from when the window of predictions that ends last was first
    written to the log (its record's timestamp), or from when this process first looked, if that is
    later: a service that was down must not take its own absence for the stream's."""

    def __init__(self, entries: Entries, model: str) -> None:
        self._entries = entries
        self._model = model
        self._written: int | None = None
        self._looked: int | None = None
        self._end = 0
        self._version = 0
        self._window = ""
        self._sources: tuple[OffsetRange, ...] = ()
        self.alert: Alert | None = None

    def seen(self, window: Window, written: int) -> Alert | None:
        """A window of predictions came. Returns the resolution of an open alert."""
        follows = window.end > self._end
        # Late rows tell that the log is read, not that the stream goes on: neither a revision nor a
        # window of old hours makes it any younger.
        if self._written is None or follows:
            self._written = max(written, self._written or 0)
        if window.end >= self._end:
            self._end = window.end
            self._version = window.version
            self._window = window.id
            self._sources = window.sources
        out = None
        if self.alert is not None and follows:
            out = resolved(self.alert, window.end, "Windows of predictions come again.")
            self.alert = None
        self._save()
        return out

    def look(self, now: int, allowed: int) -> Alert | None:
        """At processing time ``now``: the opening or update of an alert, if it is due."""
        if self._looked is None:
            self._looked = now
        if self._written is None:
            return None
        age = now - max(self._written, self._looked)
        if age <= allowed:
            return None
        evidence = Evidence(
            statistic="age",
            e_value=0.0,
            threshold=0.0,
            effect=float(age),
            effect_name="age_ms",
            effect_floor=float(allowed),
            rows=0,
            windows=(self._window,),
        )
        if self.alert is None:
            self.alert = opened(
                self._model,
                AlertKind.STALE,
                "stream",
                self._version,
                self._end,
                self._end,
                self._sources,
                evidence,
            )
        else:
            worse = wording.severity(age / max(allowed, 1))
            if wording.rank(worse) <= wording.rank(self.alert.severity):
                return None
            self.alert = updated(replace(self.alert, evidence=evidence), self._end, worse)
        self._save()
        return self.alert

    def annotate(self, alert: Alert) -> None:
        """Take back the open alert, acknowledged or snoozed; others are not this one's."""
        if self.alert is not None and self.alert.id == alert.id:
            self.alert = alert
            self._save()

    def load(self, plain: dict[str, Any]) -> None:
        self._written = plain["written"]
        self._end = plain["end"]
        self._version = plain["version"]
        self._window = plain["window"]
        self._sources = tuple(OffsetRange(*part) for part in plain["sources"])
        self.alert = None if plain["alert"] is None else from_plain(Alert, plain["alert"])

    def _save(self) -> None:
        sources = [[s.topic, s.partition, s.start, s.end] for s in self._sources]
        plain = {
            "written": self._written,
            "end": self._end,
            "version": self._version,
            "window": self._window,
            "sources": sources,
            "alert": to_plain(self.alert),
        }
        self._entries.put(f"{self._model}/freshness", plain)
