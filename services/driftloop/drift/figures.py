"""What the drift service exports of its core: after each step only what changed in it, for there
may be a thousand models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from driftloop.drift.core import DriftCore
from driftloop.drift.detectors import Readings
from driftloop.kernel import metrics
from driftloop.kernel.attention import Attention, attention
from driftloop.kernel.metrics import Meter, Metric
from driftloop.kernel.records import Alert, AlertKind, Stream

Labels = tuple[str, ...]
"""Model, kind, subject and segment of what is read."""


class Figures:
    """Of one core, told to one meter."""

    def __init__(self, core: DriftCore, meter: Meter) -> None:
        self._core = core
        self._meter = meter
        self._known: set[str] = set()
        """Models whose open alerts are shown."""
        self._said: set[str] = set()
        """Models whose alerts changed since they were shown."""
        self._streams: dict[tuple[str, Stream], tuple[object, Sequence[Labels]]] = {}
        """Model and stream to what the readings of its windows are shown of, as the core has it and
        as labels."""
        self._estimated: dict[str, set[tuple[Metric, str, str]]] = {}
        """Model to the gauges of its estimates."""
        self._snoozed: dict[str, int] = {}
        """Model to when its next snooze ends, processing time, ms."""

    def said(self, alert: Alert) -> None:
        """Take in a record of an alert that the core gives out."""
        self._meter.add(metrics.ALERTS, 1, alert.model, alert.kind, alert.status)
        self._said.add(alert.model)

    def show(self, now: int) -> None:
        """Bring all figures up to date, at processing time ``now``."""
        self.show_alerts(now)
        for stream, readings in self._core.readings():
            labels = self._labels(stream, readings)
            self._meter.set_all(metrics.DRIFT_EFFECT, labels, readings.effects)
            self._meter.set_all(metrics.DRIFT_EVIDENCE, labels, readings.evidence)
        for estimate in self._core.estimates():
            metric = metrics.ESTIMATED
            values = {
                "estimate": estimate.estimate,
                "lower": estimate.lower,
                "upper": estimate.upper,
            }
            if estimate.stream is Stream.OUTCOMES:
                metric = metrics.REALISED
                values = {"estimate": estimate.estimate, "realised": estimate.realised}
            for name, value in values.items():
                self._meter.set(metric, value, estimate.model, estimate.metric, name)
                told = self._estimated.setdefault(estimate.model, set())
                told.add((metric, estimate.metric, name))

    def show_alerts(self, now: int) -> None:
        """Those of models that are new here, that have said something, or whose snooze is over."""
        models = self._core.models()
        # What was open before a restart is open after it, whether or not anything comes.
        due = {model for model, until in self._snoozed.items() if until <= now}
        for model in sorted((models - self._known) | ((self._said | due) & models)):
            self._show(model, now)
        for model in sorted(self._known - models):
            self._forget(model)
        self._known = set(models)
        self._said.clear()

    def _labels(self, stream: Stream, readings: Readings) -> Sequence[Labels]:
        """The next version may be watched on other streams: segments come and go with it."""
        model = readings.model
        before, labels = self._streams.get((model, stream), (None, ()))
        if before is readings.streams:
            return labels
        found = [(model, *own) for own in readings.streams]
        self._forget_readings(set(labels) - set(found))
        self._streams[model, stream] = readings.streams, found
        return found

    def _forget_readings(self, of: Iterable[Labels]) -> None:
        for labels in of:
            self._meter.forget(metrics.DRIFT_EFFECT, *labels)
            self._meter.forget(metrics.DRIFT_EVIDENCE, *labels)

    def _forget(self, model: str) -> None:
        """Another process watches it now, and tells of it."""
        for stream in Stream:
            _, labels = self._streams.pop((model, stream), (None, ()))
            self._forget_readings(labels)
        for metric, name, value in self._estimated.pop(model, set()):
            self._meter.forget(metric, model, name, value)
        for kind in AlertKind:
            for state in Attention:
                self._meter.forget(metrics.OPEN_ALERTS, model, kind, state)
        self._snoozed.pop(model, None)

    def _show(self, model: str, now: int) -> None:
        alerts = self._core.open_alerts_of(model)
        found = Counter((alert.kind, attention(alert, now)) for alert in alerts)
        for kind in AlertKind:
            for state in Attention:
                self._meter.set(metrics.OPEN_ALERTS, found[kind, state], model, kind, state)
        ends = [alert.snoozed_until for alert in alerts if alert.snoozed_until > now]
        self._snoozed.pop(model, None)
        if ends:
            self._snoozed[model] = min(ends)
