"""The judge itself: it finds what is planted, and nothing where nothing is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from harness import model
from harness.decisions import check_alerts, replay_drift
from harness.findings import Findings
from harness.reading import Record
from harness.rows import Rows, check_outcomes, check_predictions, check_version_order
from harness.strikes import Schedule
from harness.truth import Labels, Slots, Truth

from decision_builders import PARTITION, TOPICS, catalog, declaration, version
from decision_builders import predictions as predictions_of
from driftloop.cli.supervision import SERVICES
from driftloop.drift.alerts import opened, resolved, updated
from driftloop.drift.core import DriftCore
from driftloop.kernel.codec.records import codec
from driftloop.kernel.ports import RecordBatch
from driftloop.kernel.records import (
    Alert,
    AlertKind,
    Deployment,
    Evidence,
    Severity,
    Stage,
    Window,
)

EVEN = (100,) * 10
N = 8
"""Events, all in partition 0 at the offset of their number; all labelled but the last."""


def truth() -> Truth:
    zeros = np.zeros(N, np.int64)
    time = np.arange(N) * 1000
    floats = np.zeros(N)
    made = Truth(Slots(zeros, zeros, time, floats, floats, floats, zeros, zeros, zeros))
    made.slot_at = [np.arange(N), *([np.empty(0, np.int64)] * (model.PARTITIONS - 1))]
    labelled = np.arange(N - 1)
    made.labels = Labels(
        labelled, labelled * 0, labelled + 100, labelled % 2 * 1.0, time[: N - 1] + 500
    )
    return made


def predictions() -> Rows:
    number = np.arange(N)
    return Rows(
        partition=number * 0,
        offset=number + 10,
        slot=number,
        time=number * 1000,
        version=(number >= 4).astype(np.int64),
        shadow=np.full(N, -1),
        score=number / N,
        shadow_score=np.full(N, np.nan),
        of={"source_partition": number * 0, "source_offset": number},
    )


def outcomes() -> Rows:
    number = np.arange(N - 1)
    rows = taken(predictions(), number)
    return replace(
        rows,
        time=number * 1000 + 500,
        of={
            "label_partition": number * 0,
            "label_offset": number + 100,
            "label": number % 2 * 1.0,
            "label_delay": np.full(N - 1, 500),
            "prediction_partition": number * 0,
            "prediction_offset": number + 10,
        },
    )


def taken(rows: Rows, which: Any) -> Rows:
    """Some of the rows, or some twice."""
    columns = {
        name: getattr(rows, name)[which] for name in Rows.__dataclass_fields__ if name != "of"
    }
    return Rows(**columns, of={name: column[which] for name, column in rows.of.items()})


def changed(rows: Rows, row: int, **values: Any) -> Rows:
    """Another value in one row."""
    made = taken(rows, np.arange(len(rows)))
    for name, value in values.items():
        column = made.of[name] if name in made.of else getattr(made, name)
        column[row] = value
    return made


def judged(predicted: Rows, joined: Rows) -> dict[str, int]:
    found = Findings()
    check_predictions(predicted, truth(), found)
    check_version_order(predicted, [deployment(1, 1)], found)
    check_outcomes(predictions(), joined, truth(), found)
    return dict(found.counts)


def deployment(sequence: int, champion: int) -> Deployment:
    return Deployment("m", sequence, Stage.STEADY, champion, -1, 0, "promoted", 1, 0.0, 0.0, 0, ())


def test_what_is_exact_is_found_exact() -> None:
    assert judged(predictions(), outcomes()) == {}


@pytest.mark.parametrize(
    ("spoil", "kinds"),
    [
        (lambda rows: taken(rows, np.arange(1, N)), {"lost"}),
        (lambda rows: taken(rows, [0, *range(N)]), {"duplicated"}),
        (lambda rows: changed(rows, 3, source_offset=4), {"lost", "duplicated", "mismatched"}),
        (lambda rows: changed(rows, 3, partition=1), {"mismatched"}),
        (lambda rows: changed(rows, 6, version=0), {"misversioned"}),
        (lambda rows: changed(rows, 6, version=2), {"misversioned"}),
    ],
)
def test_a_wrong_prediction_is_found(spoil: Callable[[Rows], Rows], kinds: set[str]) -> None:
    assert judged(spoil(predictions()), outcomes()).keys() == kinds


@pytest.mark.parametrize(
    ("spoil", "kinds"),
    [
        (lambda rows: taken(rows, np.arange(1, N - 1)), {"lost"}),
        (lambda rows: taken(rows, [0, *range(N - 1)]), {"duplicated"}),
        (lambda rows: changed(rows, 0, slot=N - 1), {"lost", "mismatched"}),
        (lambda rows: changed(rows, 2, label=1.0), {"mismatched"}),
        (lambda rows: changed(rows, 2, label_offset=7), {"mismatched"}),
        (lambda rows: changed(rows, 2, prediction_offset=7), {"mismatched"}),
        (lambda rows: changed(rows, 2, version=5), {"mismatched"}),
        (lambda rows: changed(rows, 2, score=0.75), {"mismatched"}),
        (lambda rows: changed(rows, 2, shadow_score=0.5), {"mismatched"}),
        (lambda rows: changed(rows, 2, time=2000), {"mismatched"}),
    ],
)
def test_a_wrong_outcome_is_found(spoil: Callable[[Rows], Rows], kinds: set[str]) -> None:
    assert judged(predictions(), spoil(outcomes())).keys() == kinds


def test_an_alert_opened_twice_or_updated_after_its_end_is_found() -> None:
    evidence = Evidence("t", 1.0, 0.5, 0.2, "psi", 0.1, 10, ())
    first = opened("m", AlertKind.DATA_DRIFT, "x", 1, 5, 0, (), evidence)
    second = updated(first, 6, Severity.WARNING)
    last = resolved(second, 7, "over")

    def kinds(*alerts: Any) -> set[str]:
        found = Findings()
        check_alerts(alerts, found)
        return set(found.counts)

    assert kinds(first, second, last) == set()
    assert "duplicated" in kinds(first, first, second)
    assert kinds(first, last, second) == {"mismatched"}
    assert kinds(second, last) == {"mismatched"}


@pytest.mark.parametrize("spoilt", ["", "alerts", "estimates", "state", "declaration"])
def test_what_drift_said_is_found_to_follow_from_the_windows_or_not(spoilt: str) -> None:
    known = catalog(declaration(), version(1))
    far = (0, 0, 0, 0, 0, 0, 100, 200, 300, 400)
    windows = [
        Record(TOPICS.windows, PARTITION, hour, 0, b"flights", codec(Window).encode(window), ())
        for hour, window in enumerate(predictions_of(h, far if h > 4 else EVEN) for h in range(8))
    ]
    core = DriftCore(known)
    said: dict[str, list[Record]] = {TOPICS.alerts: [], TOPICS.estimates: []}
    for window in windows:
        made = RecordBatch(
            window.topic, PARTITION, [window.offset], [0], [window.key], [window.value]
        )
        for send in core.process(made).sends:
            said[send.topic] += [window._replace(topic=send.topic, value=v) for v in send.values]
    state = [
        Record("changelog", 0, 0, 0, f"drift/{name}".encode(), value, ())
        for name, value in core.snapshot().items()
    ]
    assert said[TOPICS.alerts]
    assert said[TOPICS.estimates]
    parts = {"alerts": said[TOPICS.alerts], "estimates": said[TOPICS.estimates], "state": state}
    if spoilt in parts:
        parts[spoilt] = parts[spoilt][:-1]
    found = Findings()
    alerts = [codec(Alert).decode(record.value) for record in parts["alerts"]]
    if spoilt == "declaration":
        alerts = [replace(alert, declaration="another") for alert in alerts]
    replay_drift(known, windows, [], alerts, parts["estimates"], parts["state"], found)
    assert bool(found.counts["mismatched"]) is bool(spoilt)
    named = any("not in force: another" in text for text in found.details())
    assert named is (spoilt == "declaration")


def test_the_schedule_follows_from_the_seed_and_strikes_every_service() -> None:
    processes = {service: 2 if service == "outcomes" else 1 for service in SERVICES}
    schedule, same, other = (
        Schedule.of(seed, 100, 3, 20, processes=processes, leaves=4) for seed in (7, 7, 8)
    )
    assert schedule == same != other
    assert len(schedule.kills) == 100
    assert {kill.service for kill in schedule.kills} == set(SERVICES)
    instances = {kill.instance for kill in schedule.kills if kill.service == "outcomes"}
    assert instances == {"0", "1"}
    assert [service for _, service in schedule.leaves] == ["outcomes"] * 4
    assert [r.sigkill for r in schedule.restarts].count(True) == 1
    assert len(schedule.commands) == 20
