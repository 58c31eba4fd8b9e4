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
) -> Alert:
    """An alert's first record."""
    effect, floor = evidence.effect, evidence.effect_floor
    return Alert(
        id=alert_id(model, kind, subject, version, onset),
        model=model,
        kind=kind,
        status=AlertStatus.OPENED,
        severity=wording.severity(effect, floor),
        subject=subject,
        version=version,
        sequence=0,
        opened_at=at,
        at=at,
        onset=onset,
        onset_sources=sources,
        evidence=evidence,
        summary=wording.finding(kind, subject, version, effect, floor, evidence.rows, onset),
        action=wording.action(kind, subject),
    )


def updated(alert: Alert, at: int, severity: Severity) -> Alert:
    """An open alert's next record; its severity never falls."""
    e = alert.evidence
    worse = severity if wording.rank(severity) > wording.rank(alert.severity) else alert.severity
    return replace(
        alert,
        status=AlertStatus.UPDATED,
        severity=worse,
        sequence=alert.sequence + 1,
        at=at,
        summary=wording.finding(
            alert.kind, alert.subject, alert.version, e.effect, e.effect_floor, e.rows, alert.onset
        ),
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


def alert_id(model: str, kind: AlertKind, subject: str, version: int, onset: int) -> str:
    """The same for the same finding; letters, digits, dots, dashes and underscores only."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", f"{model}-{kind}-{subject}-v{version}-{onset}")


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
