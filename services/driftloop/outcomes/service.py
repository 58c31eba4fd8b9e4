"""The outcomes service: wiring of core, RocksDB and runner."""

from __future__ import annotations

from driftloop.adapters.allocator import give_back
from driftloop.adapters.rocksdb import RocksStore
from driftloop.kernel import metrics
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec import warm
from driftloop.kernel.runner import Runner, Wiring
from driftloop.kernel.service import Context, Status
from driftloop.outcomes.core import OutcomesCore
from driftloop.outcomes.reading import SERVICE
from driftloop.outcomes.recovery import JoinRecovery

_GAP_S = 0.2
"""Labels come seconds to weeks later: nobody waits for an outcome as for a prediction, and fewer
transactions leave the broker to those."""
_GLANCE_S = 0.001
"""For input, where there is other work."""


class OutcomesService:
    """See :class:`driftloop.kernel.service.Service`."""

    name = SERVICE

    def __init__(self, context: Context, catalog: Catalog) -> None:
        warm()
        self._context = context
        settings = context.settings
        self._store = RocksStore(settings.state / f"{SERVICE}-{settings.instance}")
        if self._store.rebuilt:
            context.meter.add(metrics.STATE_REBUILT, 1, "corrupt")
        self._given_back = 0
        """Checkpoints, after which free memory was given back."""
        self._core = OutcomesCore(catalog, self._store, context.meter)
        group = catalog.topics.group(SERVICE)
        self._runner = Runner(
            Wiring(
                name=SERVICE,
                core=self._core,
                recovery=JoinRecovery(context.log, catalog, self._core, group, context.beat),
                lead_topics=lambda c: sorted({m.topics.predictions for m in c.models.values()}),
                companions=lambda topic: [m.topics.labels for m in catalog.models_of(topic)[:1]],
                batch_rows=settings.batch_rows,
                process_shared=self._core.process_shared,
                gap_s=_GAP_S,
                dead_letter_limit=settings.dead_letter_limit,
            ),
            context.log,
            catalog,
            clock=context.clock,
            meter=context.meter,
            instance=settings.instance,
            committer=context.committer(),
        )

    def step(self, timeout_s: float) -> bool:
        worked = advance(self._runner, self._core, timeout_s)
        if self._core.checkpoints != self._given_back:
            # The batch for the store, and what left memory for it, lie between what stays.
            self._given_back = self._core.checkpoints
            give_back()
        return worked

    def status(self) -> Status:
        waiting = {
            name: {"predictions": predictions, "labels": labels}
            for name, (predictions, labels) in self._core.open_counts().items()
        }
        return Status(
            SERVICE,
            self._context.settings.instance,
            ready=self._runner.assigned(),
            busy=not self._runner.idle() or self._core.behind(),
            lag=self._runner.lag,
            positions=self._runner.positions(),
            details={"open": waiting},
        )

    def close(self) -> None:
        self._runner.close()
        self._store.close()


def advance(runner: Runner, core: OutcomesCore, timeout_s: float) -> bool:
    """A step of the join: it does not wait for input while something that expired is to be removed.
    Whether there was anything to do."""
    expiring = core.expiring() and not runner.pausing()
    worked = runner.step(min(timeout_s, _GLANCE_S) if expiring else timeout_s)
    if runner.idle():
        # No transaction comes that would take what was removed to the store.
        core.checkpoint_if_due()
    return worked or expiring
