"""The drift service: wiring of core and runner."""

from __future__ import annotations

import math
from collections import Counter

from driftloop.drift.core import SERVICE, DriftCore
from driftloop.kernel import metrics
from driftloop.kernel.attention import Attention, attention
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.control_service import control_runner
from driftloop.kernel.observing import Observed
from driftloop.kernel.records import Alert, AlertKind, Stream
from driftloop.kernel.service import Context, Status


class DriftService:
    """See :class:`driftloop.kernel.service.Service`."""

    name = SERVICE

    def __init__(self, context: Context, catalog: Catalog) -> None:
        self._context = context
        self._core = DriftCore(catalog)
        observed = Observed(self._core, catalog.topics.alerts, Alert, self._measure)
        self._measured = False
        self._snoozed_until: float = math.inf
        """When the next snooze ends, processing time."""
        self._runner = control_runner(
            context, catalog, SERVICE, observed, (catalog.topics.loads, catalog.topics.commands)
        )

    def step(self, timeout_s: float) -> bool:
        worked = self._runner.step(timeout_s)
        # What was open before a restart is open after it, whether or not anything comes.
        if worked or (not self._measured and self._runner.assigned()):
            self._measure_alerts()
            self._measure_effects()
            self._measured = self._runner.assigned()
        elif self._context.clock.now() >= self._snoozed_until:
            self._measure_alerts()
        return worked

    def status(self) -> Status:
        return Status(
            SERVICE,
            self._context.settings.instance,
            ready=self._runner.assigned(),
            busy=not self._runner.idle(),
            lag=self._runner.lag,
            positions=self._runner.positions(),
            details={
                "open_alerts": {
                    model: [alert.id for alert in alerts]
                    for model, alerts in self._core.open_alerts().items()
                }
            },
        )

    def close(self) -> None:
        self._runner.close()

    def _measure(self, alert: Alert) -> None:
        self._context.meter.add(metrics.ALERTS, 1, alert.model, alert.kind, alert.status)

    def _measure_alerts(self) -> None:
        now = self._context.clock.now()
        self._snoozed_until = math.inf
        for model, alerts in self._core.open_alerts().items():
            found = Counter((alert.kind, attention(alert, now)) for alert in alerts)
            for kind in AlertKind:
                for state in Attention:
                    self._context.meter.set(
                        metrics.OPEN_ALERTS, found[kind, state], model, kind, state
                    )
            snoozed = [a.snoozed_until for a in alerts if a.snoozed_until > now]
            self._snoozed_until = min([self._snoozed_until, *snoozed])

    def _measure_effects(self) -> None:
        meter = self._context.meter
        for reading in self._core.readings():
            labels = (reading.model, reading.kind, reading.subject, reading.segment)
            meter.set(metrics.DRIFT_EFFECT, reading.effect, *labels)
            meter.set(metrics.DRIFT_EVIDENCE, reading.evidence, *labels)
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
                meter.set(metric, value, estimate.model, estimate.metric, name)
