"""The inference service: wiring of core, loader and runner."""

from __future__ import annotations

from driftloop.adapters.artifacts.directory import DirectoryStore
from driftloop.inference.core import SERVICE, InferenceCore
from driftloop.inference.loading import Loader
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec import warm
from driftloop.kernel.recovery import NoState
from driftloop.kernel.runner import Runner, Wiring
from driftloop.kernel.service import Context, Status


class InferenceService:
    """See :class:`driftloop.kernel.service.Service`."""

    name = SERVICE

    def __init__(self, context: Context, catalog: Catalog) -> None:
        warm()
        self._context = context
        self._catalog = catalog
        self._core = InferenceCore(catalog, context.meter)
        self._loader = Loader(
            self._core,
            catalog,
            DirectoryStore(context.settings.artifacts),
            context.executor,
            context.clock,
            context.meter,
            memory_bytes=context.settings.model_bytes,
        )
        self._loaded = False
        self._runner = Runner(
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
            catalog,
            clock=context.clock,
            meter=context.meter,
            instance=context.settings.instance,
            committer=context.committer(),
        )

    def step(self, timeout_s: float) -> bool:
        # A restarted service must not answer with an older version than it did before.
        self._loader.update(wait=not self._loaded)
        self._loaded = True
        self._loader.make_room()
        return self._runner.step(timeout_s)

    def status(self) -> Status:
        serving = {}
        for name in list(self._catalog.models):
            now = self._core.installed(name)
            serving[name] = {
                "champion": 0 if now is None else now.champion,
                "shadow": -1 if now is None else now.shadow,
                "sequence": -1 if now is None else now.sequence,
            }
        return Status(
            SERVICE,
            self._context.settings.instance,
            ready=self._loaded
            and self._runner.assigned()
            and not self._loader.behind()
            and not any(map(self._loader.blocked, list(self._catalog.models))),
            busy=not self._runner.idle() or self._loader.behind(),
            lag=self._runner.lag,
            positions=self._runner.positions(),
            details={"serving": serving, "not_loaded": self._loader.failed()},
        )

    def close(self) -> None:
        self._runner.close()
