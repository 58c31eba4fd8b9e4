"""The featurestats service: the sketch stage on the runner, the merge stage on Faust."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from driftloop.adapters.rocksdb import RocksStore
from driftloop.featurestats.idleness import MERGE, Idleness
from driftloop.featurestats.merge import MergeCore, MergeProcessor
from driftloop.featurestats.sketch import SketchCore
from driftloop.featurestats.stage import MergeStage
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec import warm
from driftloop.kernel.ports import TopicPartition
from driftloop.kernel.recovery import ChangelogRecovery
from driftloop.kernel.runner import Runner, Wiring
from driftloop.kernel.service import Context, Status
from driftloop.kernel.statistics.sketch import warm as warm_sketch
from driftloop.kernel.stores import KeyValueStore, Section

SERVICE = "featurestats"
_POSITIONS_EVERY_S = 0.1
_RESTORED_AT_ONCE = 16 << 20
"""Bytes of partials."""


class Merge(Protocol):
    """The merge stage, on Faust or on the runner."""

    def step(self) -> bool: ...

    def ready(self) -> bool: ...

    def busy(self) -> bool: ...

    def positions(self) -> Mapping[TopicPartition, int]: ...

    def close(self) -> None: ...


class FeaturestatsService:
    """See :class:`driftloop.kernel.service.Service`."""

    name = SERVICE

    def __init__(self, context: Context, catalog: Catalog) -> None:
        warm()
        self._context = context
        settings = context.settings
        self._store = RocksStore(settings.state / f"{SERVICE}-{settings.instance}", scratch=True)
        core = SketchCore(
            catalog,
            Section(self._store, b"sketched/"),
            flush_interval_ms=settings.flush_interval_ms,
            memory_bytes=settings.window_bytes,
            meter=context.meter,
        )
        self._runner = Runner(
            Wiring(
                name=SERVICE,
                core=core,
                recovery=ChangelogRecovery(
                    context.log,
                    context.clock,
                    catalog.topics,
                    SERVICE,
                    core,
                    core.state_scope,
                    context.beat,
                    bytes_at_once=_RESTORED_AT_ONCE,
                ),
                lead_topics=_row_topics,
                batch_rows=settings.batch_rows,
                process_shared=core.process_shared,
                dead_letter_limit=settings.dead_letter_limit,
            ),
            context.log,
            catalog,
            clock=context.clock,
            meter=context.meter,
            instance=settings.instance,
            committer=context.committer(),
        )
        for model in catalog.models.values():
            warm_sketch(model)
        self._merge: Merge = (
            _FaustMerge(context, catalog, self._store)
            if settings.bootstrap
            else _RunnerMerge(context, catalog, self._store)
        )

    def step(self, timeout_s: float) -> bool:
        sketched = self._runner.step(timeout_s)
        return self._merge.step() or sketched

    def status(self) -> Status:
        return Status(
            SERVICE,
            self._context.settings.instance,
            ready=self._runner.assigned() and self._merge.ready(),
            busy=not self._runner.idle() or self._merge.busy(),
            lag=self._runner.lag,
            positions={**self._merge.positions(), **self._runner.positions()},
        )

    def close(self) -> None:
        self._merge.close()
        self._runner.close()
        self._store.close()


def _row_topics(catalog: Catalog) -> Sequence[str]:
    topics = [model.topics for model in catalog.models.values()]
    return sorted({t.predictions for t in topics} | {t.outcomes for t in topics})


class _FaustMerge:
    def __init__(self, context: Context, catalog: Catalog, store: KeyValueStore) -> None:
        settings = context.settings
        self._clock = context.clock
        self._asked_at = -_POSITIONS_EVERY_S
        self._positions: Mapping[TopicPartition, int] = {}
        self._stage = MergeStage(
            catalog,
            context.log,
            context.clock,
            bootstrap=settings.bootstrap,
            directory=settings.state / f"faust-{settings.instance}",
            store=store,
            options=settings.kafka_options,
            idle_after_ms=settings.idle_after_ms,
            meter=context.meter,
        )
        self._stage.start()

    def step(self) -> bool:
        self._stage.check()
        now = self._clock.monotonic()
        if now - self._asked_at >= _POSITIONS_EVERY_S:
            self._asked_at = now
            self._positions = self._stage.positions()
        return False

    def ready(self) -> bool:
        return self._stage.ready

    def busy(self) -> bool:
        return self._stage.busy

    def positions(self) -> Mapping[TopicPartition, int]:
        return self._positions

    def close(self) -> None:
        self._stage.stop()


class _RunnerMerge:
    def __init__(self, context: Context, catalog: Catalog, store: KeyValueStore) -> None:
        core = MergeCore(
            catalog,
            Section(store, b"merged/"),
            idle_after_ms=context.settings.idle_after_ms,
            meter=context.meter,
        )
        processor = MergeProcessor(core, catalog, Idleness(catalog, context.log))
        self._runner = Runner(
            Wiring(
                name=MERGE,
                core=processor,
                recovery=ChangelogRecovery(
                    context.log,
                    context.clock,
                    catalog.topics,
                    MERGE,
                    processor,
                    processor.state_scope,
                    context.beat,
                ),
                lead_topics=lambda c: (c.topics.partials,),
            ),
            context.log,
            catalog,
            clock=context.clock,
            meter=context.meter,
            instance=context.settings.instance,
            committer=context.committer(),
        )

    def step(self) -> bool:
        return self._runner.step(0.0)

    def ready(self) -> bool:
        return self._runner.assigned()

    def busy(self) -> bool:
        return not self._runner.idle()

    def positions(self) -> Mapping[TopicPartition, int]:
        return self._runner.positions()

    def close(self) -> None:
        self._runner.close()
