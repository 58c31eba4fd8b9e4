"""The inference service: wiring of core, loader and runner."""

from __future__ import annotations

import logging

from driftloop.adapters.artifacts.directory import DirectoryStore
from driftloop.inference.core import SERVICE, InferenceCore
from driftloop.inference.demanded import Demanded
from driftloop.inference.endpoint import InferenceEndpoint
from driftloop.inference.gateway import Gateway, Limits
from driftloop.inference.loading import Loader
from driftloop.inference.reports import Reports
from driftloop.inference.served import Served
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec import warm
from driftloop.kernel.errors import LogUnavailableError
from driftloop.kernel.recovery import NoState
from driftloop.kernel.runner import Runner, Wiring
from driftloop.kernel.service import Context, Status

_log = logging.getLogger(__name__)
_RETRY_S = 1.0
"""Before Kafka is tried again after it failed to answer."""
_STALLED_S = 2.0
"""A step that takes longer waits for Kafka, or has many versions to load itself."""


class InferenceService:
    """See :class:`driftloop.kernel.service.Service`."""

    name = SERVICE

    def __init__(self, context: Context, catalog: Catalog) -> None:
        warm()
        self._context = context
        self._catalog = catalog
        reports = Reports(catalog.topics, context.settings.instance)
        self._core = InferenceCore(catalog, context.meter, reports)
        self._loader = Loader(
            self._core,
            catalog,
            DirectoryStore(context.settings.artifacts),
            context.executor,
            context.clock,
            context.meter,
            reports,
            memory_bytes=context.settings.model_bytes,
            beat=context.beat,
        )
        self._loaded = False
        self._stepped_at = context.clock.monotonic()
        self._endpoint: InferenceEndpoint | None = None
        self._runner: Runner | None = self._new_runner()
        self._retry_at = 0.0

    def _new_runner(self) -> Runner:
        context = self._context
        return Runner(
            Wiring(
                name=SERVICE,
                core=self._core,
                recovery=NoState(),
                lead_topics=lambda c: sorted(
                    {m.topics.events for m in c.models.values() if not self._loader.blocked(m.name)}
                ),
                process_shared=self._core.process_shared,
                batch_rows=context.settings.batch_rows,
                dead_letter_limit=context.settings.dead_letter_limit,
            ),
            context.log,
            self._catalog,
            clock=context.clock,
            meter=context.meter,
            instance=context.settings.instance,
            committer=context.committer(),
        )

    def endpoint(self) -> InferenceEndpoint:
        """The same models over HTTP. From then on the service outlives Kafka: requests are
        answered while events wait."""
        context, settings = self._context, self._context.settings
        demanded = Demanded(
            self._loader.fetch,
            context.executor,
            context.clock,
            context.meter,
            settings.model_bytes,
        )
        served = Served(
            self._catalog,
            self._core,
            demanded,
            lambda: self._loaded,
            self._loader.blocked,
            self._loader.want,
            self._stalled,
        )
        limits = Limits(
            settings.http_rows, settings.http_queue_rows, settings.http_timeout_ms / 1000
        )
        outbox = context.log.outbox(settings.http_log_records)
        gateway = Gateway(served, outbox, context.clock, context.meter, limits)
        self._endpoint = InferenceEndpoint(
            served, gateway, context.clock, settings.http_rows, served.ready
        )
        return self._endpoint

    def step(self, timeout_s: float) -> bool:
        self._stepped_at = self._context.clock.monotonic()
        # A restarted service must not answer with an older version than it did before.
        self._loader.update(wait=not self._loaded)
        self._loaded = True
        self._loader.make_room()
        if self._endpoint is None:
            return self._running().step(timeout_s)
        try:
            if self._runner is None and self._context.clock.monotonic() < self._retry_at:
                self._context.clock.pause(timeout_s)
                return False
            return self._running().step(timeout_s)
        except LogUnavailableError as error:
            # What a restarted process would do, without the models' leaving memory.
            _log.error("%s; requests are answered, events wait; Kafka is tried again", error)
            self._retry_at = self._context.clock.monotonic() + _RETRY_S
            runner, self._runner = self._runner, None
            if runner is not None:
                runner.close()
            return False

    def _stalled(self) -> bool:
        return self._context.clock.monotonic() - self._stepped_at > _STALLED_S

    def _running(self) -> Runner:
        if self._runner is None:
            self._runner = self._new_runner()
        return self._runner

    def status(self) -> Status:
        serving = {}
        for name in list(self._catalog.models):
            now = self._core.installed(name)
            serving[name] = {
                "champion": 0 if now is None else now.champion,
                "shadow": -1 if now is None else now.shadow,
                "sequence": -1 if now is None else now.sequence,
            }
        runner = self._runner
        return Status(
            SERVICE,
            self._context.settings.instance,
            ready=self._loaded
            and runner is not None
            and runner.assigned()
            and not self._loader.behind()
            and not any(map(self._loader.blocked, list(self._catalog.models))),
            busy=runner is None or not runner.idle() or self._loader.behind(),
            lag=0 if runner is None else runner.lag,
            positions={} if runner is None else runner.positions(),
            details={"serving": serving, "not_loaded": self._loader.failed()},
        )

    def close(self) -> None:
        if self._runner is not None:
            self._runner.close()
