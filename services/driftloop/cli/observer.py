"""What the demo sees of the loop: its control topics, followed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from driftloop.cli.printable import printable
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.records import codec
from driftloop.kernel.declaration_toml import declaration_of
from driftloop.kernel.ports import Log, RecordBatch
from driftloop.kernel.records import (
    Alert,
    AlertStatus,
    CategoricalProfile,
    DeadLetter,
    Deployment,
    NumericProfile,
    Run,
    RunStatus,
    Stream,
    Version,
    Window,
)
from driftloop.kernel.statistics.exact import exact_sum
from driftloop.kernel.topics import ControlTopics
from driftloop.models.evaluation import CHOSEN_BY

_POINTS = 40
"""Windows that a sparkline shows."""


@dataclass(slots=True)
class Seen:
    """Everything the control topics have said so far."""

    windows: dict[str, Window] = field(default_factory=dict)
    """Newest revision by id."""
    closed_until: dict[Stream, int] = field(default_factory=dict)
    """Highest end of a closed window, event time."""
    alerts: dict[str, Alert] = field(default_factory=dict)
    """Newest record by id."""
    runs: dict[str, Run] = field(default_factory=dict)
    versions: dict[int, Version] = field(default_factory=dict)
    deployments: list[Deployment] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    drift: dict[str, deque[float]] = field(default_factory=dict)
    """Feature to its PSI per window against the profile of the window's version."""
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=_POINTS))
    """Champion's mean bounded loss per outcome window."""

    @property
    def open_alerts(self) -> list[Alert]:
        return [a for a in self.alerts.values() if a.status is not AlertStatus.RESOLVED]

    @property
    def promotions(self) -> list[Deployment]:
        return [d for d in self.deployments if d.reason == "promoted"]

    @property
    def deployment(self) -> Deployment | None:
        return self.deployments[-1] if self.deployments else None


class Observer:
    """Follows the control topics; ``tell`` is given a line for each thing worth one."""

    def __init__(
        self, log: Log, topics: ControlTopics, model: str, tell: Callable[[str], None]
    ) -> None:
        self.seen = Seen()
        self.catalog = Catalog(topics, declaration_of)
        self._topics = topics
        self._model = model
        self._tell = tell
        self._takers: Mapping[str, Callable[[bytes], None]] = {
            topics.windows: self._window,
            topics.alerts: self._alert,
            topics.runs: self._run,
            topics.versions: self._version,
            topics.deployments: self._deployment,
            topics.dead_letters: self._dead_letter,
        }
        self._follower = log.follow([*self._takers, topics.models])

    def poll(self, timeout_s: float) -> bool:
        """Take in what has come; whether anything had."""
        batches = self._follower.poll(10_000, timeout_s)
        for batch in sorted(batches, key=self._rank):
            self.catalog.apply(batch)
            take = self._takers.get(batch.topic)
            if take is not None:
                for value in batch.values:
                    if value is not None:
                        take(value)
        return bool(batches)

    def halted_by(self, statuses: list[Mapping[str, Any]] | None = None) -> str:
        """Why the replay must wait: a run or a deployment is under way. Empty if it need not."""
        seen = self.seen
        for run in seen.runs.values():
            if run.status is RunStatus.STARTED:
                return f"training {run.id}"
        deployment = seen.deployment
        if seen.versions and (deployment is None or max(seen.versions) > _newest(seen.deployments)):
            return f"deploying version {max(seen.versions)}"
        if deployment is None or statuses is None:
            return ""
        for status in statuses:
            serving = status.get("details", {}).get("serving", {}).get(self._model)
            if status["service"] == "inference" and (
                serving is None or serving["sequence"] < deployment.sequence
            ):
                return f"loading version {deployment.champion}, shadow {deployment.shadow}"
        return ""

    def close(self) -> None:
        self._follower.close()

    def _rank(self, batch: RecordBatch) -> int:
        """Versions before the windows that are measured against their profiles."""
        return 0 if batch.topic in (self._topics.models, self._topics.versions) else 1

    def _window(self, value: bytes) -> None:
        window = codec(Window).decode(value)
        known = self.seen.windows.get(window.id)
        if known is not None and known.revision >= window.revision:
            return
        self.seen.windows[window.id] = window
        until = self.seen.closed_until.get(window.stream, 0)
        self.seen.closed_until[window.stream] = max(until, window.end)
        loss = window.statistics.loss
        if loss is not None and loss.rows:
            self.seen.losses.append(exact_sum(loss.loss) / loss.rows)
        version = self.seen.versions.get(window.version)
        if window.stream is Stream.PREDICTIONS and version is not None:
            for name, value_ in _drift(window, version):
                points = self.seen.drift.setdefault(name, deque(maxlen=_POINTS))
                points.append(value_)

    def _alert(self, value: bytes) -> None:
        alert = codec(Alert).decode(value)
        self.seen.alerts[alert.id] = alert
        if alert.status is not AlertStatus.UPDATED:
            what = f"{alert.kind.value} {alert.subject}"
            self._tell(printable(f"alert {alert.status.value} ({what}): {alert.summary}"))

    def _run(self, value: bytes) -> None:
        run = codec(Run).decode(value)
        self.seen.runs[run.id] = run
        if run.status is RunStatus.STARTED:
            self._tell(f"run {run.id} ({run.trigger.value}): training on {run.rows:,} outcomes")
        elif run.status is RunStatus.FAILED:
            self._tell(f"run {run.id} failed: {run.reason}")

    def _version(self, value: bytes) -> None:
        version = codec(Version).decode(value)
        self.seen.versions[version.version] = version
        found = next((name for name in CHOSEN_BY.values() if name in version.metrics), "")
        metric = f"{found.replace('_', ' ')} {version.metrics[found]:.3f}" if found else "nothing"
        self._tell(
            f"version {version.version}: {version.recipe.trainer}, {metric} on held-out rows"
        )

    def _deployment(self, value: bytes) -> None:
        deployment = codec(Deployment).decode(value)
        self.seen.deployments.append(deployment)
        shadow = f", shadow {deployment.shadow}" if deployment.shadow >= 0 else ""
        rows = f" after {deployment.rows:,} pairs" if deployment.rows else ""
        self._tell(
            f"deployment: version {deployment.subject} {deployment.reason}{rows}; "
            f"champion {deployment.champion}{shadow}"
        )

    def _dead_letter(self, value: bytes) -> None:
        self.seen.dead_letters.append(codec(DeadLetter).decode(value))


def _newest(deployments: list[Deployment]) -> int:
    """The highest version the deployer has dealt with."""
    return max((max(d.champion, d.shadow, d.subject) for d in deployments), default=0)


def _drift(window: Window, version: Version) -> list[tuple[str, float]]:
    """Population stability index of each column of one window against its profile."""
    found = []
    for numeric, profile in zip(window.statistics.numeric, version.profile.numeric, strict=True):
        found.append((numeric.name, _psi(numeric.bins, profile)))
    for categorical, levels in zip(
        window.statistics.categorical, version.profile.categorical, strict=True
    ):
        found.append((categorical.name, _psi(categorical.levels, levels)))
    return found


def _psi(counts: tuple[int, ...], profile: NumericProfile | CategoricalProfile) -> float:
    """Half a row is added to each bin, so that an empty one does not make it infinite."""
    if len(counts) != len(profile.counts):
        return 0.0
    now = np.asarray(counts, dtype=np.float64) + 0.5
    then = np.asarray(profile.counts, dtype=np.float64) + 0.5
    now /= now.sum()
    then /= then.sum()
    return float(np.sum((now - then) * np.log(now / then)))
