"""Records as one line each, for people."""

from __future__ import annotations

import datetime
import math

from driftloop.cli.printable import printable_record
from driftloop.kernel.records import (
    Alert,
    DeadLetter,
    Deployment,
    Estimate,
    Load,
    Outcome,
    Prediction,
    Run,
    RunStatus,
    Version,
    Window,
)
from driftloop.kernel.statistics.exact import exact_sum

_SHOWN_BYTES = 60

AnyRecord = (
    Alert
    | DeadLetter
    | Deployment
    | Estimate
    | Load
    | Outcome
    | Prediction
    | Run
    | Version
    | Window
)


def moment(milliseconds: int) -> str:
    """``2013-01-31 12:00`` in UTC, or the number where it is no time of the calendar."""
    try:
        at = datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return str(milliseconds)
    return at.strftime("%Y-%m-%d %H:%M")


def record_text(record: AnyRecord) -> str:
    """One line that says what matters of it."""
    record = printable_record(record)
    match record:
        case Alert():
            return (
                f"{moment(record.at)}  {record.model}  {record.status.upper()} {record.severity}  "
                f"{record.kind} of {record.subject}: {record.summary}{_said(record)}  [{record.id}]"
            )
        case Estimate():
            told = "" if math.isnan(record.realised) else f"; by the labels {record.realised:.4f}"
            return (
                f"{moment(record.start)} to {moment(record.end)}  {record.model} "
                f"v{record.version}  {record.rows} rows  {record.metric} by the scores "
                f"{record.estimate:.4f} ({record.lower:.4f} to {record.upper:.4f}){told}  "
                f"[{record.method}, blind to concept drift]"
            )
        case Prediction():
            shadow = ""
            if record.shadow_version >= 0:
                shadow = f"  shadow v{record.shadow_version} {_scores(record.shadow_scores)}"
            return (
                f"{moment(record.event_time)}  {record.event_id}  "
                f"v{record.version} {_scores(record.scores)}{shadow}"
            )
        case Outcome():
            return (
                f"{moment(record.outcome_time)}  {record.event_id}  v{record.version} "
                f"{_scores(record.scores)}  label {record.label:g} "
                f"after {_duration(record.label_delay)}"
            )
        case Window():
            return window_text(record)
        case Version():
            metrics = "  ".join(f"{k} {v:.4g}" for k, v in sorted(record.metrics.items()))
            return (
                f"{moment(record.created_at)}  {record.model}  version {record.version}  "
                f"{record.recipe.trainer}  {metrics}"
            )
        case Deployment():
            shadow = f"  shadow v{record.shadow}" if record.shadow >= 0 else ""
            return (
                f"{moment(record.at)}  {record.model}  {record.reason} v{record.subject}: "
                f"{record.stage}, champion v{record.champion}{shadow}"
            )
        case Load():
            shadow = f" shadow v{record.shadow}" if record.shadow >= 0 else ""
            how = "loaded" if record.failed < 0 else f"v{record.failed} not loaded: {record.error}"
            return (
                f"{moment(record.at)}  {record.model}  inference-{record.instance}  deployment "
                f"{record.sequence}, champion v{record.champion}{shadow}: {how}"
            )
        case Run():
            return f"{moment(record.at)}  {record.model}  {_run(record)}  [{record.id}]"
        case DeadLetter():
            value = b"" if record.value is None else record.value
            more = "..." if len(value) > _SHOWN_BYTES else ""
            return (
                f"{moment(record.timestamp)}  {record.topic}/{record.partition} offset "
                f"{record.offset}  {record.reason}: {record.detail}  "
                f"{value[:_SHOWN_BYTES]!r}{more}"
            )


def window_text(window: Window) -> str:
    """Which window, how many rows, and of outcomes the mean loss."""
    shadow = f" shadow v{window.shadow}" if window.shadow >= 0 else ""
    late = f"  {window.late} late" if window.late else ""
    revised = f"  revision {window.revision}" if window.revision else ""
    loss = mean_loss(window)
    losses = "" if math.isnan(loss) else f"  loss {loss:.4f}"
    return (
        f"{moment(window.start)} to {moment(window.end)}  {window.model} {window.stream} "
        f"v{window.version}{shadow}  {window.rows} rows{late}{revised}{losses}"
    )


def mean_loss(window: Window) -> float:
    """Mean bounded loss of the champion: nats, of a regression the label's unit; NaN without
    outcomes."""
    losses = window.statistics.loss
    if losses is None or not losses.rows:
        return math.nan
    return exact_sum(losses.loss) / losses.rows


def _said(alert: Alert) -> str:
    """What people said of an alert."""
    if alert.snoozed_until:
        return f" (snoozed until {moment(alert.snoozed_until)} by {alert.acknowledged_by})"
    return f" (acknowledged by {alert.acknowledged_by})" if alert.acknowledged_by else ""


def _run(run: Run) -> str:
    text = f"run {run.status} ({run.trigger})"
    if run.status is RunStatus.PUBLISHED:
        text += f": version {run.version} from {run.rows} rows"
    elif run.status is RunStatus.FAILED:
        text += f": {run.reason}"
    return text


def _scores(scores: tuple[float, ...]) -> str:
    return " ".join(f"{score:.3f}" for score in scores)


def _duration(milliseconds: int) -> str:
    seconds = milliseconds // 1000
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds} s"
