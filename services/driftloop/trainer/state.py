"""What the trainer knows of one model, between runs and during one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from driftloop.kernel.codec.mapping import from_plain, to_plain
from driftloop.kernel.codec.records import codec
from driftloop.kernel.declaration import TrainingPolicy
from driftloop.kernel.records import (
    Alert,
    AlertStatus,
    CandidateResult,
    Command,
    Profile,
    Recipe,
    Run,
    RunStatus,
    Trigger,
    Version,
)
from driftloop.kernel.topics import LARGEST_VALUE
from driftloop.trainer.dataset import Labels
from driftloop.trainer.triggers import Past, PendingAlert, Plan, next_run, over

_REMEMBERED = 256
"""Alerts and commands dealt with that are kept, so none acts twice."""


@dataclass(frozen=True, slots=True)
class Published:
    """What a worker made: all of the version's record that the run does not know."""

    recipe: Recipe
    artifact: str
    digest: str
    profile: Profile
    metrics: Mapping[str, float]
    candidates: tuple[CandidateResult, ...]
    rows: int
    """Rows read and used."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a run produced nothing."""

    reason: str
    candidates: tuple[CandidateResult, ...] = ()


RunResult = Published | Failed


@dataclass(slots=True)
class ModelTraining:
    """One model's labels, triggers and runs."""

    model: str
    labels: Labels = field(default_factory=Labels)
    alerts: dict[str, PendingAlert] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    """Ids of retrain commands that wait, oldest first."""
    dealt_with: list[str] = field(default_factory=list)
    """Ids of alerts and commands that may not act again, newest last."""
    runs: int = 0
    versions: int = 0
    last_at: int | None = None
    active: Run | None = None

    def on_alert(self, alert: Alert, policy: TrainingPolicy) -> None:
        """Openings of the kinds asked for may start a run, once; a resolution ends the wait."""
        if alert.status is AlertStatus.RESOLVED:
            if (pending := self.alerts.get(alert.id)) is not None and pending.resolved is None:
                pending.resolved = alert.at
        elif (
            alert.status is AlertStatus.OPENED
            and alert.kind in policy.on_alerts
            and alert.id not in self.alerts
            and alert.id not in self.dealt_with
        ):
            self.alerts[alert.id] = PendingAlert(alert.id, alert.at)

    def on_command(self, command: Command) -> None:
        if command.id not in self.commands and command.id not in self.dealt_with:
            self.commands.append(command.id)

    def start(self, policy: TrainingPolicy) -> Run | None:
        """The run to start now, which is then the active one."""
        past = Past(self.versions, self.last_at)
        if self.active is not None:
            return None
        alerts = list(self.alerts.values())
        plan = next_run(policy, self.labels, past, alerts, self.commands)
        if plan is not None:
            self._begin(plan)
        else:
            for alert in alerts:
                if over(policy, self.labels, past, alert):
                    self._deal_with(alert.id)
        return self.active

    def end(self, result: RunResult) -> tuple[Run, Version | None]:
        """The active run's last record and, if it published one, the version."""
        run = self.active
        assert run is not None
        self.active = None
        if isinstance(result, Failed):
            return _ended(run, RunStatus.FAILED, run.rows, result.candidates, -1, result.reason), (
                None
            )
        version = Version(
            model=self.model,
            version=self.versions + 1,
            recipe=result.recipe,
            artifact=result.artifact,
            digest=result.digest,
            profile=result.profile,
            metrics=result.metrics,
            sources=run.sources,
            period_start=run.period_start,
            period_end=run.period_end,
            run_id=run.id,
            created_at=run.at,
        )
        size = len(codec(Version).encode(version))
        if size > LARGEST_VALUE:
            # The profile holds every feature's levels. It would be trained again and again.
            reason = (
                f"the version's profile does not fit into a record: {size} bytes, more than "
                f"{LARGEST_VALUE}; declare fewer features, or shorter categories"
            )
            return _ended(run, RunStatus.FAILED, run.rows, result.candidates, -1, reason), None
        self.versions += 1
        done = _ended(run, RunStatus.PUBLISHED, result.rows, result.candidates, version.version, "")
        return done, version

    def prune(self, history: int) -> list[str]:
        """Forget labels no run can ask for any more. Returns their windows' ids."""
        settled = self.labels.settled
        if not history or settled is None:
            return []
        dates = [settled, *(alert.at for alert in self.alerts.values())]
        if self.active is not None:
            dates.append(self.active.at)
        return self.labels.prune(min(dates) - history)

    def to_plain(self) -> dict[str, Any]:
        """All but the labels, which are entries of their own."""
        return {
            "alerts": [[a.id, a.at, a.resolved] for a in self.alerts.values()],
            "commands": self.commands,
            "dealt_with": self.dealt_with,
            "runs": self.runs,
            "versions": self.versions,
            "last_at": self.last_at,
            "active": to_plain(self.active),
        }

    def load(self, plain: Mapping[str, Any]) -> None:
        self.alerts = {item[0]: PendingAlert(*item) for item in plain["alerts"]}
        self.commands = plain["commands"]
        self.dealt_with = plain["dealt_with"]
        self.runs = plain["runs"]
        self.versions = plain["versions"]
        self.last_at = plain["last_at"]
        self.active = None if plain["active"] is None else from_plain(Run, plain["active"])

    def _begin(self, plan: Plan) -> None:
        if plan.trigger in (Trigger.ALERT, Trigger.COMMAND):
            self._deal_with(plan.trigger_id)
        self.runs += 1
        self.last_at = plan.at
        self.active = Run(
            id=f"{self.model}-{self.runs}",
            model=self.model,
            status=RunStatus.STARTED,
            trigger=plan.trigger,
            trigger_id=plan.trigger_id,
            at=plan.at,
            period_start=plan.dataset.start,
            period_end=plan.dataset.end,
            sources=plan.dataset.sources,
            rows=plan.dataset.rows,
            candidates=(),
            version=-1,
            reason="",
        )

    def _deal_with(self, id: str) -> None:
        self.alerts.pop(id, None)
        self.commands = [command for command in self.commands if command != id]
        self.dealt_with = [*self.dealt_with, id][-_REMEMBERED:]


def _ended(
    run: Run,
    status: RunStatus,
    rows: int,
    candidates: tuple[CandidateResult, ...],
    version: int,
    reason: str,
) -> Run:
    return Run(
        id=run.id,
        model=run.model,
        status=status,
        trigger=run.trigger,
        trigger_id=run.trigger_id,
        at=run.at,
        period_start=run.period_start,
        period_end=run.period_end,
        sources=run.sources,
        rows=rows,
        candidates=candidates,
        version=version,
        reason=reason,
    )
