"""Whether the log is exact, from what is in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from driftloop.adapters.artifacts.directory import DirectoryStore
from driftloop.cli.applying import DeclaredModel
from driftloop.cli.control import read_catalog
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.records import codec
from driftloop.kernel.ports import Log
from driftloop.kernel.records import (
    Alert,
    DeadLetter,
    Deployment,
    Estimate,
    Load,
    Run,
    Stream,
    Version,
    Window,
)
from driftloop.kernel.settings import Settings
from driftloop.kernel.topics import ModelTopics

from . import decisions, rows, windows
from .findings import Findings
from .labels import Accounts, Fate, account, waited
from .letters import check_letters, read_letters
from .reading import Record, read
from .traffic import Traffic
from .truth import Truth, read_truth

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Verdict:
    findings: Findings
    facts: dict[str, Any]
    """What there is in the log."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What was made of one model's events and labels, judged."""

    predictions: rows.Rows
    outcomes: rows.Rows
    labels: Accounts
    windows: int


def judge_rows(
    log: Log,
    catalog: Catalog,
    bootstrap: str,
    topics: ModelTopics,
    truth: Truth,
    scorers: rows.Scorers,
    letters: Sequence[DeadLetter],
    every_window: Sequence[Window],
    found: Findings,
    tell: Callable[[str], None],
) -> Rows:
    """``letters`` and ``every_window``: those of the model."""
    tell("predictions")
    predictions = rows.read_rows(bootstrap, topics.predictions, truth, scorers, found)
    rows.check_predictions(predictions, truth, found)
    tell("outcomes")
    outcomes = rows.read_rows(bootstrap, topics.outcomes, truth, scorers, found)
    rows.check_outcomes(predictions, outcomes, truth, found)
    check_letters(letters, topics.events, truth.broken, found)
    labels = account(outcomes, letters, topics.labels, truth, found)
    tell("windows")
    streams = {Stream.PREDICTIONS: predictions, Stream.OUTCOMES: outcomes}
    name = truth.kind.name
    count = windows.check_windows(log, catalog, every_window, streams, truth.slots.x0, found, name)
    return Rows(predictions, outcomes, labels, count)


def judge(
    log: Log,
    settings: Settings,
    declared: DeclaredModel,
    traffic: Traffic,
    tell: Callable[[str], None],
) -> Verdict:
    """Reads every topic, committed records only. Raises :class:`ProducerFaultError` when the source
    topics are not what was to be sent."""
    bootstrap, topics = settings.bootstrap, settings.topics
    own = declared.declaration.topics
    found = Findings()

    def records(kind: type[T], topic: str) -> tuple[list[Record], list[T]]:
        raw = [r for r in read(bootstrap, topic) if r.value is not None]
        return raw, [codec(kind).decode(r.value) for r in raw]

    tell("reading what was sent")
    truth = read_truth(bootstrap, own, traffic)
    raw_windows, every_window = records(Window, topics.windows)
    raw_loads, _ = records(Load, topics.loads)
    _, alerts = records(Alert, topics.alerts)
    raw_estimates, _ = records(Estimate, topics.estimates)
    _, versions = records(Version, topics.versions)
    _, runs = records(Run, topics.runs)
    _, deployments = records(Deployment, topics.deployments)
    changelog = list(read(bootstrap, topics.changelogs))
    store = DirectoryStore(settings.artifacts)
    scorers = rows.Scorers(store, versions, declared.declaration.prior)
    letters = read_letters(bootstrap, topics.dead_letters)
    catalog = read_catalog(log, topics)
    made = judge_rows(
        log, catalog, bootstrap, own, truth, scorers, letters, every_window, found, tell
    )
    predictions, outcomes, labels = made.predictions, made.outcomes, made.labels
    swaps = rows.check_version_order(predictions, deployments, found)
    tell("decisions and state")
    decisions.check_alerts(alerts, found)
    decisions.replay_drift(catalog, raw_windows, raw_loads, alerts, raw_estimates, changelog, found)
    decisions.check_versions(versions, runs, store, found)
    promotions = decisions.check_deployments(catalog, deployments, versions, changelog, found)
    decisions.check_sketch_state(
        changelog,
        {str(Stream.PREDICTIONS): predictions, str(Stream.OUTCOMES): outcomes},
        found,
    )
    return Verdict(
        found,
        {
            "events": truth.every_event,
            "labels": truth.every_label,
            "predictions": len(predictions),
            "outcomes": len(outcomes),
            "labels_joined": labels.right[Fate.JOINED],
            "labels_waited": waited(outcomes),
            "labels_too_late": labels.due[Fate.TOLD_TOO_LATE],
            "labels_told_too_late": labels.right[Fate.TOLD_TOO_LATE],
            "labels_told_by_place": labels.told_by_place,
            "labels_told_broken": labels.right[Fate.TOLD_BROKEN],
            "labels_repeated": labels.right[Fate.REPEATED],
            "labels_without_event": labels.right[Fate.WITHOUT_EVENT],
            "dead_letters": len(letters),
            "poison": len(truth.broken),
            "windows": made.windows,
            "revisions": len(every_window) - made.windows,
            "late_rows": sum(w.late for w in every_window if w.revision == 0),
            "alerts": len({alert.id for alert in alerts}),
            "runs": len({run.id for run in runs}),
            "versions": len(versions),
            "deployments": len(deployments),
            "swaps": swaps,
            "promotions": promotions,
        },
    )
