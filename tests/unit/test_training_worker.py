"""Training in a process of its own: what it makes, and how it may end."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driftloop.adapters.artifacts.directory import DirectoryStore
from driftloop.kernel.codec.blocks import Categories, Features, OutcomeBlock
from driftloop.kernel.declaration import Task
from driftloop.kernel.errors import TrainingError
from driftloop.kernel.records.training import Recipe
from driftloop.kernel.statistics.criterion import Criterion
from driftloop.models import registry
from driftloop.models.evaluation import evaluate
from driftloop.trainer.candidates import train
from driftloop.trainer.launch import Worker, sweep_runs
from driftloop.trainer.limits import WorkerLimits
from driftloop.trainer.rows import TrainingRows
from driftloop.trainer.task import Trained, TrainingTask, Untrained
from training_builders import block

GIB = 2**30
LIMITS = WorkerLimits(seconds=120, memory=2 * GIB)
LOGISTIC = Recipe("river_logistic", {}, 1)
BOOSTED = Recipe("lightgbm", {"trees": 5, "min_level_rows": 5}, 1)
BAD = Recipe("river_logistic", {"learning_rate": -1}, 1)
ENDLESS = Recipe("lightgbm", {"trees": 5000, "leaves": 1024, "min_leaf": 1}, 1)


def task(*candidates: Recipe, share: float = 0.25) -> TrainingTask:
    return TrainingTask(("x", "y"), ("c",), candidates, share)


def take(outcomes: OutcomeBlock, rows: Any) -> OutcomeBlock:
    """Some rows of a block, in another order and with another dictionary."""
    categories = outcomes.features.categories
    turned = tuple(tuple(reversed(column)) for column in categories.levels)
    codes = categories.codes[rows]
    codes = np.where(codes < 0, -1, len(turned[0]) - 1 - codes).astype(np.int32)
    changed: dict[str, Any] = {
        name: getattr(outcomes, name)[rows]
        for name in outcomes.__dataclass_fields__
        if name not in ("ids", "features")
    }
    return OutcomeBlock(
        ids=[outcomes.ids[i] for i in rows],
        features=Features(outcomes.features.numeric[rows], Categories(codes, turned)),
        **changed,
    )


@pytest.fixture(scope="module")
def rows() -> TrainingRows:
    return TrainingRows.from_outcomes([block(400, seed=1)])


def run(
    rows: TrainingRows, asked: TrainingTask, scratch: Path, limits: WorkerLimits = LIMITS
) -> Any:
    with Worker(rows, asked, limits, scratch=scratch) as worker:
        return worker.wait()


def in_this_process(rows: TrainingRows, *candidates: Recipe) -> Any:
    ticks = itertools.count()
    return train(rows, task(*candidates), lambda _: None, lambda: float(next(ticks)))


def test_rows_do_not_depend_on_how_they_were_read(rows: TrainingRows, tmp_path: Path) -> None:
    whole = block(400, seed=1)
    order = np.random.default_rng(0).permutation(400)
    parts = [take(whole, order[:150]), take(whole, order[150:150]), take(whole, order[150:])]
    again = TrainingRows.from_outcomes(parts)
    assert again.features.categories.levels == rows.features.categories.levels
    for name, made in (("first", rows), ("second", again)):
        (tmp_path / name).mkdir()
        made.save(tmp_path / name)
    for file in ("rows.safetensors", "levels.json"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()
    loaded = TrainingRows.load(tmp_path / "first")
    np.testing.assert_array_equal(loaded.features.numeric, rows.features.numeric)
    np.testing.assert_array_equal(loaded.labels, rows.labels)


def test_rows_are_in_order_of_outcome_time_then_id(rows: TrainingRows) -> None:
    outcomes = block(400, seed=1)
    order = sorted(range(400), key=lambda i: (outcomes.outcome_time[i], outcomes.ids[i]))
    np.testing.assert_array_equal(rows.times, outcomes.outcome_time[order])
    np.testing.assert_array_equal(rows.features.numeric, outcomes.features.numeric[order])


def test_no_outcomes_are_an_error() -> None:
    with pytest.raises(TrainingError, match="no outcomes"):
        TrainingRows.from_outcomes([])


def test_the_best_candidate_is_chosen_and_trained_on_all_rows(rows: TrainingRows) -> None:
    result = in_this_process(rows, Recipe("constant", {}, 0), LOGISTIC)
    assert isinstance(result, Trained)
    assert [candidate.chosen for candidate in result.candidates] == [False, True]
    constant, logistic = result.candidates
    assert logistic.metrics["log_loss"] < constant.metrics["log_loss"]
    assert result.recipe == LOGISTIC
    assert result.rows == 400
    whole = registry.trainer("river_logistic").train(rows.features, rows.labels, {}, 1)
    for name, value in whole.arrays.items():
        np.testing.assert_array_equal(result.model.arrays[name], value)


def test_metrics_are_those_of_the_newest_rows_scored_without_them(rows: TrainingRows) -> None:
    result = in_this_process(rows, LOGISTIC)
    older, newest = rows.part(0, 300), rows.part(300, 400)
    twin = registry.trainer("river_logistic").train(older.features, older.labels, {}, 1)
    score = registry.freeze(twin).score(newest.features)
    metrics = {name: value for name, value in result.metrics.items() if "_shift" not in name}
    assert metrics == evaluate(score, newest.labels)
    assert result.profile.loss.rows == 100
    assert sum(result.profile.numeric[-1].counts) == 100
    assert result.profile.rows == 400


def of_task(rows: TrainingRows, criterion: Criterion, labels: Any) -> Any:
    asked = dataclasses.replace(
        task(Recipe("constant", {}, 1), LOGISTIC, BOOSTED), criterion=criterion
    )
    ticks = itertools.count()
    changed = dataclasses.replace(rows, labels=labels)
    return train(changed, asked, lambda _: None, lambda: float(next(ticks)))


def test_several_classes_are_learnt(rows: TrainingRows) -> None:
    signal_ = np.nan_to_num(rows.features.numeric[:, 0])
    labels = np.digitize(signal_, (-0.5, 0.5)).astype(np.float64)
    # The last class has no rows.
    criterion = Criterion(Task.MULTICLASS, ("low", "middle", "high", "never"))
    result = of_task(rows, criterion, labels)
    assert isinstance(result, Trained)
    assert not any(candidate.reason for candidate in result.candidates)
    scores = registry.freeze(result.model).score(rows.features)
    assert scores.shape == (400, 4)
    assert scores.sum(axis=1) == pytest.approx(1.0)
    assert result.recipe.trainer != "constant"
    assert result.profile.categorical[-1].levels == criterion.classes
    assert sum(result.profile.categorical[-1].counts) == result.profile.loss.rows == 100
    best = min(c.metrics["log_loss"] for c in result.candidates)
    assert result.metrics["log_loss"] == best
    assert "recall_never" not in result.metrics


def test_a_number_is_learnt(rows: TrainingRows) -> None:
    signal_ = np.nan_to_num(rows.features.numeric[:, 0])
    result = of_task(rows, Criterion(Task.REGRESSION, bound=1.5), 3.0 * signal_)
    assert isinstance(result, Trained)
    assert not any(candidate.reason for candidate in result.candidates)
    assert result.metrics["mae"] == min(c.metrics["mae"] for c in result.candidates)
    assert result.recipe.trainer != "constant"
    assert (result.profile.loss.bound, result.profile.loss.errors) == (1.5, 0)
    assert [column.name for column in result.profile.categorical] == ["c"]


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_infinite_metrics_are_a_failure_that_is_told(rows: TrainingRows) -> None:
    # Squares of such numbers are infinite, which no result could hold.
    labels = np.resize([1e200, -1e200], 400)
    result = of_task(rows, Criterion(Task.REGRESSION, bound=1.0), labels)
    assert isinstance(result, Untrained)
    assert "constant: metrics are not finite" in result.reason


@pytest.mark.parametrize(
    ("criterion", "label", "why"),
    [
        (Criterion(Task.MULTICLASS, ("a", "b", "c")), 3.0, "labels 0 to 2"),
        (Criterion(Task.MULTICLASS, ("a", "b", "c")), 0.5, "labels 0 to 2"),
        (Criterion(Task.REGRESSION, bound=1.0), float("nan"), "not finite"),
    ],
)
def test_labels_of_another_task_are_a_failure(
    rows: TrainingRows, criterion: Criterion, label: float, why: str
) -> None:
    result = of_task(rows, criterion, np.full(400, label))
    assert isinstance(result, Untrained)
    assert why in result.reason


def test_a_failing_candidate_leaves_the_others(rows: TrainingRows) -> None:
    result = in_this_process(rows, BAD, LOGISTIC)
    assert isinstance(result, Trained)
    failed, chosen = result.candidates
    assert chosen.chosen
    assert (failed.chosen, failed.metrics) == (False, {})
    assert "learning_rate" in failed.reason


def test_when_all_candidates_fail_so_does_the_run(rows: TrainingRows) -> None:
    result = in_this_process(rows, BAD, BAD)
    assert isinstance(result, Untrained)
    assert len(result.candidates) == 2
    assert result.reason.startswith("every candidate failed: river_logistic: ")


def test_too_few_rows_are_a_failure(rows: TrainingRows) -> None:
    result = in_this_process(rows.part(0, 3), LOGISTIC)
    assert isinstance(result, Untrained)
    assert "3 labels are too few" in result.reason


def test_labels_of_no_class_are_a_failure(rows: TrainingRows) -> None:
    result = in_this_process(dataclasses.replace(rows, labels=rows.labels + 1), LOGISTIC)
    assert isinstance(result, Untrained)
    assert "labels 0 and 1" in result.reason


def test_two_workers_make_the_same_bytes_and_leave_no_files(
    rows: TrainingRows, tmp_path: Path
) -> None:
    store = DirectoryStore(tmp_path / "artifacts")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    asked = task(LOGISTIC, BOOSTED)
    workers = [Worker(rows, asked, LIMITS, scratch=scratch) for _ in range(2)]
    results = [worker.wait() for worker in workers]
    put = []
    for result in results:
        assert isinstance(result, Trained), result
        model = result.model
        put.append(store.put("m", "1", model.family, model.arrays, model.attributes))
        assert set(result.candidates[0].metrics) > {"log_loss", "auc", "rows", "seconds"}
        assert "seconds" not in result.metrics
    assert put[0] == put[1]
    assert (results[0].profile, results[0].metrics) == (results[1].profile, results[1].metrics)
    assert registry.load(*store.get(*put[0])).score(rows.features).shape == (400, 1)
    assert list(scratch.iterdir()) == []


def test_a_worker_over_its_time_is_ended(rows: TrainingRows, tmp_path: Path) -> None:
    result = run(rows, task(ENDLESS), tmp_path, WorkerLimits(0.2, 2 * GIB))
    assert result == Untrained("exceeded 0.2 s", ())
    assert list(tmp_path.iterdir()) == []


def test_polling_does_not_block_and_ends_a_worker_over_its_time(
    rows: TrainingRows, tmp_path: Path
) -> None:
    now = [0.0]
    limits = WorkerLimits(60, 2 * GIB)
    with Worker(rows, task(ENDLESS), limits, scratch=tmp_path, clock=lambda: now[0]) as worker:
        assert worker.poll() is None
        now[0] = 61.0
        assert worker.poll() == Untrained("exceeded 60 s", ())
        assert worker.poll() == Untrained("exceeded 60 s", ())


def test_a_worker_over_its_memory_says_so(rows: TrainingRows, tmp_path: Path) -> None:
    result = run(rows, task(LOGISTIC), tmp_path, WorkerLimits(60, 150 * 2**20))
    assert isinstance(result, Untrained)
    assert result.reason.startswith("out of memory: limit 150 MiB")


def test_a_killed_worker_says_by_what(rows: TrainingRows, tmp_path: Path) -> None:
    with Worker(rows, task(ENDLESS), LIMITS, scratch=tmp_path) as worker:
        os.kill(worker.pid, signal.SIGKILL)
        assert worker.wait() == Untrained("killed by signal 9 (SIGKILL)", ())
    assert list(tmp_path.iterdir()) == []


def test_a_library_that_finds_no_memory_is_understood(rows: TrainingRows, tmp_path: Path) -> None:
    with Worker(rows, task(ENDLESS), LIMITS, scratch=tmp_path) as worker:
        os.kill(worker.pid, signal.SIGSTOP)
        with (worker.directory / "stderr").open("a") as file:
            file.write("python: rd.h:141: rd_calloc: Assertion `p' failed.\n")
        os.kill(worker.pid, signal.SIGABRT)
        os.kill(worker.pid, signal.SIGCONT)
        result = worker.wait()
    assert isinstance(result, Untrained)
    assert result.reason.startswith("out of memory: limit ")


def test_a_worker_that_crashes_leaves_its_last_words(rows: TrainingRows, tmp_path: Path) -> None:
    with Worker(rows, task(ENDLESS), LIMITS, scratch=tmp_path) as worker:
        (worker.directory / "spec.json").write_text("no spec")
        result = worker.wait()
    assert isinstance(result, Untrained)
    assert "crashed with exit code 1" in result.reason
    assert "JSONDecodeError" in result.reason


def test_rows_that_cannot_be_loaded_end_the_run(rows: TrainingRows, tmp_path: Path) -> None:
    with Worker(rows, task(ENDLESS), LIMITS, scratch=tmp_path) as worker:
        (worker.directory / "rows.safetensors").write_bytes(b"")
        result = worker.wait()
    assert isinstance(result, Untrained)
    assert "holds no training rows" in result.reason


def test_stopping_a_worker_ends_its_process(rows: TrainingRows, tmp_path: Path) -> None:
    with Worker(rows, task(ENDLESS), LIMITS, scratch=tmp_path) as worker:
        worker.kill("the service stops")
        assert worker.poll() == Untrained("the service stops", ())
        with pytest.raises(ProcessLookupError):
            os.kill(worker.pid, 0)


PARENT = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[1].split(":")
from test_training_worker import ENDLESS, LIMITS, task
from training_builders import block
from driftloop.trainer.launch import Worker
from driftloop.trainer.rows import TrainingRows
rows = TrainingRows.from_outcomes([block(400, seed=1)])
worker = Worker(rows, task(ENDLESS), LIMITS, scratch=Path(sys.argv[2]))
while not worker.progress():
    pass
print(worker.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    here = Path(__file__).parent
    arguments = [sys.executable, "-c", PARENT, f"{here}:{here.parent}", str(tmp_path)]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def test_a_worker_dies_with_its_parent_and_its_files_are_swept(
    parent: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert parent.stdout is not None
    worker = os.pidfd_open(int(parent.stdout.readline()))
    try:
        assert sweep_runs(tmp_path) == []  # the owner lives
        parent.kill()
        ended, _, _ = select.select([worker], [], [], 30)
        assert ended
    finally:
        os.close(worker)
    parent.wait()
    assert len(sweep_runs(tmp_path)) == 1
    assert list(tmp_path.iterdir()) == []


def test_progress_is_told_once(rows: TrainingRows, tmp_path: Path) -> None:
    with Worker(rows, task(LOGISTIC), LIMITS, scratch=tmp_path) as worker:
        os.kill(worker.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, worker.pid, os.WSTOPPED | os.WNOWAIT)
        worker.progress()
        with (worker.directory / "stdout").open("ab") as file:
            file.write(json.dumps({"step": "first"}).encode() + b'\nnot json\n{"step": ')
        told = worker.progress()
        assert told == [{"step": "first"}, {"step": "output", "text": "not json"}]
        assert worker.progress() == []
