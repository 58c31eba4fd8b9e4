"""When to train: the rules, as a pure function of what was seen.

A run is dated at the end E of an outcome window and learns from what had closed by E. It is decided
once E is settled (a window with a later end was seen): by then all of E's windows, the alerts and
the resolutions dated E or before have come, in whatever order windows and alerts arrived, so the
decision does not depend on it. Only a command acts at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from driftloop.kernel.declaration import TrainingPolicy
from driftloop.kernel.records import Trigger
from driftloop.trainer.dataset import Dataset, Labels


@dataclass(slots=True)
class PendingAlert:
    """An alert that may start a run, once."""

    id: str
    at: int
    """Event time of its opening."""
    resolved: int | None = None
    """Event time of its resolution."""


@dataclass(frozen=True, slots=True)
class Past:
    """What earlier runs leave to the rules."""

    versions: int
    """Published so far."""
    last_at: int | None
    """``at`` of the newest run, published or failed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A run to be started."""

    trigger: Trigger
    trigger_id: str
    at: int
    dataset: Dataset


def next_run(
    policy: TrainingPolicy,
    labels: Labels,
    past: Past,
    alerts: Sequence[PendingAlert],
    commands: Sequence[str],
) -> Plan | None:
    """The run to start now, if any; for a model without an active one.

    Of several, the one with the earliest date; at the same date initial and schedule come before
    alerts, and alerts in the order of their ids.
    """
    if labels.newest is not None and commands:
        dataset = labels.dataset(labels.newest, policy.history)
        if dataset is not None and dataset.rows > 0:
            return Plan(Trigger.COMMAND, commands[0], labels.newest, dataset)
    options: list[tuple[int, int, str, Trigger]] = []
    periodic = Trigger.SCHEDULE if past.versions else Trigger.INITIAL
    begin = _periodic_from(policy, past)
    if begin is not None and (at := _date(policy, labels, begin, None)) is not None:
        options.append((at, 0, "", periodic))
    for alert in alerts:
        begin = alert_from(policy, past, alert)
        if (at := _date(policy, labels, begin, alert.resolved)) is not None:
            options.append((at, 1, alert.id, Trigger.ALERT))
    if not options:
        return None
    at, _, trigger_id, trigger = min(options)
    dataset = labels.dataset(at, policy.history)
    assert dataset is not None
    return Plan(trigger, trigger_id, at, dataset)


def alert_from(policy: TrainingPolicy, past: Past, alert: PendingAlert) -> int:
    """The earliest date an alert's run may have: its own, or when the cooldown is over."""
    if past.last_at is None:
        return alert.at
    return max(alert.at, past.last_at + max(policy.cooldown, 1))


def over(policy: TrainingPolicy, labels: Labels, past: Past, alert: PendingAlert) -> bool:
    """Whether an alert was resolved before it could start a run, and never will."""
    if alert.resolved is None:
        return False
    settled = labels.settled
    return alert_from(policy, past, alert) >= alert.resolved or (
        settled is not None and settled >= alert.resolved
    )


def _periodic_from(policy: TrainingPolicy, past: Past) -> int | None:
    """The earliest date of an initial or scheduled run; None when there is none."""
    if past.last_at is None:
        return 0
    if past.versions == 0:
        return past.last_at + max(policy.cooldown, 1)
    if policy.schedule == 0:
        return None
    return past.last_at + max(policy.schedule, policy.cooldown)


def _date(policy: TrainingPolicy, labels: Labels, begin: int, before: int | None) -> int | None:
    """The first settled end from ``begin`` on, earlier than ``before``, by which there were labels
    enough."""
    settled = labels.settled
    if settled is None or settled < begin:
        return None
    last = settled if before is None else min(settled, before - 1)
    ends = labels.ends(begin, last)
    for end, rows in zip(ends, labels.row_counts(ends, policy.history), strict=True):
        if rows >= policy.minimum_labels:
            return end
    return None
