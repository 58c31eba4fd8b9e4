"""The trainer service: wiring of core, runner, the log's rows and the worker processes."""

from __future__ import annotations

import logging
from concurrent.futures import Future

import numpy as np

from driftloop.adapters.allocator import give_back
from driftloop.adapters.artifacts.directory import DirectoryStore
from driftloop.kernel import metrics, sharing
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.blocks import OutcomeBlock
from driftloop.kernel.codec.reshape import take
from driftloop.kernel.codec.rows import decode_outcomes
from driftloop.kernel.control_service import control_runner
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.errors import ArtifactError, LogError, TrainingError
from driftloop.kernel.observing import Observed
from driftloop.kernel.ports import Log, TopicPartition
from driftloop.kernel.records import Run
from driftloop.kernel.service import Context, Status
from driftloop.trainer.core import SERVICE, Failed, Published, RunResult, TrainerCore
from driftloop.trainer.launch import Worker, sweep
from driftloop.trainer.limits import WorkerLimits
from driftloop.trainer.rows import TrainingRows
from driftloop.trainer.task import Trained, TrainingTask, Untrained, WorkerResult

_log = logging.getLogger(__name__)


class _Job:
    """One run under way: first its rows are read, off the loop; then a worker trains."""

    def __init__(self, run: Run, rows: Future[TrainingRows], started: float) -> None:
        self.run = run
        self.rows: Future[TrainingRows] | None = rows
        """None once a worker has them, or there are none."""
        self.started = started
        self.worker: Worker | None = None


