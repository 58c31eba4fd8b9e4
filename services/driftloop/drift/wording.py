"""What an alert says: severity, summary and action, with numbers and units."""

from __future__ import annotations

from datetime import UTC, datetime

from driftloop.kernel.records import Alert, AlertKind, Evidence, Severity
from driftloop.kernel.records.alerts import MOST_FINDINGS

_RUNBOOKS = "docs/runbooks"
_NAMED = 5
"""Streams that a sentence names."""


def severity(ratio: float) -> Severity:
    """By multiples of the effect's floor: from 4 critical, from 2 warning."""
    if ratio >= 4.0:
        return Severity.CRITICAL
    return Severity.WARNING if ratio >= 2.0 else Severity.INFO


def rank(level: Severity) -> int:
    """Order of severities."""
    return (Severity.INFO, Severity.WARNING, Severity.CRITICAL).index(level)


def moment(at: int) -> str:
    """Event time to the minute, UTC."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def duration(span: int) -> str:
    """A span in ms, in its largest unit."""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if span >= size:
            return f"{span / size:.1f} {unit}"
    return f"{span / 1000:.1f} s"


def finding(kind: AlertKind, subject: str, version: int, evidence: Evidence, onset: int) -> str:
    """One sentence on what was found."""
    effect, floor = evidence.effect, evidence.effect_floor
    since = f"over {evidence.rows:,} rows since {moment(onset)}"
    if len(evidence.findings) > 1:
        names = ", ".join(found.subject for found in evidence.findings[:_NAMED])
        more = len(evidence.findings) - _NAMED
        least = "at least " if len(evidence.findings) == MOST_FINDINGS else ""
        since += f"; {least}{len(evidence.findings)} in all: {names}" + (
            f" and {more} more" if more > 0 else ""
        )
    match kind:
        case AlertKind.DATA_DRIFT:
            what = f"Feature {subject} is distributed differently than in version {version}'s"
        case AlertKind.PREDICTION_DRIFT:
            what = f"The {subject} of version {version} is distributed differently than in its"
        case AlertKind.CONCEPT_DRIFT:
            if subject.startswith("errors"):
                worse, least = f"errs in {percent(effect)} more of the rows", percent(floor)
            else:
                worse, least = f"loses {effect:.4f} more per row", f"{floor:g}"
            return (
                f"Version {version} {worse} than on its reference's rows, {since} (floor {least})."
            )
        case AlertKind.MISSING_VALUES:
            what = f"Feature {subject} is missing in {percent(effect)} more of the rows than in the"
            return f"{what} reference of version {version}, {since} (floor {percent(floor)})."
        case AlertKind.NEW_CATEGORIES:
            what = f"Feature {subject} has values that are new to version {version}'s reference"
            return (
                f"{what} in {percent(effect)} more of the rows, {since} (floor {percent(floor)})."
            )
        case AlertKind.OUT_OF_RANGE:
            what = f"Feature {subject} lies outside the range of version {version}'s reference"
            return (
                f"{what} in {percent(effect)} more of the rows, {since} (floor {percent(floor)})."
            )
        case AlertKind.CONSTANT:
            return (
                f"Feature {subject} has had one and the same value for {effect:,.0f} rows since "
                f"{moment(onset)}; in version {version}'s reference it varies."
            )
        case AlertKind.STALE:
            return (
                f"No window of predictions for {duration(int(effect))} of processing time; the "
                f"newest ends at {moment(onset)} (allowed {duration(int(floor))})."
            )
        case AlertKind.NOT_LOADED:
            return (
                f"Version {version}, deployed since {moment(onset)}, cannot be loaded; what served "
                "before it serves on."
            )
    return f"{what} reference: {measured(evidence.effect_name, effect)} {since} (floor {floor:g})."


def measured(name: str, effect: float) -> str:
    """An effect of a distribution with its unit."""
    if name == "standardised_shift":
        return f"shifted by {effect:.2f} standard deviations"
    return f"PSI {effect:.3f}"


def percent(share: float) -> str:
    return f"{100 * share:.2f}%"


def recovered(alert: Alert, rows: int) -> str:
    """One sentence on why an alert is over: its rows are like those before the change again. Its
    evidence is that of the newest ``rows`` rows."""
    evidence = alert.evidence
    if alert.kind is AlertKind.CONSTANT:
        return (
            f"Feature {alert.subject} moves again: {rows:,} rows have moved since the newest "
            "window of one value, as many as it took to tell that it stood still."
        )
    return (
        f"Back to version {alert.version}'s reference and the rows before the change: "
        f"{evidence.effect_name} {evidence.effect:.4f} in the newest {rows:,} rows, below half the "
        f"floor of {evidence.effect_floor:g}, and the evidence that it has turned passes its "
        "threshold."
    )


def replaced(version: int, by: int) -> str:
    """One sentence on why an alert is over: another version serves."""
    return f"Version {by} serves instead of version {version} and is watched on its own reference."


def action(kind: AlertKind, subject: str) -> str:
    """What to do while the alert is open."""
    match kind:
        case AlertKind.DATA_DRIFT:
            return (
                f"Check the source of {subject}; if the change is real, retrain on rows since it."
            )
        case AlertKind.PREDICTION_DRIFT:
            return "See which features drift too; watch the loss, and retrain if it rises."
        case AlertKind.CONCEPT_DRIFT:
            return "Retrain on outcomes since the onset; until then trust the scores less."
        case AlertKind.MISSING_VALUES:
            return f"Mend the source of {subject}; the model falls back on what it does without it."
        case AlertKind.NEW_CATEGORIES:
            return (
                f"See what is new in {subject}: a mistake at its source, or a category to retrain "
                "with once there are labels for it."
            )
        case AlertKind.OUT_OF_RANGE:
            return f"Check the source and the unit of {subject}; the model extrapolates."
        case AlertKind.CONSTANT:
            return f"Check the source of {subject}: it repeats one value."
        case AlertKind.STALE:
            return "Check that events are produced, and that inference and featurestats run."
        case AlertKind.NOT_LOADED:
            return (
                f"Put the {subject} back where inference reads it: it is tried again every few "
                "seconds. Or promote another version."
            )


def runbook(kind: AlertKind) -> str:
    """Where more is said about alerts of this kind."""
    return f"See {_RUNBOOKS}/{kind}.md."


REDECLARED = (
    "The declaration was changed, or driftloop was upgraded, and with it what is watched; it "
    "begins anew."
)
"""Why an alert is over."""

DONE = "Nothing: it is over."
