"""Frozen models and compiled trainers against the libraries they stand for."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import compose, linear_model, optim, preprocessing

from driftloop.kernel.codec.blocks import Categories, Features
from driftloop.kernel.errors import TrainingError
from driftloop.models import boosting, registry
from driftloop.models.encoding import Encoding

NAN = float("nan")
EXTREME = [0.0, -0.0, 5e-324, -5e-324, 1e-35, -1e-35, 1.1e-35, 1e-20, 1.0, -1.0, 3.0]
EXTREME += [1e300, -1e300, 1.7976931348623157e308, float("inf"), float("-inf"), NAN]


def make_rows(
    count: int, seed: int, levels: int = 60, missing: float = 0.1
) -> tuple[Features, Any]:
    rng = np.random.default_rng(seed)
    numeric = rng.normal(size=(count, 4)) * [1.0, 30.0, 1.0, 1.0] + [0.0, 100.0, 0.0, 0.0]
    numeric[:, 2] = np.round(np.abs(numeric[:, 2]) * 2)
    numeric[:, 3] = 7.0
    numeric[rng.random(numeric.shape) < missing] = NAN
    codes = rng.integers(-1 if missing else 0, levels, size=(count, 2)).astype(np.int32)
    names = tuple(f"level {i}" for i in rng.permutation(levels))
    signal = np.nan_to_num(numeric[:, 0]) + (codes[:, 0] % 3 == 0) + rng.normal(size=count)
    features = Features(numeric, Categories(codes, (names, names)))
    return features, (signal > 0.4).astype(np.float64)


@pytest.fixture(scope="module")
def boosted() -> tuple[Any, lightgbm.Booster, Encoding]:
    features, labels = make_rows(1500, seed=1)
    parameters = {"trees": 30, "min_level_rows": 5, "min_leaf": 5, "leaves": 15}
    text, encoding = boosting.fit(features, labels, parameters, seed=3)
    model = boosting.frozen(text, features.numeric.shape[1], encoding)
    return registry.freeze(model), lightgbm.Booster(model_str=text), encoding


def assert_as_lightgbm(boosted: tuple[Any, lightgbm.Booster, Encoding], rows: Features) -> None:
    frozen, booster, encoding = boosted
    expected = booster.predict(boosting.matrix(rows, encoding), num_threads=1)
    np.testing.assert_allclose(frozen.score(rows)[:, 0], expected, rtol=0, atol=1e-9)


def test_trees_equal_lightgbm_on_new_rows(
    boosted: tuple[Any, lightgbm.Booster, Encoding],
) -> None:
    frozen, _, _ = boosted
    assert (frozen.bitset >= 0).sum() > 20
    rows, _ = make_rows(2000, seed=2)
    assert_as_lightgbm(boosted, rows)


def test_trees_equal_lightgbm_with_values_on_the_thresholds(
    boosted: tuple[Any, lightgbm.Booster, Encoding],
) -> None:
    frozen, _, _ = boosted
    at = frozen.threshold[(frozen.bitset < 0) & np.isfinite(frozen.threshold)]
    near = np.concatenate([at, np.nextafter(at, np.inf), np.nextafter(at, -np.inf)])
    numeric = np.random.default_rng(0).choice(near, size=(2000, 4))
    rows, _ = make_rows(2000, seed=4)
    assert_as_lightgbm(boosted, Features(numeric, rows.categories))


@settings(max_examples=60, deadline=None)
@given(
    numeric=st.lists(
        st.lists(st.sampled_from(EXTREME) | st.floats(), min_size=4, max_size=4),
        min_size=1,
        max_size=20,
    ),
    seed=st.integers(0, 1000),
)
def test_trees_equal_lightgbm_on_adversarial_rows(
    boosted: tuple[Any, lightgbm.Booster, Encoding], numeric: list[list[float]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    names = tuple(f"level {i}" for i in range(40, 80))  # some unseen, in another order
    codes = rng.integers(-1, 40, size=(len(numeric), 2)).astype(np.int32)
    assert_as_lightgbm(boosted, Features(np.array(numeric), Categories(codes, (names, names))))


def test_trees_equal_lightgbm_without_missing_values_in_training() -> None:
    features, labels = make_rows(600, seed=5, missing=0.0)
    text, encoding = boosting.fit(features, labels, {"trees": 8, "min_level_rows": 5}, 1)
    frozen = registry.freeze(boosting.frozen(text, 4, encoding))
    rows, _ = make_rows(600, seed=6)
    assert_as_lightgbm((frozen, lightgbm.Booster(model_str=text), encoding), rows)


@pytest.mark.parametrize("rows", [3, 60])
def test_trees_equal_lightgbm_where_nothing_can_be_split(rows: int) -> None:
    features, labels = make_rows(rows, seed=7)
    text, encoding = boosting.fit(features, labels, {"trees": 3, "min_leaf": 1000}, 1)
    frozen = registry.freeze(boosting.frozen(text, 4, encoding))
    assert_as_lightgbm((frozen, lightgbm.Booster(model_str=text), encoding), features)


def test_trees_of_labels_of_one_class_score() -> None:
    features, labels = make_rows(100, seed=8)
    model = registry.trainer("lightgbm").train(features, np.zeros_like(labels), {"trees": 2}, 1)
    assert (registry.freeze(model).score(features) < 0.01).all()


def river_rows(features: Features) -> list[dict[str, Any]]:
    rows = []
    categories = features.categories
    for numeric, codes in zip(features.numeric, categories.codes, strict=True):
        row: dict[str, Any] = {f"n{i}": float(v) for i, v in enumerate(numeric) if v == v}
        row |= {f"c{i}": categories.levels[i][c] for i, c in enumerate(codes) if c >= 0}
        rows.append(row)
    return rows


def river_model(parameters: dict[str, float]) -> Any:
    # By type: Select by name insists on every name, and a missing value is an absent key.
    numeric, categories = compose.SelectType(float), compose.SelectType(str)
    schedule = optim.schedulers.InverseScaling(parameters["learning_rate"], parameters["power"])
    logistic = linear_model.LogisticRegression(
        optim.SGD(schedule),
        l2=parameters.get("l2", 0.0),
        intercept_lr=parameters.get("intercept_learning_rate", 0.01),
    )
    return (
        (numeric | preprocessing.StandardScaler())
        + (categories | preprocessing.OneHotEncoder(drop_zeros=True))
    ) | logistic


def weights_of(arrays: Any, attributes: Any) -> dict[str, float]:
    named = {f"n{i}": w for i, w in enumerate(arrays["weights"])}
    levels = (
        f"c{i}_{level}"
        for i, vocabulary in enumerate(attributes["vocabularies"])
        for level in vocabulary
    )
    return named | dict(zip(levels, arrays["level_weights"], strict=True))


@pytest.mark.parametrize(
    "parameters",
    [
        {"learning_rate": 0.05, "power": 0.0, "epochs": 1},
        {"learning_rate": 0.02, "power": 0.0, "l2": 0.01, "epochs": 2},
        {"learning_rate": 0.5, "power": 0.5, "intercept_learning_rate": 0.1, "epochs": 1},
    ],
)
def test_logistic_weights_equal_river(parameters: dict[str, float]) -> None:
    features, labels = make_rows(400, seed=11)
    model = registry.trainer("river_logistic").train(
        features, labels, {**parameters, "average": 0}, seed=0
    )
    river = river_model(parameters)
    rows = river_rows(features)
    for _ in range(int(parameters["epochs"])):
        for row, label in zip(rows, labels, strict=True):
            river.learn_one(row, bool(label))
    logistic = river["LogisticRegression"]
    found = weights_of(model.arrays, model.attributes)
    assert max(abs(found[k] - w) for k, w in logistic.weights.items()) <= 1e-12
    assert set(logistic.weights) == {k for k, w in found.items() if k in logistic.weights or w}
    assert abs(model.arrays["bias"][0] - logistic.intercept) <= 1e-12

    new, _ = make_rows(200, seed=12)
    expected = [river.predict_proba_one(row)[True] for row in river_rows(new)]
    scores = registry.freeze(model).score(new)[:, 0]
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-9)


def test_averaged_weights_are_the_mean_over_the_rows_of_the_last_epoch() -> None:
    features, labels = make_rows(120, seed=13)
    parameters = {"learning_rate": 0.05, "power": 0.3, "l2": 0.01}
    river = river_model(parameters)
    sums: dict[str, float] = {}
    for epoch in range(2):
        for row, label in zip(river_rows(features), labels, strict=True):
            river.learn_one(row, bool(label))
            if epoch == 1:
                logistic = river["LogisticRegression"]
                for key, weight in {**logistic.weights, "": logistic.intercept}.items():
                    sums[key] = sums.get(key, 0.0) + weight / len(labels)
    model = registry.trainer("river_logistic").train(
        features, labels, {**parameters, "epochs": 2, "average": 1}, seed=0
    )
    found = {**weights_of(model.arrays, model.attributes), "": float(model.arrays["bias"][0])}
    assert max(abs(found[key] - value) for key, value in sums.items()) <= 1e-12


def test_logistic_training_that_diverges_is_a_training_error() -> None:
    features = Features(
        np.array([[1e300], [-1e300], [1e300]]), Categories(np.zeros((3, 0), dtype=np.int32), ())
    )
    with pytest.raises(TrainingError, match="lower learning_rate"):
        registry.trainer("river_logistic").train(features, np.array([0.0, 1.0, 1.0]), {}, 0)


@pytest.mark.parametrize("name", sorted(registry.TRAINERS))
def test_scores_do_not_depend_on_the_batch_or_its_dictionary(name: str) -> None:
    features, labels = make_rows(300, seed=14)
    parameters = {"trees": 5.0} if name == "lightgbm" else {}
    frozen = registry.freeze(registry.trainer(name).train(features, labels, parameters, 0))
    whole = frozen.score(features)
    order = np.random.default_rng(0).permutation(60)
    levels = tuple(tuple(column[i] for i in order) for column in features.categories.levels)
    back = np.append(np.argsort(order), -1).astype(np.int32)
    for start, stop in ((0, 1), (1, 2), (2, 259), (259, 300)):
        codes = back[features.categories.codes[start:stop]]
        part = Features(features.numeric[start:stop], Categories(codes, levels))
        assert frozen.score(part).tobytes() == whole[start:stop].tobytes()


def test_extreme_numbers_give_finite_linear_scores() -> None:
    features, labels = make_rows(300, seed=15)
    frozen = registry.freeze(registry.trainer("river_logistic").train(features, labels, {}, 0))
    numeric = np.random.default_rng(1).choice(EXTREME, size=(2000, 4))
    codes = np.full((2000, 2), -1, dtype=np.int32)
    scores = frozen.score(Features(numeric, Categories(codes, ((), ()))))
    assert ((scores >= 0) & (scores <= 1)).all()


def test_an_encoding_knows_the_levels_that_occur_and_the_most_frequent_first() -> None:
    codes = np.array([[0], [2], [2], [-1], [3], [3]], dtype=np.int32)
    categories = Categories(codes, (("b", "never", "a", "c"),))
    assert Encoding.fit(categories).vocabularies == (("a", "b", "c"),)
    two = Encoding.fit(categories, max_levels=2)
    assert two.vocabularies == (("a", "c"),)
    assert two.encode(categories)[:, 0].tolist() == [-1, 0, 0, -1, 1, 1]


@pytest.mark.parametrize(
    ("name", "parameters", "problem"),
    [
        ("sklearn.svm.SVC", {}, "known are constant, lightgbm, river_logistic"),
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