class TrainerService:
    """See :class:`driftloop.kernel.service.Service`."""

    name = SERVICE

    def __init__(self, context: Context, catalog: Catalog) -> None:
        self._context = context
        self._catalog = catalog
        self._core = TrainerCore(catalog)
        self._store = DirectoryStore(context.settings.artifacts)
        self._jobs: dict[str, _Job] = {}
        self._measured: dict[str, list[str]] = {}
        """Model to the metrics of its newest version that are exported."""
        topics = catalog.topics
        observed = Observed(self._core, topics.runs, Run, self._measure)
        self._runner = control_runner(
            context, catalog, SERVICE, observed, (topics.alerts, topics.commands)
        )
        sweep()

    def step(self, timeout_s: float) -> bool:
        worked = self._runner.step(timeout_s)
        for run in self._core.take_starts():
            if run.id in self._jobs:
                # Handed out again after a rewind, while its worker goes on.
                continue
            _log.info("run %s starts: %d rows, %s", run.id, run.rows, run.trigger.value)
            model = self._catalog.models[run.model]
            rows = self._context.executor.submit(read_rows, self._context.log, model, run)
            self._jobs[run.id] = _Job(run, rows, self._context.clock.monotonic())
        for id in list(self._jobs):
            worked = self._advance(id) or worked
        if not worked and timeout_s > 0:
            self._wait(timeout_s)
        return worked

    def status(self) -> Status:
        active = {model: run.id for model, run in self._core.active().items()}
        return Status(
            SERVICE,
            self._context.settings.instance,
            ready=self._runner.assigned(),
            busy=not self._runner.idle() or bool(self._jobs) or bool(active),
            lag=self._runner.lag,
            positions=self._runner.positions(),
            details={"active_runs": active},
        )

    def close(self) -> None:
        for job in self._jobs.values():
            if job.rows is not None:
                job.rows.cancel()
            if job.worker is not None:
                job.worker.kill("the trainer stops")
        self._runner.close()

    def _advance(self, id: str) -> bool:
        """Whether the job went on."""
        job = self._jobs[id]
        if all(run.id != id for run in self._core.active().values()):
            # The partition moved on: its new owner trains.
            if job.worker is not None:
                job.worker.kill("the run belongs to another process now")
            del self._jobs[id]
            return True
        if job.rows is not None:
            if not job.rows.done():
                return False
            try:
                job.worker = self._start(job.run, job.rows.result())
            except (TrainingError, LogError) as error:
                self._finish(job, Failed(str(error)))
            # The worker reads them from files. They came by clients with threads of their own, on
            # other threads each time.
            job.rows = None
            give_back()
            return True
        result = None if job.worker is None else job.worker.poll()
        if result is None:
            return False
        self._finish(job, self._published(job.run, result))
        return True

    def _start(self, run: Run, rows: TrainingRows) -> Worker:
        model = self._catalog.models[run.model]
        limits = WorkerLimits(model.training.time_limit, model.training.memory_limit)
        return Worker(rows, TrainingTask.of(model), limits)

    def _published(self, run: Run, result: WorkerResult) -> RunResult:
        match result:
            case Untrained(reason, candidates):
                return Failed(reason, candidates)
            case Trained():
                version = str(self._core.next_version(run.model))
                model = result.model
                try:
                    artifact, digest = self._store.put(
                        run.model, version, model.family, model.arrays, model.attributes
                    )
                except ArtifactError as error:
                    return Failed(str(error), result.candidates)
                return Published(
                    result.recipe,
                    artifact,
                    digest,
                    result.profile,
                    result.metrics,
                    result.candidates,
                    result.rows,
                )

    def _finish(self, job: _Job, result: RunResult) -> None:
        del self._jobs[job.run.id]
        if isinstance(result, Failed):
            _log.error("run %s failed: %s", job.run.id, result.reason)
        seconds = self._context.clock.monotonic() - job.started
        self._context.meter.observe(metrics.RUN_SECONDS, [seconds], job.run.model)
        self._core.finish(job.run.id, result)

    def _wait(self, timeout_s: float) -> None:
        """With nothing else to do, wait for a worker rather than turn round."""
        for job in self._jobs.values():
            if job.worker is not None:
                job.worker.pause(timeout_s)
                return

    def _measure(self, run: Run) -> None:
        meter = self._context.meter
        meter.add(metrics.RUNS, 1, run.model, run.status)
        meter.set(metrics.ACTIVE_RUNS, float(run.status == "started"), run.model)
        if run.version >= 0:
            meter.set(metrics.LATEST_VERSION, run.version, run.model)
            self._measure_version(run)

    def _measure_version(self, run: Run) -> None:
        meter = self._context.meter
        (chosen,) = (candidate for candidate in run.candidates if candidate.chosen)
        for name in self._measured.get(run.model, ()):
            meter.forget(metrics.VERSION_METRIC, run.model, name)
        self._measured[run.model] = [name for name in chosen.metrics if name != "seconds"]
        for name in self._measured[run.model]:
            meter.set(metrics.VERSION_METRIC, chosen.metrics[name], run.model, name)


def read_rows(log: Log, model: Declaration, run: Run) -> TrainingRows:
    """The outcomes a run names: those of its offset ranges with outcome time in its period.

    Raises :class:`TrainingError` when the log no longer holds them, or one cannot be read.
    """
    blocks: list[OutcomeBlock] = []
    starts = log.start_offsets([source.topic for source in run.sources])
    for source in run.sources:
        partition = TopicPartition(source.topic, source.partition)
        if starts.get(partition, source.end) > source.start:
            raise TrainingError(
                f"{source.topic}/{source.partition} no longer holds offsets from {source.start}: "
                "let outcomes be kept longer (retention.ms of the topic)"
            )
        for everyones in log.read(partition, source.start, source.end):
            batch = sharing.of_model(model, everyones)
            block, _, rejected = decode_outcomes(
                batch.values,
                scores=model.scores,
                numeric=len(model.numeric),
                categorical=len(model.categorical),
            )
            if rejected:
                bad = rejected[0]
                raise TrainingError(
                    f"{source.topic}/{source.partition} offset {batch.offsets[bad.row]}: "
                    f"{bad.error}"
                )
            times = block.outcome_time
            chosen = np.flatnonzero((times >= run.period_start) & (times < run.period_end))
            blocks.append(take(block, chosen))
    return TrainingRows.from_outcomes(blocks)
