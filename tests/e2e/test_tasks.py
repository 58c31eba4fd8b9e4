"""The whole loop on tasks that are not binary: flights' status (classes) and delay (a number)."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from driftloop.adapters.kafka import KafkaLog
from driftloop.adapters.prometheus import PrometheusMeter
from driftloop.cli.applying import DeclaredModel
from driftloop.cli.control import read_catalog
from driftloop.cli.flights import Asked, Flights, load_flights
from driftloop.cli.loops import KafkaLoop, Loop, MemoryLoop
from driftloop.cli.supervision import SERVICES, Fleet
from driftloop.cli.verifying import Verification, verify_windows
from driftloop.kernel.codec.blocks import F64
from driftloop.kernel.declaration import Task
from driftloop.kernel.records import Outcome, Stream
from driftloop.kernel.settings import Settings
from driftloop.kernel.statistics.criterion import Criterion
from driftloop.kernel.statistics.exact import exact_sum
from lockstep_loop import DAY_MS, DECLARATION, Lockstep, Trace, declared

NEW_YEAR_MS = 1_356_998_400_000
DAYS = {Asked.STATUS: 20, Asked.DELAY: 32}
"""Until a version was promoted, and has answered for some days."""
FEW_DAYS = 5
SMALL = {"minimum_labels": "1_500", "schedule": '"4d"', "cooldown": '"2d"'}
METRICS = {
    Asked.STATUS: {
        "log_loss", "bounded_log_loss", "accuracy", "macro_f1", "calibration_error", "rows",
        "base_rate_on_time", "base_rate_late", "base_rate_cancelled_or_diverted",
        "recall_on_time", "recall_late", "recall_cancelled_or_diverted",
    },
    Asked.DELAY: {"mae", "rmse", "r2", "bounded_error", "mean_score", "mean_label", "rows"},
}  # fmt: skip

pytestmark = pytest.mark.timeout(900)


def model_of(asked: Asked, name: str, values: Mapping[str, str]) -> DeclaredModel:
    return declared(name, values, file=DECLARATION.parent / f"flights-{asked}.toml")


def flights_of(asked: Asked, days: int) -> Flights:
    return load_flights(until=NEW_YEAR_MS + days * DAY_MS, asked=asked)


def played(loop: Loop, model: DeclaredModel, flights: Flights) -> Trace:
    lockstep = Lockstep(loop, model, flights)
    while not lockstep.finished:
        lockstep.day()
    lockstep.close()
    return Trace.of(loop.log, loop.settings.topics, model)


@dataclass(frozen=True, slots=True)
class Ran:
    """A loop in memory, after the replay."""

    asked: Asked
    model: DeclaredModel
    flights: Flights
    trace: Trace
    verified: Verification
    exported: str

    @property
    def criterion(self) -> Criterion:
        return Criterion.of(self.model.declaration)

    def losses(self, outcomes: list[Outcome]) -> F64:
        scores, labels = columns(outcomes)
        return self.criterion.judge(scores, labels).loss


def columns(outcomes: list[Outcome]) -> tuple[F64, F64]:
    return np.array([o.scores for o in outcomes]), np.array([o.label for o in outcomes])


@pytest.fixture(scope="module", params=list(DAYS))
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    asked: Asked = request.param
    model, flights = model_of(asked, f"flights-{asked}", {}), flights_of(asked, DAYS[asked])
    meter = PrometheusMeter("all")
    settings = Settings(directory=tmp_path_factory.mktemp(asked), flush_interval_ms=1)
    loop = MemoryLoop(settings, meter)
    try:
        trace = played(loop, model, flights)
        catalog = read_catalog(loop.log, settings.topics)
        verified = verify_windows(loop.log, catalog, trace.windows)
        yield Ran(asked, model, flights, trace, verified, meter.exposition().decode())
    finally:
        loop.close()


def test_every_flight_has_one_prediction_of_so_many_scores(ran: Ran) -> None:
    times = Counter(prediction.event_id for prediction in ran.trace.predictions)
    assert times == Counter(id.decode() for id in ran.flights.event_ids)
    scores = {len(prediction.scores) for prediction in ran.trace.predictions}
    assert scores == {3 if ran.asked is Asked.STATUS else 1}


def test_every_label_is_an_outcome_once(ran: Ran) -> None:
    times = Counter(outcome.event_id for outcome in ran.trace.outcomes)
    assert times == Counter(id.decode() for id in ran.flights.label_ids)
    missing = len(ran.flights) - len(times)
    # A flight that never arrives has a status, but no delay.
    assert (missing > 100) is (ran.asked is Asked.DELAY)


def test_only_the_bad_records_are_dead_letters(ran: Ran) -> None:
    assert len(ran.trace.dead_letters) == 25


def test_a_version_is_trained_and_promoted(ran: Ran) -> None:
    assert [d.reason for d in ran.trace.deployments][:2] == ["candidate", "promoted"]
    assert max(prediction.version for prediction in ran.trace.predictions) >= 1


def test_every_window_follows_from_the_log_bit_for_bit(ran: Ran) -> None:
    assert ran.verified.ok, ran.verified.details
    assert ran.verified.windows == len({window.id for window in ran.trace.windows})


def test_windows_of_outcomes_say_what_their_rows_say(ran: Ran) -> None:
    windows = {window.id: window for window in ran.trace.windows}
    of_outcomes = [w for w in windows.values() if w.stream is Stream.OUTCOMES]
    rows = 0
    for window in of_outcomes:
        found = [
            o
            for o in ran.trace.outcomes
            if window.start <= o.outcome_time < window.end
            and (o.version, o.shadow_version) == (window.version, window.shadow)
        ]
        loss = window.statistics.loss
        assert loss is not None
        assert loss.rows == window.rows == len(found)
        losses = ran.losses(found)
        assert exact_sum(loss.loss) == pytest.approx(float(losses.sum()))
        assert (sum(loss.bins) == len(found)) is (window.version > 0)
        rows += len(found)
        if ran.asked is Asked.DELAY:
            assert (loss.labels, loss.errors, loss.histogram) == ((), 0, ())
            continue
        scores, labels = columns(found)
        predicted = scores.argmax(axis=1)
        assert loss.labels == tuple(np.bincount(labels.astype(int), minlength=3).tolist())
        assert loss.errors == int((predicted != labels).sum())
        column = window.statistics.categorical[-1]
        assert column.name == "predicted"
        if window.version:
            assert column.levels == tuple(np.bincount(predicted, minlength=3).tolist())
    assert rows > 0.9 * len(ran.trace.outcomes)


def test_the_metrics_of_the_task_are_on_the_version_and_exported(ran: Ran) -> None:
    newest = ran.trace.versions[-1]
    # The others say how far estimates without labels may be wrong, in all and by feature.
    shifts = {name for name in newest.metrics if "_shift" in name}
    assert {name.split(":")[0] for name in shifts} == {"error_shift", "loss_shift"}
    assert set(newest.metrics) == METRICS[ran.asked] | shifts
    name = ran.model.declaration.name
    for metric in METRICS[ran.asked]:
        series = f'driftloop_version_metric{{metric="{metric}",model="{name}",service="all"}}'
        assert f"{series} {newest.metrics[metric]!r}" in ran.exported
    assert ("driftloop_window_errors{" in ran.exported) is (ran.asked is Asked.STATUS)


def test_what_was_learnt_beats_the_prior(ran: Ran) -> None:
    learnt = [outcome for outcome in ran.trace.outcomes if outcome.version >= 1]
    prior = ran.model.declaration.prior
    answer = prior if isinstance(prior, tuple) else (prior,)
    constant = [replace(outcome, scores=answer) for outcome in learnt]
    assert len(learnt) > 1000
    assert ran.losses(learnt).mean() < ran.losses(constant).mean()


@pytest.mark.kafka
def test_kafka_and_memory_leave_the_same(kafka: str, tmp_path: Path) -> None:
    tag = secrets.token_hex(4)
    settings = Settings(
        bootstrap=kafka, prefix=f"tasks-{tag}.", directory=tmp_path / "kafka", flush_interval_ms=50
    )
    models = {asked: model_of(asked, f"{asked}-{tag}", SMALL) for asked in DAYS}
    log = KafkaLog(kafka)
    log.ensure_topics(settings.topics.specs())
    in_memory: dict[Asked, Trace] = {}
    with Fleet(settings, SERVICES) as fleet:
        for asked, model in models.items():
            aside = replace(settings, directory=tmp_path / asked, flush_interval_ms=1)
            loop = MemoryLoop(aside)
            in_memory[asked] = played(loop, model, flights_of(asked, FEW_DAYS))
            loop.close()
        fleet.wait_ready()
        for asked, model in models.items():
            played(KafkaLoop(fleet), model, flights_of(asked, FEW_DAYS))
    for asked, model in models.items():
        name = model.declaration.name
        memory, both = in_memory[asked], Trace.of(log, settings.topics, model)
        on_kafka = replace(
            both,
            windows=tuple(window for window in both.windows if window.model == name),
            versions=tuple(version for version in both.versions if version.model == name),
            alerts=tuple(alert for alert in both.alerts if alert.model == name),
            deployments=tuple(made for made in both.deployments if made.model == name),
        )
        assert memory.versions
        assert on_kafka.alert_records() == memory.alert_records()
        assert on_kafka.deployments == memory.deployments
        assert on_kafka.version_records() == memory.version_records()
        assert on_kafka.prediction_records() == memory.prediction_records()
        assert on_kafka.outcome_records() == memory.outcome_records()
        for stream in Stream:
            assert on_kafka.windows_of(stream) == memory.windows_of(stream)
    log.close()


def test_both_tasks_are_declared() -> None:
    tasks = {asked: model_of(asked, "m", {}).declaration.task for asked in DAYS}
    assert tasks == {Asked.STATUS: Task.MULTICLASS, Asked.DELAY: Task.REGRESSION}
