"""Whether what is deployed could be loaded, by what the processes of inference say of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from driftloop.drift import wording
from driftloop.drift.alerts import alert_id, opened, resolved, updated
from driftloop.kernel.codec.mapping import from_plain, to_plain
from driftloop.kernel.entries import Entries
from driftloop.kernel.records import Alert, AlertKind, Evidence, Load, OffsetRange, Severity

_SUBJECT = "artifact"


class Loading:
    """Of one model. One alert per version that some process could not load, however many could
    not and however often they say so: open until each of them has loaded it, or another is
    deployed. What is said of a deployment older than the newest one heard of means nothing.
    """

    def __init__(self, entries: Entries, model: str) -> None:
        self._entries = entries
        self._model = model
        self._sequence = -1
        """Of the newest deployment heard of."""
        self._failing: dict[str, int] = {}
        """Process to the version it could not load."""
        self._times: dict[int, int] = {}
        """Alerts opened so far, per version that deployment asks for."""
        self.alerts: dict[int, Alert] = {}
        """The open ones, per version."""

    def seen(self, load: Load, source: OffsetRange) -> list[Alert]:
        """The alerts that one record leads to; ``source`` is where it lies."""
        if load.sequence < self._sequence:
            return []
        wanted = {load.champion, load.shadow}
        if load.sequence > self._sequence:
            self._sequence = load.sequence
            self._failing = {p: v for p, v in self._failing.items() if v in wanted}
            self._times = {v: times for v, times in self._times.items() if v in wanted}
        if load.failed < 0:
            self._failing.pop(load.instance, None)
        else:
            self._failing[load.instance] = load.failed
        out = self._resolve(load, wanted)
        for version, alert in sorted(self.alerts.items()):
            severity = _severity(version, load)
            if wording.rank(severity) > wording.rank(alert.severity):
                self.alerts[version] = updated(alert, max(alert.at, load.at), severity)
                out.append(self.alerts[version])
        if load.failed >= 0 and load.failed not in self.alerts:
            out.append(self._open(load, source))
        self._save()
        return out

    def annotate(self, alert: Alert) -> None:
        """Take back an open alert, acknowledged or snoozed; others are not this one's."""
        if any(known.id == alert.id for known in self.alerts.values()):
            self.alerts[alert.version] = alert
            self._save()

    def load(self, plain: dict[str, Any]) -> None:
        self._sequence = plain["sequence"]
        self._failing = dict(plain["failing"])
        self._times = dict(plain["times"])
        alerts = (from_plain(Alert, alert) for alert in plain["alerts"])
        self.alerts = {alert.version: alert for alert in alerts}

    def _resolve(self, load: Load, wanted: set[int]) -> list[Alert]:
        out = []
        for version, alert in sorted(self.alerts.items()):
            if version not in wanted:
                summary = f"Version {load.champion} is deployed instead of version {version}."
            elif version not in self._failing.values():
                summary = f"Version {version} is loaded."
            else:
                continue
            del self.alerts[version]
            out.append(resolved(alert, max(alert.at, load.at), summary))
        return out

    def _open(self, load: Load, source: OffsetRange) -> Alert:
        version = load.failed
        times = self._times[version] = self._times.get(version, 0) + 1
        evidence = Evidence(
            statistic="load",
            e_value=0.0,
            threshold=0.0,
            effect=1.0,
            effect_name="processes",
            effect_floor=1.0,
            rows=0,
            windows=(),
        )
        alert = opened(
            self._model,
            AlertKind.NOT_LOADED,
            _SUBJECT,
            version,
            load.at,
            load.at,
            (source,),
            evidence,
        )
        # Deployments may have one event time, and a version may get lost twice under one.
        where = f"{_SUBJECT}-d{self._sequence}" + (f"-{times}" if times > 1 else "")
        self.alerts[version] = replace(
            alert,
            id=alert_id(self._model, AlertKind.NOT_LOADED, where, version, load.at),
            severity=_severity(version, load),
            summary=f"{alert.summary} inference-{load.instance} says: {load.error}",
        )
        return self.alerts[version]

    def _save(self) -> None:
        plain = {
            "sequence": self._sequence,
            "failing": self._failing,
            "times": sorted(self._times.items()),
            "alerts": [to_plain(alert) for _, alert in sorted(self.alerts.items())],
        }
        self._entries.put(f"{self._model}/loading", plain)


def _severity(version: int, load: Load) -> Severity:
    """Without the champion an older version decides; without a shadow only a test waits."""
    return Severity.CRITICAL if version == load.champion else Severity.WARNING
