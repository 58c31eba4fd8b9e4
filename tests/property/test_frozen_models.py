"""Frozen models and compiled trainers against the libraries they stand for."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.kernel.codec.blocks import F64, Categories, Features
from driftloop.kernel.declaration import Task
from driftloop.kernel.errors import TrainingError
from driftloop.models import registry
from driftloop.models.encoding import Encoding
from driftloop.models.ports import BINARY, REGRESSION, Target
from model_cases import (
    CASES,
    EXTREME,
    NAN,
    NUMERIC,
    THREE,
    Case,
    case,
    labels,
    linear_pipeline,
    make_rows,
    named_rows,
)

TARGETS = {"binary": BINARY, "multiclass": THREE, "regression": REGRESSION}
QUICK: dict[str, dict[str, float]] = {"lightgbm": {"trees": 20}, "adaptive_forest": {"trees": 2}}
"""Parameters that shorten a training."""


def assert_equal(tried: Case, rows: Features) -> None:
    """Within 1e-9 (relatively where scores are numbers of any size) wherever the library answers,
    and in range everywhere."""
    with np.errstate(all="ignore"):
        expected = tried.answers(rows)
    found = tried.frozen.score(rows)
    assert found.shape == (len(rows.numeric), tried.target.scores)
    assert np.isfinite(found).all()
    # Where numbers are near the largest there are, frozen regressors stop at 1e305.
    answered = np.isfinite(expected) & (np.abs(np.nan_to_num(expected)) < 1e299)
    answered &= ~np.isnan(expected).any(axis=1, keepdims=True)
    np.testing.assert_allclose(found[answered], expected[answered], rtol=1e-9, atol=1e-9)
    if tried.target.task is not Task.REGRESSION:
        assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.parametrize("name", CASES)
def test_scores_equal_the_library_on_new_rows(name: str) -> None:
    """With categories that training did not see, in another order."""
    rows, _ = make_rows(300, seed=2, levels=30)
    assert_equal(case(name), rows)
    rows, _ = make_rows(200, seed=3, levels=9, missing=0.6)
    assert_equal(case(name), rows)


@pytest.mark.parametrize("name", CASES)
def test_scores_equal_the_library_with_values_on_the_thresholds(name: str) -> None:
    arrays = case(name).trained.arrays
    at = arrays.get("threshold", np.zeros(0))
    at = np.append(at[np.isfinite(at)], [0.0, 7.0])
    near = np.concatenate([at, np.nextafter(at, np.inf), np.nextafter(at, -np.inf)])
    numeric = np.random.default_rng(0).choice(near, size=(300, NUMERIC))
    rows, _ = make_rows(300, seed=4)
    assert_equal(case(name), Features(numeric, rows.categories))


@pytest.mark.parametrize("name", CASES)
def test_scores_equal_the_library_on_extreme_rows(name: str) -> None:
    numeric = np.random.default_rng(1).choice(EXTREME, size=(400, NUMERIC))
    mild, _ = make_rows(400, seed=5, levels=20)
    # Half of the numbers are ordinary: a row of nothing but infinities decides little.
    numeric[::2, ::2] = mild.numeric[::2, ::2]
    assert_equal(case(name), Features(numeric, mild.categories))


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=8, deadline=None)
@given(
    numeric=st.lists(
        st.lists(st.sampled_from(EXTREME) | st.floats(), min_size=NUMERIC, max_size=NUMERIC),
        min_size=1,
        max_size=20,
    ),
    seed=st.integers(0, 1000),
)
def test_scores_equal_the_library_on_adversarial_rows(
    name: str, numeric: list[list[float]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    names = tuple(f"level {i}" for i in range(6, 30))  # some unseen, in another order
    codes = rng.integers(-1, len(names), size=(len(numeric), 2)).astype(np.int32)
    assert_equal(case(name), Features(np.array(numeric), Categories(codes, (names, names))))


def test_a_member_that_overflows_is_on_its_side_of_the_median() -> None:
    numeric = np.zeros((10, NUMERIC))
    numeric[:, 1], numeric[:, 2], numeric[:, 4] = np.finfo(np.float64).max, 7.0, 1e300
    names = tuple(f"level {i}" for i in range(6, 30))
    codes = np.random.default_rng(257).integers(-1, len(names), size=(10, 2)).astype(np.int32)
    rows = Features(numeric, Categories(codes, (names, names)))
    assert_equal(case("forest regressor median"), rows)


@pytest.mark.parametrize("name", CASES)
def test_scores_do_not_depend_on_the_batch_or_its_dictionary(name: str) -> None:
    rows, _ = make_rows(150, seed=6, levels=40)
    rows.numeric[::7] = np.random.default_rng(1).choice(EXTREME, size=rows.numeric[::7].shape)
    frozen = case(name).frozen
    whole = frozen.score(rows)
    order = np.random.default_rng(0).permutation(40)
    levels = tuple(tuple(column[i] for i in order) for column in rows.categories.levels)
    back = np.append(np.argsort(order), -1).astype(np.int32)
    cuts = [0, 1, 2, 4, 7, 15, 24, 41, 120, 150]
    for start, stop in itertools.pairwise(cuts):
        codes = back[rows.categories.codes[start:stop]]
        part = Features(rows.numeric[start:stop], Categories(codes, levels))
        assert frozen.score(part).tobytes() == whole[start:stop].tobytes()
    for row in range(0, 150, 5):
        codes = rows.categories.codes[row : row + 1]
        alone = Features(rows.numeric[row : row + 1], Categories(codes, rows.categories.levels))
        assert frozen.score(alone).tobytes() == whole[row : row + 1].tobytes()


@pytest.mark.parametrize("name", CASES)
def test_no_rows_have_no_scores(name: str) -> None:
    rows, _ = make_rows(1, seed=7)
    none = Features(rows.numeric[:0], Categories(rows.categories.codes[:0], rows.categories.levels))
    assert case(name).frozen.score(none).shape == (0, case(name).target.scores)


def test_the_cases_have_what_makes_trees_hard() -> None:
    boosted = case("boosted binary").trained.arrays
    assert (boosted["bitset"] >= 0).sum() > 20
    assert (case("tree nba").trained.arrays["bitset"] >= 0).any()
    assert (case("tree nba").trained.arrays["missing_type"] == 3).any()  # multi-way branches
    for name in ("tree nba", "forest", "adaptive three classes"):
        assert case(name).trained.arrays["bayes"].any()
    assert len(case("adaptive with alternates").trained.arrays["also"])
    assert (case("regressor adaptive").trained.arrays["model"] >= 0).any()


@pytest.mark.parametrize("task", TARGETS)
@pytest.mark.parametrize("name", sorted(registry.TRAINERS))
def test_every_trainer_takes_every_task_and_makes_the_same_bytes_again(
    name: str, task: str
) -> None:
    features, signal = make_rows(250, seed=8)
    target = TARGETS[task]
    trainer = registry.trainer(name)
    first, second = (
        trainer.train(features, labels(signal, target), QUICK.get(name, {}), 5, target)
        for _ in range(2)
    )
    assert first.family == second.family
    assert first.attributes == second.attributes
    assert {k: v.tobytes() for k, v in first.arrays.items()} == {
        k: v.tobytes() for k, v in second.arrays.items()
    }
    scores = registry.freeze(first).score(features)
    assert scores.shape == (250, target.scores)
    if target.task is Task.MULTICLASS:
        np.testing.assert_allclose(scores.sum(axis=1), 1.0)


@pytest.mark.parametrize("name", sorted(set(registry.TRAINERS) - {"constant"}))
def test_every_trainer_learns(name: str) -> None:
    features, signal = make_rows(2000, seed=9)
    answers = labels(signal, BINARY)
    scores = registry.freeze(
        registry.trainer(name).train(features, answers, QUICK.get(name, {}), 1)
    ).score(features)[:, 0]
    assert scores[answers == 1].mean() > scores[answers == 0].mean() + 0.2


@pytest.mark.parametrize("name", ["river_logistic", "hoeffding_tree", "constant"])
def test_labels_of_no_class_are_a_training_error(name: str) -> None:
    features, _ = make_rows(30, seed=10)
    with pytest.raises(TrainingError, match="0 to 2"):
        registry.trainer(name).train(features, np.full(30, 3.0), {}, 0, THREE)


def test_boosted_trees_of_labels_of_one_class_score() -> None:
    features, _ = make_rows(100, seed=8)
    model = registry.trainer("lightgbm").train(features, np.zeros(100), {"trees": 2}, 1)
    assert (registry.freeze(model).score(features) < 0.01).all()


def test_a_class_without_labels_gets_no_probability() -> None:
    features, signal = make_rows(200, seed=8)
    answers = (signal > 1).astype(np.float64)
    model = registry.trainer("river_logistic").train(features, answers, {}, 1, THREE)
    assert (registry.freeze(model).score(features)[:, 2] < 1e-9).all()


def weights_of(arrays: Any, attributes: Any) -> list[dict[str, float]]:
    """Per class."""
    classes = attributes["classes"]
    levels = [
        f"c{i}_{level}"
        for i, vocabulary in enumerate(attributes["vocabularies"])
        for level in vocabulary
    ]
    return [
        {
            **{f"n{i}": w for i, w in enumerate(numbers)},
            **dict(zip(levels, of_levels, strict=True)),
        }
        for numbers, of_levels in zip(
            arrays["weights"].reshape(classes, -1),
            arrays["level_weights"].reshape(classes, -1),
            strict=True,
        )
    ]


def learn_by_river(
    model: Any, features: Features, answers: F64, target: Target, epochs: int = 1
) -> None:
    for _ in range(epochs):
        for row, label in zip(named_rows(features), answers, strict=True):
            model.learn_one(row, float(label) if target is REGRESSION else int(label))


@pytest.mark.parametrize("task", TARGETS)
@pytest.mark.parametrize(
    "parameters",
    [
        {"learning_rate": 0.05, "power": 0.0, "epochs": 1},
        {"learning_rate": 0.02, "power": 0.0, "l2": 0.01, "epochs": 2},
        {"learning_rate": 0.05, "power": 0.5, "intercept_learning_rate": 0.1, "epochs": 1},
    ],
)
def test_linear_weights_equal_river(parameters: dict[str, float], task: str) -> None:
    target = TARGETS[task]
    features, signal = make_rows(400, seed=11)
    answers = labels(signal, target)
    model = registry.trainer("river_logistic").train(
        features, answers, {**parameters, "average": 0}, 0, target
    )
    river = linear_pipeline(parameters, target)
    learn_by_river(river, features, answers, target, int(parameters["epochs"]))
    linear = list(river.steps.values())[-1]
    found = weights_of(model.arrays, model.attributes)
    expected = [linear.weights[c] for c in range(3)] if target is THREE else [linear.weights]
    for ours, theirs in zip(found, expected, strict=True):
        assert max(abs(ours[k] - w) for k, w in theirs.items()) <= 1e-12
        assert all(w == 0.0 for k, w in ours.items() if k not in theirs)
    if target is not THREE:
        assert abs(model.arrays["bias"][0] - linear.intercept) <= 1e-12


def test_averaged_weights_are_the_mean_over_the_rows_of_the_last_epoch() -> None:
    features, signal = make_rows(120, seed=13)
    answers = labels(signal, BINARY)
    parameters = {"learning_rate": 0.05, "power": 0.3, "l2": 0.01}
    river = linear_pipeline(parameters, BINARY)
    sums: dict[str, float] = {}
    for epoch in range(2):
        for row, label in zip(named_rows(features), answers, strict=True):
            river.learn_one(row, bool(label))
            if epoch == 1:
                logistic = river["LogisticRegression"]
                for key, weight in {**logistic.weights, "": logistic.intercept}.items():
                    sums[key] = sums.get(key, 0.0) + weight / len(answers)
    model = registry.trainer("river_logistic").train(
        features, answers, {**parameters, "epochs": 2, "average": 1}, seed=0
    )
    found = {**weights_of(model.arrays, model.attributes)[0], "": float(model.arrays["bias"][0])}
    assert max(abs(found[key] - value) for key, value in sums.items()) <= 1e-12


def test_logistic_training_that_diverges_is_a_training_error() -> None:
    features = Features(
        np.array([[1e300], [-1e300], [1e300]]), Categories(np.zeros((3, 0), dtype=np.int32), ())
    )
    with pytest.raises(TrainingError, match="lower learning_rate"):
        registry.trainer("river_logistic").train(features, np.array([0.0, 1.0, 1.0]), {}, 0)


def test_an_encoding_knows_the_levels_that_occur_and_the_most_frequent_first() -> None:
    codes = np.array([[0], [2], [2], [-1], [3], [3]], dtype=np.int32)
    categories = Categories(codes, (("b", "never", "a", "c"),))
    assert Encoding.fit(categories).vocabularies == (("a", "b", "c"),)
    two = Encoding.fit(categories, max_levels=2)
    assert two.vocabularies == (("a", "c"),)
    assert two.encode(categories)[:, 0].tolist() == [-2, 0, 0, -1, 1, 1]


@pytest.mark.parametrize(
    ("name", "parameters", "problem"),
    [
        ("sklearn.svm.SVC", {}, "known are adaptive_forest, adaptive_tree, constant, "),
        ("lightgbm", {"tree": 1}, "it takes depth, "),
        ("lightgbm", {"trees": 0}, r"must be in \[1, 5000\]"),
        ("lightgbm", {"trees": 1.5}, "whole number"),
        ("lightgbm", {"trees": NAN}, "must be in"),
        ("lightgbm", {"trees": "many"}, "must be a number"),
    ],
)
def test_a_wrong_candidate_is_told_what_would_be_right(
    name: str, parameters: dict[str, Any], problem: str
) -> None:
    (message,) = registry.check_parameters(name, parameters)
    with pytest.raises(TrainingError, match=problem):
        raise TrainingError(message)


def test_every_trainer_has_a_list_of_parameters_and_takes_its_defaults() -> None:
    assert set(registry.TRAINERS) == set(registry.TRAINER_PARAMETERS)
    for name, known in registry.TRAINER_PARAMETERS.items():
        assert registry.check_parameters(name, {p.name: p.default for p in known}) == []
