"""What is served, decided: shadow, promotion, guard, roll back, and what people ask for."""

from __future__ import annotations

from collections.abc import Mapping

from driftloop.deployer.state import ModelDeployment, Refusal
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.records import codec
from driftloop.kernel.deadletters import dead_letter
from driftloop.kernel.decisions import (
    HISTOGRAMS,
    Outgoing,
    UsedWindows,
    declared,
    horizon_of,
    read_records,
)
from driftloop.kernel.entries import Entries
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.ports import RecordBatch, TopicPartition
from driftloop.kernel.processor import Outputs
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import (
    Command,
    CommandAction,
    DeadLetter,
    Deployment,
    Stream,
    Version,
    Window,
)
from driftloop.kernel.statistics.exact import exact_sum

SERVICE = "deployer"


_MINE = (CommandAction.PROMOTE, CommandAction.REJECT, CommandAction.ROLL_BACK)


class DeployerCore:
    """One state machine per model; reads ``windows``, ``versions`` and ``commands``, writes
    ``deployments`` (key: the model).

    Only outcome windows of exactly the deployed pair count, each once, in its first revision. A
    command that cannot be followed becomes a dead letter that says why.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._entries = Entries()
        self._models: dict[str, ModelDeployment] = {}
        self._used: dict[str, UsedWindows] = {}
        self._losses: dict[tuple[str, str], float] = {}
        self._errors: dict[str, float] = {}

    def process(self, batch: RecordBatch) -> Outputs:
        """Raises :class:`ControlBehindError` before any change."""
        topics = self._catalog.topics
        if batch.topic == topics.windows:
            return self._windows(batch)
        if batch.topic == topics.versions:
            return self._versions(batch)
        if batch.topic == topics.commands:
            return self._commands(batch)
        raise ValueError(f"the deployer does not read {batch.topic!r}")

    def on_time(self, now: int) -> Outputs:
        """Nothing is decided by the clock."""
        return Outputs()

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
            for name, value in self._entries.read(model):
                if name == "state":
                    self._models[model] = ModelDeployment.from_plain(model, value)
                else:
                    self._used_of(model).load(name.removeprefix("used/outcomes/"), value)

    def drop(self, source: TopicPartition) -> None:
        topics = self._catalog.topics
        if source.topic != topics.windows:
            return
        self._entries.forget(lambda model: topics.partition(model) == source.partition)
        for kept in (self._models, self._used):
            for model in [m for m in kept if topics.partition(m) == source.partition]:
                del kept[model]

    def deployed(self) -> Mapping[str, Deployment]:
        """Model to its newest deployment, for whoever shows it."""
        return {m: s.deployment for m, s in self._models.items() if s.deployment is not None}

    def evidence(self) -> Mapping[str, float]:
        """Model to the log e-value of its running test, for the shadow being better."""
        return {model: state.test.log_better for model, state in self._models.items()}

    def losses(self) -> Mapping[tuple[str, str], float]:
        """(Model, role) to the mean bounded loss in the newest outcome window: nats, of a
        regression the label's unit; role is ``champion`` or ``shadow``."""
        return dict(self._losses)

    def errors(self) -> Mapping[str, float]:
        """Model to the share of rows in the newest outcome window whose most probable class is not
        the label; no regressions."""
        return dict(self._errors)

    def _windows(self, batch: RecordBatch) -> Outputs:
        found, letters = read_records(SERVICE, Window, batch, self._catalog.topics, HISTOGRAMS)
        outcomes = [(row, w) for row, w in found if w.stream is Stream.OUTCOMES]
        for _, window in outcomes:
            declared(self._catalog, window.model)
        outgoing = Outgoing()
        for row, window in outcomes:
            try:
                self._window(window, outgoing)
            except DecodeError as error:
                letters.append(dead_letter(SERVICE, batch, row, error))
        return outgoing.outputs(letters)

    def _window(self, window: Window, outgoing: Outgoing) -> None:
        model = declared(self._catalog, window.model)
        state = self._state(window.model)
        if not self._used_of(window.model).claim(window, horizon_of(model)):
            return
        state.event_time = max(state.event_time, window.end)
        self._note_losses(window)
        decision = None
        try:
            decision = state.on_window(window, model.promotion)
        finally:
            self._put(state, decision, outgoing)

    def _versions(self, batch: RecordBatch) -> Outputs:
        found, letters = read_records(SERVICE, Version, batch, self._catalog.topics)
        outgoing = Outgoing()
        for _, version in found:
            state = self._state(version.model)
            self._put(state, state.on_version(version), outgoing)
        return outgoing.outputs(letters)

    def _commands(self, batch: RecordBatch) -> Outputs:
        found, letters = read_records(SERVICE, Command, batch, self._catalog.topics)
        mine = [(row, c) for row, c in found if c.action in _MINE]
        for _, command in mine:
            declared(self._catalog, command.model)
        outgoing = Outgoing()
        for row, command in mine:
            letters += self._command(batch, row, command, outgoing)
        return outgoing.outputs(letters)

    def _command(
        self, batch: RecordBatch, row: int, command: Command, outgoing: Outgoing
    ) -> list[DeadLetter]:
        state = self._state(command.model)
        promotion = declared(self._catalog, command.model).promotion
        decision = state.on_command(command, promotion)
        if isinstance(decision, Refusal):
            why = DecodeError(Reason.OUT_OF_LIMITS, f"command {command.id}: {decision.why}")
            self._put(state, None, outgoing)
            return [dead_letter(SERVICE, batch, row, why)]
        self._put(state, decision, outgoing)
        return []

    def _put(self, state: ModelDeployment, decision: Deployment | None, outgoing: Outgoing) -> None:
        if decision is not None:
            topics = self._catalog.topics
            outgoing.add(
                topics.deployments,
                topics.partition(state.model),
                state.model,
                codec(Deployment).encode(decision),
            )
        self._entries.put(f"{state.model}/state", state.to_plain())

    def _note_losses(self, window: Window) -> None:
        loss = window.statistics.loss
        if loss is None or loss.rows == 0:
            return
        self._losses[window.model, "champion"] = exact_sum(loss.loss) / loss.rows
        if loss.labels:
            self._errors[window.model] = loss.errors / loss.rows
        if loss.paired is not None and loss.paired.rows:
            shadow = exact_sum(loss.paired.shadow_loss) / loss.paired.rows
            self._losses[window.model, "shadow"] = shadow
        else:
            self._losses.pop((window.model, "shadow"), None)

    def _state(self, model: str) -> ModelDeployment:
        return self._models.setdefault(model, ModelDeployment(model))

    def _used_of(self, model: str) -> UsedWindows:
        if model not in self._used:
            self._used[model] = UsedWindows(self._entries, model, str(Stream.OUTCOMES))
        return self._used[model]
