"""What an alert says: severity, summary and action, with numbers and units."""

from __future__ import annotations

from datetime import UTC, datetime

from driftloop.kernel.records import AlertKind, Severity


def severity(effect: float, floor: float) -> Severity:
    """By multiples of the effect's floor: from 4 critical, from 2 warning."""
    if floor <= 0.0:
        return Severity.WARNING
    if effect >= 4.0 * floor:
        return Severity.CRITICAL
    return Severity.WARNING if effect >= 2.0 * floor else Severity.INFO


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


def finding(
    kind: AlertKind, subject: str, version: int, effect: float, floor: float, rows: int, onset: int
) -> str:
    """One sentence on what was found."""
    since = f"over {rows:,} rows since {moment(onset)}"
    match kind:
        case AlertKind.DATA_DRIFT:
            return (
                f"Feature {subject} is distributed differently than in version {version}'s "
                f"reference: PSI {effect:.3f} {since} (floor {floor:g})."
            )
        case AlertKind.PREDICTION_DRIFT:
            return (
                f"The scores of version {version} are distributed differently than in its "
                f"reference: PSI {effect:.3f} {since} (floor {floor:g})."
            )
        case AlertKind.CONCEPT_DRIFT:
            return (
                f"Version {version} loses {effect:.4f} nats more per row than on its evaluation "
                f"rows, {since} (floor {floor:g})."
            )
        case AlertKind.MISSING_VALUES:
            return (
                f"Feature {subject} is missing in {100 * effect:.2f} more of 100 rows than in "
                f"version {version}'s reference, {since} (floor {100 * floor:g})."
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


def calmed(
    kind: AlertKind, subject: str, version: int, effect: float, floor: float, windows: int
) -> str:
    """One sentence on why an alert is over: the effect went away."""
    what = {
        AlertKind.DATA_DRIFT: f"Feature {subject} is back to version {version}'s reference: PSI",
        AlertKind.PREDICTION_DRIFT: f"The scores are back to version {version}'s reference: PSI",
        AlertKind.CONCEPT_DRIFT: f"Version {version} is back to its loss: increase in nats per row",
        AlertKind.MISSING_VALUES: f"Feature {subject} is no longer missing: increase of the share",
        AlertKind.STALE: "Windows are coming again: age in ms",
        AlertKind.NOT_LOADED: "The version is loaded: processes that could not",
    }[kind]
    return f"{what} {effect:.4f}, below half the floor of {floor:g} for {windows} windows."


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
        case AlertKind.STALE:
            return "Check that events are produced, and that inference and featurestats run."
        case AlertKind.NOT_LOADED:
            return (
                f"Put the {subject} back where inference reads it: it is tried again every few "
                "seconds. Or promote another version."
            )


DONE = "Nothing: it is over."
