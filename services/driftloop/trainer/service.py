"""The trainer service: wiring of core, runner and the worker processes."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from driftloop.adapters.artifacts.directory import DirectoryStore
from driftloop.kernel import metrics
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.control_service import control_runner
from driftloop.kernel.errors import ArtifactError, LogError, TrainingError
from driftloop.kernel.observing import Observed
from driftloop.kernel.records import Run
from driftloop.kernel.service import Context, Status
from driftloop.trainer.core import SERVICE, Failed, Published, RunResult, TrainerCore
from driftloop.trainer.launch import Worker, sweep_runs
from driftloop.trainer.limits import WorkerLimits
from driftloop.trainer.reading import Reading
from driftloop.trainer.task import Trained, TrainingTask, Untrained, WorkerResult

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Job:
    """One run under way."""

    run: Run
    worker: Worker
    started: float


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
        sweep_runs()

    def step(self, timeout_s: float) -> bool:
        worked = self._runner.step(timeout_s)
        for run in self._core.take_starts():
            if run.id in self._jobs:
                # Handed out again after a rewind, while its worker goes on.
                continue
            _log.info("run %s starts: %d rows, %s", run.id, run.rows, run.trigger.value)
            started = self._context.clock.monotonic()
            try:
                self._jobs[run.id] = _Job(run, self._start(run), started)
            except (TrainingError, LogError) as error:
                self._finish(run, started, Failed(str(error)))
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
            job.worker.kill("the trainer stops")
        self._runner.close()

    def _advance(self, id: str) -> bool:
        """Whether the job went on."""
        job = self._jobs[id]
        if all(run.id != id for run in self._core.active().values()):
            # The partition moved on: its new owner trains.
            job.worker.kill("the run belongs to another process now")
            del self._jobs[id]
            return True
        result = job.worker.poll()
        if result is None:
            return False
        del self._jobs[id]
        self._finish(job.run, job.started, self._published(job.run, result))
        return True

    def _start(self, run: Run) -> Worker:
        """A run's rows can be many times what this process holds: a worker reads them itself, where
        it can."""
        model = self._catalog.models[run.model]
        settings = self._context.settings
        reading = Reading.of(model, run)
        return Worker(
            reading if settings.bootstrap else reading.rows(self._context.log),
            TrainingTask.of(model),
            WorkerLimits(model.training.time_limit, model.training.memory_limit),
            settings=settings,
        )

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

    def _finish(self, run: Run, started: float, result: RunResult) -> None:
        if isinstance(result, Failed):
            _log.error("run %s failed: %s", run.id, result.reason)
        seconds = self._context.clock.monotonic() - started
        self._context.meter.observe(metrics.RUN_SECONDS, [seconds], run.model)
        self._core.finish(run.id, result)

    def _wait(self, timeout_s: float) -> None:
        """With nothing else to do, wait for a worker rather than turn round."""
        for job in self._jobs.values():
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
