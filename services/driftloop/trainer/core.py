"""When to train and from which labels, decided; what came of it, published."""

from __future__ import annotations

from collections.abc import Mapping

from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.records import codec
from driftloop.kernel.decisions import HISTOGRAMS, Outgoing, declared, read_records
from driftloop.kernel.entries import Entries
from driftloop.kernel.ports import RecordBatch, TopicPartition
from driftloop.kernel.processor import Outputs
from driftloop.kernel.records import (
    Alert,
    Command,
    CommandAction,
    DeadLetter,
    Run,
    Stream,
    Version,
    Window,
)
from driftloop.trainer.dataset import Labelled
from driftloop.trainer.state import Failed, ModelTraining, Published, RunResult

__all__ = ["SERVICE", "Failed", "Published", "RunResult", "TrainerCore"]

SERVICE = "trainer"


class TrainerCore:
    """One run at a time per model; reads ``windows``, ``alerts`` and ``commands``, writes ``runs``
    (key: the run's id) and ``versions`` (key: MODEL/VERSION).

    Training itself is the shell's: it asks :meth:`take_starts` after a commit, trains, and calls
    :meth:`finish`; the records come out of the next :meth:`on_time`. A run that was under way when
    its partition moved, or the process died, is handed out again by whoever restores it, and gives
    the same version.

    A higher revision of a window replaces the lower one for the runs to come; runs already started
    keep their dataset.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._entries = Entries()
        self._models: dict[str, ModelTraining] = {}
        self._starts: list[str] = []
        self._results: dict[str, RunResult] = {}

    def process(self, batch: RecordBatch) -> Outputs:
        """Raises :class:`ControlBehindError` before any change."""
        topics = self._catalog.topics
        if batch.topic == topics.windows:
            return self._windows(batch)
        if batch.topic == topics.alerts:
            return self._alerts(batch)
        if batch.topic == topics.commands:
            return self._commands(batch)
        raise ValueError(f"the trainer does not read {batch.topic!r}")

    def on_time(self, now: int) -> Outputs:
        """The records of runs that have finished, and of those that start for it. The clock itself
        decides nothing."""
        outgoing = Outgoing()
        for run_id in sorted(self._results):
            state = self._running(run_id)
            model = None if state is None else self._catalog.models.get(state.model)
            if state is None or model is None:
                continue
            run, version = state.end(self._results.pop(run_id))
            self._send_run(run, outgoing)
            if version is not None:
                topics = self._catalog.topics
                outgoing.add(
                    topics.versions,
                    topics.partition(state.model),
                    f"{state.model}/{version.version}",
                    codec(Version).encode(version),
                )
            self._decide(state, outgoing)
        return outgoing.outputs()

    def take_starts(self) -> list[Run]:
        """Runs to start, each handed out once per start or restore. Ask after a commit: before, the
        decision may yet be taken back. A run already at work under the same id goes on."""
        taken, self._starts = self._starts, []
        states = (self._running(run_id) for run_id in taken)
        return [state.active for state in states if state is not None and state.active is not None]

    def finish(self, run_id: str, result: RunResult) -> None:
        """Tell what came of a run. For a run that is not active here (its partition left) nothing
        happens: its new owner runs it again."""
        if self._running(run_id) is not None:
            self._results[run_id] = result

    def active(self) -> Mapping[str, Run]:
        """Model to the run under way, for the shell and whoever shows it."""
        return {m: s.active for m, s in self._models.items() if s.active is not None}

    def next_version(self, model: str) -> int:
        """The number a version published by the model's active run will have."""
        state = self._models.get(model)
        return 1 if state is None else state.versions + 1

    def commit_due(self, now: int) -> bool:
        return True

    def flush(self) -> Outputs:
        return Outputs()

    def snapshot(self) -> Mapping[str, bytes | None]:
        return self._entries.changes()

    def restore(self, source: TopicPartition, entries: Mapping[str, bytes]) -> None:
        if source.topic != self._catalog.topics.windows:
            return
        for model in self._entries.load(entries):
            state = self._state(model)
            for name, value in self._entries.read(model):
                if name == "state":
                    state.load(value)
                else:
                    state.labels.put(Labelled.from_plain(value))
            if state.active is not None:
                self._starts.append(state.active.id)

    def drop(self, source: TopicPartition) -> None:
        topics = self._catalog.topics
        if source.topic != topics.windows:
            return
        self._entries.forget(lambda model: topics.partition(model) == source.partition)
        for model in [m for m in self._models if topics.partition(m) == source.partition]:
            run = self._models.pop(model).active
            if run is not None:
                self._results.pop(run.id, None)
                self._starts = [run_id for run_id in self._starts if run_id != run.id]

    def _windows(self, batch: RecordBatch) -> Outputs:
        found, letters = read_records(SERVICE, Window, batch, self._catalog.topics, HISTOGRAMS)
        windows = [window for _, window in found if window.stream is Stream.OUTCOMES]
        for window in windows:
            declared(self._catalog, window.model)
        outgoing = Outgoing()
        for window in windows:
            state = self._state(window.model)
            labelled = Labelled.of(window)
            if state.labels.put(labelled):
                self._entries.put(_entry(window.model, window.id), labelled.to_plain())
                self._decide(state, outgoing)
        return outgoing.outputs(letters)

    def _alerts(self, batch: RecordBatch) -> Outputs:
        found, letters = read_records(SERVICE, Alert, batch, self._catalog.topics)
        policies = [declared(self._catalog, alert.model).training for _, alert in found]
        outgoing = Outgoing()
        for (_, alert), policy in zip(found, policies, strict=True):
            state = self._state(alert.model)
            state.on_alert(alert, policy)
            self._decide(state, outgoing)
        return outgoing.outputs(letters)

    def _commands(self, batch: RecordBatch) -> Outputs:
        letters: list[DeadLetter]
        found, letters = read_records(SERVICE, Command, batch, self._catalog.topics)
        commands = [c for _, c in found if c.action is CommandAction.RETRAIN]
        for command in commands:
            declared(self._catalog, command.model)
        outgoing = Outgoing()
        for command in commands:
            state = self._state(command.model)
            state.on_command(command)
            self._decide(state, outgoing)
        return outgoing.outputs(letters)

    def _decide(self, state: ModelTraining, outgoing: Outgoing) -> None:
        policy = declared(self._catalog, state.model).training
        before = state.active
        run = state.start(policy)
        if run is not None and before is None:
            self._starts.append(run.id)
            self._send_run(run, outgoing)
        for window_id in state.prune(policy.history):
            self._entries.delete(_entry(state.model, window_id))
        self._entries.put(f"{state.model}/state", state.to_plain())

    def _send_run(self, run: Run, outgoing: Outgoing) -> None:
        topics = self._catalog.topics
        outgoing.add(topics.runs, topics.partition(run.model), run.id, codec(Run).encode(run))

    def _running(self, run_id: str) -> ModelTraining | None:
        for state in self._models.values():
            if state.active is not None and state.active.id == run_id:
                return state
        return None

    def _state(self, model: str) -> ModelTraining:
        return self._models.setdefault(model, ModelTraining(model))


def _entry(model: str, window_id: str) -> str:
    return f"{model}/window/{window_id}"
