"""Metrics of each task against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from driftloop.kernel.declaration import Task
from driftloop.kernel.statistics.criterion import Criterion
from driftloop.models.evaluation import CHOSEN_BY, evaluate, macro_f1

COLOURS = Criterion(Task.MULTICLASS, ("red", "green", "blue"))
METRES = Criterion(Task.REGRESSION, bound=3.0)

SCORES = np.array(
    [
        [0.7, 0.2, 0.1],  # red, right
        [0.6, 0.3, 0.1],  # red, is green
        [0.1, 0.8, 0.1],  # green, right
        [0.5, 0.5, 0.0],  # red (the first of equals), right
    ]
)
LABELS = np.array([0.0, 1.0, 1.0, 0.0])


def test_of_classes() -> None:
    found = evaluate(SCORES, LABELS, COLOURS)
    log_loss = -(math.log(0.7) + math.log(0.3) + math.log(0.8) + math.log(0.5)) / 4
    assert found["log_loss"] == pytest.approx(log_loss)
    assert found["bounded_log_loss"] == pytest.approx(log_loss)
    assert found["accuracy"] == 0.75
    # red: precision 2/3, recall 1; green: precision 1, recall 1/2; blue does not occur.
    assert found["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert (found["recall_red"], found["recall_green"]) == (1.0, 0.5)
    assert "recall_blue" not in found
    assert (found["base_rate_red"], found["base_rate_blue"]) == (0.5, 0.0)
    # Top probabilities .5, .6, .7, .8 in bins of their own; right are all but .6.
    assert found["calibration_error"] == pytest.approx((0.5 + 0.6 + 0.3 + 0.2) / 4)
    assert found["rows"] == 4.0


def test_a_class_held_for_impossible_costs_no_more_than_the_bound() -> None:
    found = evaluate(np.array([[1.0, 0.0, 0.0]]), np.array([2.0]), COLOURS)
    assert found["bounded_log_loss"] == pytest.approx(-math.log(0.01))
    assert found["log_loss"] == pytest.approx(-math.log(1e-15))


def test_a_class_that_is_only_predicted_lowers_the_f1() -> None:
    assert macro_f1(np.array([0, 2]), np.array([0, 0]), 3) == pytest.approx((2 / 3 + 0.0) / 2)


def test_of_numbers() -> None:
    found = evaluate(np.array([[1.0], [2.0], [8.0]]), np.array([1.0, 4.0, 4.0]), METRES)
    assert found["mae"] == pytest.approx((0 + 2 + 4) / 3)
    assert found["rmse"] == pytest.approx(math.sqrt((0 + 4 + 16) / 3))
    # Labels 1, 4, 4: variance 2.
    assert found["r2"] == pytest.approx(1 - (20 / 3) / 2)
    assert found["bounded_error"] == pytest.approx((0 + 2 + 3) / 3)
    assert (found["mean_score"], found["mean_label"], found["rows"]) == (11 / 3, 3.0, 3.0)


def test_r2_is_absent_where_labels_are_all_the_same() -> None:
    assert "r2" not in evaluate(np.array([[1.0], [2.0]]), np.array([1.0, 1.0]), METRES)


@pytest.mark.parametrize(
    ("criterion", "scores", "labels"),
    [
        (Criterion(Task.BINARY), SCORES[:, :1], LABELS),
        (COLOURS, SCORES, LABELS),
        (METRES, SCORES[:, :1], LABELS),
    ],
)
def test_the_best_is_chosen_by_a_metric_that_is_always_there(
    criterion: Criterion, scores: np.ndarray, labels: np.ndarray
) -> None:
    assert CHOSEN_BY[criterion.task] in evaluate(scores, labels, criterion)
