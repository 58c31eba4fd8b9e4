"""The drift service: wiring of core and runner."""

from __future__ import annotations

from driftloop.drift.core import SERVICE, DriftCore
from driftloop.drift.figures import Figures
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.control_service import control_runner
from driftloop.kernel.observing import Observed
from driftloop.kernel.records import Alert
from driftloop.kernel.service import Context, Status


class DriftService:
    """See :class:`driftloop.kernel.service.Service`."""

    name = SERVICE

    def __init__(self, context: Context, catalog: Catalog) -> None:
        self._context = context
        self._core = DriftCore(catalog)
        self._figures = Figures(self._core, context.meter)
        observed = Observed(self._core, catalog.topics.alerts, Alert, self._figures.said)
        self._runner = control_runner(
            context, catalog, SERVICE, observed, (catalog.topics.loads, catalog.topics.commands)
        )

    def step(self, timeout_s: float) -> bool:
        worked = self._runner.step(timeout_s)
        now = self._context.clock.now()
        if worked:
            self._figures.show(now)
        else:
            self._figures.show_alerts(now)
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
