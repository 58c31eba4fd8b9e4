"""The demo's result: as a table, as one JSON object, and whether what it promises holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.table import Table

from driftloop.cli.evaluation import WARM_ROWS, Counts, Scores
from driftloop.cli.observer import Seen
from driftloop.cli.verifying import Verification
from driftloop.kernel.records import Trigger

_SERVICES = 6
_TRIGGERS = {
    Trigger.INITIAL: "the first labels",
    Trigger.SCHEDULE: "the schedule",
    Trigger.ALERT: "an alert",
    Trigger.COMMAND: "a command",
}


@dataclass(frozen=True, slots=True)
class Result:
    """Everything the demo found."""

    broker: str
    services: int
    restarts: int
    complete: bool
    """Whether the whole year was replayed."""
    events: int
    """Valid events sent."""
    labels: int
    bad: int
    """Bad records sent."""
    dead_letters_topic: str
    intact: int
    """Of those, how many came back as dead letters with their original bytes."""
    counts: Counts
    verification: Verification
    scores: Scores
    seen: Seen
    first_promotion_seconds: float | None
    """From the first event sent."""
    seconds: float
    """All in all."""


def holds(result: Result) -> bool:
    """Nothing lost, nothing double, every window verified; over the year also better than the base
    rate and than the first version left frozen."""
    exact = (
        result.services == _SERVICES
        and result.counts.predictions == result.events
        and result.counts.duplicate_predictions == 0
        and result.counts.outcomes == result.labels == result.events
        and len(result.seen.dead_letters) == result.intact == result.bad
        and result.verification.ok
    )
    if not result.complete:
        return exact
    scores = result.scores
    return exact and scores.log_loss < min(scores.frozen_log_loss, scores.base_rate_log_loss)


def document(result: Result) -> Mapping[str, Any]:
    """The JSON object."""
    scores = result.scores
    return {
        "broker": result.broker,
        "services": result.services,
        "restarts": result.restarts,
        "events": result.events,
        "predictions": result.counts.predictions,
        "duplicate_predictions": result.counts.duplicate_predictions,
        "predictions_by_version": result.counts.by_version,
        "labels": result.labels,
        "outcomes": result.counts.outcomes,
        "dead_letters": len(result.seen.dead_letters),
        "dead_letters_intact": result.intact,
        "windows": result.verification.windows,
        "windows_verified": result.verification.verified,
        "windows_mismatched": result.verification.mismatched,
        "alerts": len(result.seen.alerts),
        "alerts_by_kind": _counted(alert.kind for alert in result.seen.alerts.values()),
        "runs": len(result.seen.runs),
        "runs_by_trigger": _counted(run.trigger for run in result.seen.runs.values()),
        "versions": len(result.seen.versions),
        "promotions": len(result.seen.promotions),
        "scored_rows": scores.rows,
        "log_loss": scores.log_loss,
        "auc": scores.auc,
        "base_rate_log_loss": scores.base_rate_log_loss,
        "frozen_log_loss": scores.frozen_log_loss,
        "frozen_auc": scores.frozen_auc,
        "first_promotion_seconds": result.first_promotion_seconds,
        "seconds": round(result.seconds, 1),
        "holds": holds(result),
    }


def table(result: Result) -> Group:
    """For people."""
    return Group(_exactness(result), _quality(result), _next_steps(result))


def _exactness(result: Result) -> Table:
    counts, verification = result.counts, result.verification
    shown = Table(title="what became of it", show_header=False)
    shown.add_row("events, and predictions", f"{result.events:,}", f"{counts.predictions:,}")
    shown.add_row("predictions made twice", f"{counts.duplicate_predictions:,}", "")
    shown.add_row("labels, and outcomes", f"{result.labels:,}", f"{counts.outcomes:,}")
    shown.add_row(
        "windows, and recomputed bit for bit",
        f"{verification.windows:,}",
        f"{verification.verified:,}",
    )
    shown.add_row(
        "bad records, and dead letters with their bytes", f"{result.bad}", f"{result.intact}"
    )
    for reason, n in _counted(letter.reason for letter in result.seen.dead_letters).items():
        shown.add_row(f"  in {result.dead_letters_topic}: {reason}", f"{n}", "")
    shown.add_row("alerts", f"{len(result.seen.alerts):,}", "")
    for kind, n in _counted(alert.kind for alert in result.seen.alerts.values()).items():
        shown.add_row(f"  {kind}", f"{n}", "")
    shown.add_row("runs", f"{len(result.seen.runs):,}", "")
    for trigger, n in _counted(run.trigger for run in result.seen.runs.values()).items():
        shown.add_row(f"  started by {_TRIGGERS[Trigger(trigger)]}", f"{n}", "")
    shown.add_row(
        "versions, and promotions",
        f"{len(result.seen.versions)}",
        f"{len(result.seen.promotions)}",
    )
    return shown


def _counted(values: Iterable[str]) -> dict[str, int]:
    """How often each comes, in alphabetical order."""
    return dict(sorted(Counter(str(value) for value in values).items()))


def _quality(result: Result) -> Table:
    scores = result.scores
    shown = Table(title=f"{scores.rows:,} flights after the first {WARM_ROWS:,}")
    shown.add_column("")
    shown.add_column("log loss", justify="right")
    shown.add_column("AUC", justify="right")
    shown.add_column("versions", justify="right")
    shown.add_row("base rate", f"{scores.base_rate_log_loss:.4f}", "", "")
    shown.add_row(
        "first version, frozen", f"{scores.frozen_log_loss:.4f}", f"{scores.frozen_auc:.4f}", "1"
    )
    shown.add_row(
        "the loop", f"{scores.log_loss:.4f}", f"{scores.auc:.4f}", f"{len(result.seen.versions)}"
    )
    return shown


def _next_steps(result: Result) -> str:
    return (
        f"{result.seconds:.0f} s in all, on {result.broker}. To try next:\n"
        "  make demo ARGS='--keep --until 2013-03-01'   leave it running, and in another terminal\n"
        "                                               driftloop status, driftloop tail alerts\n"
        "  make demo ARGS=--lockstep                    equal results whenever it is run\n"
        "  docs/bring-your-own-model.md                 your model in five steps"
    )
