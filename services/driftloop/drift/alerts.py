"""An alert's records under one id: opened, updated, resolved; and the headers they travel with."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime

from driftloop.drift import wording
from driftloop.kernel.ports import Headers
from driftloop.kernel.records import (
    Alert,
    AlertKind,
    AlertStatus,
    Command,
    CommandAction,
    Evidence,
    OffsetRange,
    Severity,
)


def opened(
    model: str,
    kind: AlertKind,
    subject: str,
    version: int,
    at: int,
    onset: int,
    sources: tuple[OffsetRange, ...],
    evidence: Evidence,
    segment: str = "",
) -> Alert:
    """An alert's first record."""
    named = f"{subject}[{segment}]" if segment else subject
    return Alert(
        id=alert_id(model, kind, named, version, onset),
        model=model,
        kind=kind,
        status=AlertStatus.OPENED,
        severity=wording.severity(ratio(evidence.effect, evidence.effect_floor)),
        subject=subject,
        version=version,
        sequence=0,
        opened_at=at,
        at=at,
        onset=onset,
        onset_sources=sources,
        evidence=evidence,
        summary=wording.finding(kind, named, version, evidence, onset),
        action=f"{wording.action(kind, named)} {wording.runbook(kind)}",
        segment=segment,
    )


def updated(alert: Alert, at: int, severity: Severity) -> Alert:
    """An open alert's next record; its severity never falls."""
    named = f"{alert.subject}[{alert.segment}]" if alert.segment else alert.subject
    worse = severity if wording.rank(severity) > wording.rank(alert.severity) else alert.severity
    return replace(
        alert,
        status=AlertStatus.UPDATED,
        severity=worse,
        sequence=alert.sequence + 1,
        at=at,
        summary=wording.finding(alert.kind, named, alert.version, alert.evidence, alert.onset),
    )


def resolved(alert: Alert, at: int, summary: str) -> Alert:
    """An alert's last record."""
    return replace(
        alert,
        status=AlertStatus.RESOLVED,
        sequence=alert.sequence + 1,
        at=at,
        summary=summary,
        action=wording.DONE,
    )


def annotated(alert: Alert, command: Command) -> Alert:
    """An open alert's next record after somebody acknowledged or snoozed it. What is tested, and
    when it is over, does not depend on it. Acknowledging ends a snooze."""
    return replace(
        alert,
        status=AlertStatus.UPDATED,
        sequence=alert.sequence + 1,
        acknowledged_by=command.who,
        snoozed_until=command.until if command.action is CommandAction.SNOOZE else 0,
    )


def ratio(effect: float, floor: float) -> float:
    """Of an effect to its floor."""
    return effect / floor if floor > 0.0 else 2.0


def alert_id(model: str, kind: AlertKind, subject: str, version: int, onset: int) -> str:
    """The same for the same finding; letters, digits, dots, dashes and underscores only."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", f"{model}-{kind}-{subject}-v{version}-{onset}")


def told_apart(alert: Alert, number: int, onsets: dict[AlertKind, int]) -> Alert:
    """A new alert under an id that no other of its model has had. ``number`` is of the window that
    opened it, ascending; ``onsets`` are the latest of the alerts opened so far, by kind, and take
    this one's in.

    Late windows come after later ones, so two alerts of a kind may have one cause by name and
    onset. An onset later than all before is new; with any other the id has the number too, for to
    remember every id would take room for ever."""
    before = onsets.get(alert.kind)
    if before is None or alert.onset > before:
        onsets[alert.kind] = alert.onset
        return alert
    return replace(alert, id=f"{alert.id}-{number}")


def cloud_event_headers(alert: Alert) -> Headers:
    """CloudEvents 1.0 attributes in Kafka's binary mode. ``ce_time`` is event time."""
    time = datetime.fromtimestamp(alert.at / 1000, UTC).isoformat(timespec="milliseconds")
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": f"{alert.id}/{alert.sequence}",
        "ce_source": f"driftloop/drift/{alert.model}",
        "ce_type": f"driftloop.alert.{alert.status}",
        "ce_subject": alert.subject,
        "ce_time": time.replace("+00:00", "Z"),
        "content-type": "application/avro",
    }
    return tuple((name, value.encode()) for name, value in attributes.items())
