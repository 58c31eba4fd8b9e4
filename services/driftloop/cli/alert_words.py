"""An alert's evidence in words, with the units people know."""

from __future__ import annotations

from collections.abc import Sequence

from driftloop.cli.alert_records import state_text
from driftloop.cli.records_text import moment
from driftloop.drift.shiryaev import LOG_TEN
from driftloop.drift.wording import duration
from driftloop.kernel.records import Alert, AlertKind, AlertStatus, Evidence
from driftloop.models.variation import ENOUGH_WINDOWS

UNTESTED = (AlertKind.STALE, AlertKind.NOT_LOADED)
"""Kinds that no test decides, and that have no e-value."""
_SHARES = {
    "error_increase": "more errors",
    "missing_share": "more missing",
    "unseen_share": "more new values",
    "outside_share": "more out of range",
}


def number(log_e: float) -> str:
    """An e-value, from its natural logarithm."""
    ten = log_e / LOG_TEN
    if ten < -6:
        return "0"
    if ten < 6:
        value = 10.0**ten
        return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
    # The part before it may be rounded up to another ten.
    first, more = f"{10 ** (ten % 1):.1e}".split("e")
    return f"{first} x 10^{int(ten) + int(more)}"


def effect_text(name: str, size: float) -> str:
    """A change, or its floor, with its unit."""
    if name in _SHARES:
        return f"{100 * size:.2f}% {_SHARES[name]}"
    match name:
        case "psi":
            return f"PSI {size:.3f}"
        case "standardised_shift":
            return f"shift {size:.2f} sd"
        case "loss_increase":
            return f"{size:.4f} more loss per row"
        case "constant_rows":
            return f"{size:,.0f} rows of one value"
        case "age_ms":
            return f"{duration(int(size))} without a window"
        case "processes":
            return f"{size:.0f} process{'' if size == 1.0 else 'es'} without the version"
        case _:
            return f"{name} {size:.4g}"


def floor_text(name: str, floor: float) -> str:
    """A floor beside an effect that has told the unit."""
    if name in _SHARES:
        return f"{100 * floor:g}%"
    return duration(int(floor)) if name == "age_ms" else f"{floor:g}"


def facts(alert: Alert, now: int, budget: float | None) -> list[tuple[str, str]]:
    """Names and what there is to say. ``budget``: false alarms per 100,000 rows, where known."""
    evidence = alert.evidence
    found = [
        ("model", f"{alert.model}, version {alert.version}"),
        ("state", f"{alert.severity}, {state_text(alert, now)}"),
        ("opened", f"{moment(alert.opened_at)} UTC; newest record {moment(alert.at)} UTC"),
        ("onset", f"suspected at {moment(alert.onset)} UTC"),
        ("offsets", _offsets(alert)),
    ]
    if alert.kind not in UNTESTED:
        times = (evidence.e_value - evidence.threshold) / LOG_TEN
        found += [
            ("e-value", _logs(evidence.e_value)),
            ("threshold", f"{_logs(evidence.threshold)}, passed by {times:.1f} powers of ten"),
            ("budget", _budget(evidence, budget, alert.segment)),
        ]
    floor = floor_text(evidence.effect_name, evidence.effect_floor)
    times = evidence.effect / evidence.effect_floor if evidence.effect_floor > 0 else 0.0
    found.append(
        (
            "effect",
            f"{effect_text(evidence.effect_name, evidence.effect)}; floor {floor}"
            + (f" ({times:.1f} times)" if times else ""),
        )
    )
    if evidence.rows:
        found.append(("rows", f"{evidence.rows:,} since the onset"))
    if alert.kind not in UNTESTED:
        found += [
            ("dispersion", _dispersion(evidence)),
            ("reference", evidence.reference.replace("_", " ")),
        ]
    found.append(("windows", _windows(evidence.windows)))
    return found


def history(records: Sequence[Alert]) -> list[tuple[str, ...]]:
    """One line per record: number, time, what it is, severity, e-value, effect."""
    lines: list[tuple[str, ...]] = []
    before: Alert | None = None
    for record in records:
        evidence = record.evidence
        lines.append(
            (
                str(record.sequence),
                moment(record.at),
                _change(record, before),
                str(record.severity),
                number(evidence.e_value) if record.kind not in UNTESTED else "",
                effect_text(evidence.effect_name, evidence.effect),
            )
        )
        before = record
    return lines


def _change(record: Alert, before: Alert | None) -> str:
    if before is None or record.status is AlertStatus.RESOLVED:
        return str(record.status)
    said = (record.acknowledged_by, record.snoozed_until)
    if said != (before.acknowledged_by, before.snoozed_until):
        if record.snoozed_until:
            return f"snoozed until {moment(record.snoozed_until)} by {record.acknowledged_by}"
        return f"acknowledged by {record.acknowledged_by}"
    return str(record.status)


def _logs(log_e: float) -> str:
    return f"{number(log_e)} (log10 {log_e / LOG_TEN:.2f})"


def _budget(evidence: Evidence, budget: float | None, segment: str) -> str:
    share = evidence.share
    text = f"{100 * share:.2f}% of it is this test's"
    if budget and share > 0.0:
        rows = 100_000 / (budget * share)
        text += f": of {budget:g} per 100,000 rows, one false alert in {rows:,.0f} rows"
        if segment:
            text += f" of segment {segment}"
    return text


def _dispersion(evidence: Evidence) -> str:
    if evidence.dispersion <= 1.0:
        return "1: every row counts"
    text = f"{evidence.dispersion:.2f}: so many rows count as one, for they come in clumps"
    few = f"fewer than {ENOUGH_WINDOWS} windows"
    if evidence.reference.startswith("first_weeks"):
        return f"{text}, or may: {few} of a version do not tell well"
    return f"{text}, or may, where training and service had {few}"


def _offsets(alert: Alert) -> str:
    parts = [f"{s.topic}/{s.partition} [{s.start:,}, {s.end:,})" for s in alert.onset_sources]
    return "; ".join(parts) or "none"


def _windows(ids: Sequence[str]) -> str:
    if not ids:
        return "none"
    return ids[0] if len(ids) == 1 else f"{len(ids)}, {ids[0]} to {ids[-1]}"
