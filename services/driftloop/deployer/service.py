"""The deployer service: wiring of core and runner."""

from __future__ import annotations

from driftloop.deployer.core import SERVICE, DeployerCore
from driftloop.kernel import metrics
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.control_service import control_runner
from driftloop.kernel.observing import Observed
from driftloop.kernel.records import Deployment
from driftloop.kernel.service import Context, Status


class DeployerService:
    """See :class:`driftloop.kernel.service.Service`."""

    name = SERVICE

    def __init__(self, context: Context, catalog: Catalog) -> None:
        self._context = context
        self._core = DeployerCore(catalog)
        topics = catalog.topics
        observed = Observed(self._core, topics.deployments, Deployment, self._measure)
        self._runner = control_runner(
            context, catalog, SERVICE, observed, (topics.versions, topics.commands)
        )

    def step(self, timeout_s: float) -> bool:
        worked = self._runner.step(timeout_s)
        if worked:
            for model, evidence in self._core.evidence().items():
                self._context.meter.set(metrics.PAIRED_EVIDENCE, evidence, model)
            losses = self._core.losses()
            for (model, role), loss in losses.items():
                self._context.meter.set(metrics.WINDOW_LOSS, loss, model, role)
                if (model, "shadow") not in losses:
                    self._context.meter.forget(metrics.WINDOW_LOSS, model, "shadow")
            for model, share in self._core.errors().items():
                self._context.meter.set(metrics.WINDOW_ERRORS, share, model)
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
                "deployments": {
                    model: {
                        "stage": deployment.stage.value,
                        "champion": deployment.champion,
                        "shadow": deployment.shadow,
                        "sequence": deployment.sequence,
                    }
                    for model, deployment in self._core.deployed().items()
                }
            },
        )

    def close(self) -> None:
        self._runner.close()

    def _measure(self, deployment: Deployment) -> None:
        meter = self._context.meter
        model = deployment.model
        meter.add(metrics.DEPLOYMENTS, 1, model, deployment.reason)
        meter.set(metrics.DEPLOYED_VERSION, deployment.champion, model, "champion")
        meter.set(metrics.DEPLOYED_VERSION, deployment.shadow, model, "shadow")
