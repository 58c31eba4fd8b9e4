"""Every frozen family beside the library it stands for: trained models, and rows to try them on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import lightgbm
import numpy as np
from river import compose, forest, linear_model, metrics, optim, preprocessing, tree

from driftloop.kernel.codec.blocks import F64, Categories, Features
from driftloop.kernel.declaration import Task
from driftloop.models import boosting, registry
from driftloop.models.encoding import Encoding
from driftloop.models.ports import BINARY, REGRESSION, FrozenModel, Target, TrainedModel
from driftloop.models.river_classifier import freeze_classifier
from driftloop.models.river_regressor import freeze_regressor
from driftloop.models.river_rows import river_rows

NAN = float("nan")
EXTREME = [0.0, -0.0, 5e-324, -5e-324, 1e-35, -1e-35, 1.1e-35, 1e-20, 1.0, -1.0, 3.0, 7.0, 1e5]
EXTREME += [1e9, 1e150, 1e300, -1e300, 1.7976931348623157e308, float("inf"), float("-inf"), NAN]
THREE = Target(Task.MULTICLASS, 3)
NUMERIC = 5


def make_rows(
    count: int, seed: int, levels: int = 12, missing: float = 0.1
) -> tuple[Features, F64]:
    """Five numbers (one of huge scale, one of few values, one constant, one of tiny scale), two
    categories, and a signal in them."""
    rng = np.random.default_rng(seed)
    numeric = rng.normal(size=(count, NUMERIC)) * [1.0, 3e6, 1.0, 1.0, 1e-9] + [0, 1e7, 0, 0, 1]
    numeric[:, 2] = np.round(np.abs(numeric[:, 2]) * 2)
    numeric[:, 3] = 7.0
    numeric[rng.random(numeric.shape) < missing] = NAN
    codes = rng.integers(-1 if missing else 0, levels, size=(count, 2)).astype(np.int32)
    codes[:, 1] %= 3
    names = tuple(f"level {i}" for i in rng.permutation(levels))
    favoured = np.array([int(name.split()[1]) % 3 == 0 for name in (*names, "level 1")])
    signal = (
        np.nan_to_num(numeric[:, 0])
        + 2 * favoured[codes[:, 0]]
        + (np.nan_to_num(numeric[:, 2]) > 2)
        + rng.normal(size=count) * 0.5
    )
    return Features(numeric, Categories(codes, (names, names))), signal


def labels(signal: F64, target: Target) -> F64:
    match target.task:
        case Task.BINARY:
            return (signal > 1.0).astype(np.float64)
        case Task.MULTICLASS:
            return np.digitize(signal, [0.3, 1.5]).astype(np.float64)
        case Task.REGRESSION:
            return signal * 10 + 3


@dataclass(frozen=True)
class Case:
    """A frozen model and the library's own answers, shape (n, C); NaN where it gives none."""

    trained: TrainedModel
    answers: Callable[[Features], F64]
    target: Target

    @property
    def frozen(self) -> FrozenModel:
        return registry.freeze(self.trained)


def _river_answers(
    model: Any, encoding: Encoding, target: Target, rows: Callable[[Features], list[Any]]
) -> Callable[[Features], F64]:
    def answer(row: dict[str, Any]) -> list[float]:
        try:
            if target.task is Task.REGRESSION:
                return [model.predict_one(row)]
            found = model.predict_proba_one(row)
        except (OverflowError, ValueError):
            return [NAN] * target.scores
        if target.task is Task.BINARY:
            return [found.get(1, 0.0)]
        return [found.get(c, 0.0) for c in range(target.classes)]

    def answers(features: Features) -> F64:
        return np.array([answer(row) for row in rows(features)], dtype=np.float64)

    return answers


def tree_case(
    model: Any,
    target: Target,
    *,
    count: int = 1500,
    seed: int = 1,
    drift: bool = False,
    **rows: Any,
) -> Case:
    """Trains a River tree or forest, and freezes it."""
    features, signal = make_rows(count, seed, **rows)
    if drift:
        signal[count // 2 :] = 2.0 - signal[count // 2 :]
    encoding = Encoding.fit(features.categories)
    for row, label in zip(river_rows(features, encoding), labels(signal, target), strict=True):
        model.learn_one(row, float(label) if target is REGRESSION else int(label))
    return frozen_tree(model, encoding, target)


def frozen_tree(model: Any, encoding: Encoding, target: Target) -> Case:
    trained = (
        freeze_regressor(model, encoding, NUMERIC)
        if target is REGRESSION
        else freeze_classifier(model, encoding, NUMERIC, target)
    )
    return Case(
        trained,
        _river_answers(model, encoding, target, lambda part: river_rows(part, encoding)),
        target,
    )


def named_rows(features: Features) -> list[dict[str, Any]]:
    """As River's own users write them: categories are strings."""
    rows = []
    categories = features.categories
    for numeric, codes in zip(features.numeric, categories.codes, strict=True):
        row: dict[str, Any] = {f"n{i}": float(v) for i, v in enumerate(numeric) if v == v}
        row |= {f"c{i}": categories.levels[i][c] for i, c in enumerate(codes) if c >= 0}
        rows.append(row)
    return rows


def linear_pipeline(parameters: dict[str, float], target: Target) -> Any:
    # By type: Select by name insists on every name, and a missing value is an absent key.
    numeric, categories = compose.SelectType(float), compose.SelectType(str)
    optimizer = optim.SGD(
        optim.schedulers.InverseScaling(parameters["learning_rate"], parameters["power"])
    )
    l2 = parameters.get("l2", 0.0)
    model: Any
    if target.task is Task.MULTICLASS:
        model = linear_model.SoftmaxRegression(optimizer, l2=l2)
    else:
        kind = (
            linear_model.LinearRegression
            if target.task is Task.REGRESSION
            else linear_model.LogisticRegression
        )
        model = kind(optimizer, l2=l2, intercept_lr=parameters.get("intercept_learning_rate", 0.01))
    return (
        (numeric | preprocessing.StandardScaler())
        + (categories | preprocessing.OneHotEncoder(drop_zeros=True))
    ) | model


def linear_case(target: Target) -> Case:
    features, signal = make_rows(600, seed=1)
    answer = labels(signal, target)
    parameters = {"learning_rate": 0.02, "power": 0.1, "l2": 0.001}
    trained = registry.trainer("river_logistic").train(
        features, answer, {**parameters, "epochs": 1, "average": 0}, 0, target
    )
    model = linear_pipeline(parameters, target)
    for row, label in zip(named_rows(features), answer, strict=True):
        model.learn_one(row, float(label) if target is REGRESSION else int(label))
    # River's own users would have True and False; its arithmetic is the same.
    encoding = Encoding.fit(features.categories)
    found = _river_answers(model, encoding, target, named_rows)
    return Case(trained, found, target)


def boosted_case(
    target: Target, parameters: dict[str, float] | None = None, count: int = 1500, **rows: Any
) -> Case:
    features, signal = make_rows(count, seed=1, levels=60, **rows)
    chosen = {"trees": 25, "min_level_rows": 5, "min_leaf": 5, "leaves": 15, **(parameters or {})}
    text, encoding = boosting.fit(features, labels(signal, target), chosen, 3, target)
    booster = lightgbm.Booster(model_str=text)

    def answers(part: Features) -> F64:
        found = booster.predict(boosting.matrix(part, encoding), num_threads=1)
        return np.asarray(found, dtype=np.float64).reshape(len(part.numeric), target.scores)

    return Case(boosting.frozen(text, NUMERIC, encoding), answers, target)


def _classifier(leaf: str = "nba", **settings: Any) -> Any:
    return tree.HoeffdingTreeClassifier(
        grace_period=50,
        delta=0.01,
        leaf_prediction=leaf,
        nominal_attributes=["c0", "c1"],
        **settings,
    )


def _adaptive(leaf: str = "nba", **settings: Any) -> Any:
    return tree.HoeffdingAdaptiveTreeClassifier(
        grace_period=50,
        delta=0.01,
        leaf_prediction=leaf,
        nominal_attributes=["c0", "c1"],
        seed=1,
        **settings,
    )


def _taught(model: Any, target: Target, seed: int) -> tuple[Any, Encoding]:
    features, signal = make_rows(1500, seed)
    encoding = Encoding((tuple(sorted(f"level {i}" for i in range(12))),) * 2)
    for row, label in zip(river_rows(features, encoding), labels(signal, target), strict=True):
        model.learn_one(row, float(label) if target is REGRESSION else int(label))
    return model, encoding


def alternates_case(make: Callable[[], Any], target: Target, *, subtree: bool = False) -> Case:
    """An adaptive tree with alternates beside its branches: leaves, or whole trees, which again
    have some. River cannot score the latter (it takes the list of their leaves for a leaf), so for
    them the list is flattened, as it is meant."""
    model, encoding = _taught(make(), target, 1)
    other, _ = _taught(make(), target, 2)
    alternate = other._root
    alternate._alternate_tree = next(iter(model._root.iter_leaves()))
    for branch in [*model._root.iter_branches()][:2]:
        branch._alternate_tree = alternate if subtree else next(iter(alternate.iter_leaves()))
        alternate = _taught(make(), target, 3)[0]._root
    if subtree:
        root = model._root
        plain = type(root).traverse

        def flat(x: Any, until_leaf: bool = True) -> Any:
            pending, found = plain(root, x, until_leaf), []
            while pending:
                part = pending.pop(0)
                if isinstance(part, list):
                    pending = part + pending
                else:
                    found.append(part)
            return found

        root.traverse = flat
    return frozen_tree(model, encoding, target)


def _scaled() -> Any:
    return (
        compose.SelectType(float) | preprocessing.StandardScaler() | linear_model.LinearRegression()
    )


def _regressor(leaf: str = "adaptive", kind: Any = tree.HoeffdingTreeRegressor, **more: Any) -> Any:
    return kind(
        grace_period=50,
        delta=0.05,
        leaf_prediction=leaf,
        leaf_model=_scaled(),
        nominal_attributes=["c0", "c1"],
        **more,
    )


def _forest(**settings: Any) -> Any:
    return forest.ARFClassifier(n_models=4, nominal_attributes=["c0", "c1"], seed=1, **settings)


def _forest_regressor(**settings: Any) -> Any:
    return _regressor(kind=forest.ARFRegressor, n_models=4, seed=1, **settings)


_ADAPTIVE_REGRESSOR = tree.HoeffdingAdaptiveTreeRegressor
CASES: dict[str, Callable[[], Case]] = {
    "linear binary": lambda: linear_case(BINARY),
    "linear multinomial": lambda: linear_case(THREE),
    "linear regression": lambda: linear_case(REGRESSION),
    "tree mc": lambda: tree_case(_classifier("mc"), BINARY),
    "tree nb": lambda: tree_case(_classifier("nb", nb_threshold=30), BINARY),
    "tree nba": lambda: tree_case(_classifier(), BINARY),
    "tree three classes": lambda: tree_case(_classifier(), THREE),
    "tree of binary splits": lambda: tree_case(_classifier(binary_split=True), THREE),
    "tree of complete rows": lambda: tree_case(_classifier(), BINARY, missing=0.0),
    "tree of one leaf": lambda: tree_case(_classifier(), THREE, count=20),
    "tree without rows": lambda: tree_case(_classifier(), BINARY, count=0),
    "tree with inactive leaves": lambda: tree_case(_classifier(max_depth=1), BINARY),
    "adaptive mc": lambda: tree_case(_adaptive("mc"), BINARY),
    "adaptive nb": lambda: tree_case(_adaptive("nb"), THREE),
    "adaptive nba": lambda: tree_case(_adaptive(), BINARY),
    "adaptive three classes": lambda: tree_case(_adaptive(), THREE, drift=True),
    "adaptive with alternates": lambda: alternates_case(_adaptive, BINARY),
    "adaptive with alternate trees": lambda: alternates_case(_adaptive, THREE, subtree=True),
    "adaptive regressor with alternate trees": lambda: alternates_case(
        lambda: _regressor(kind=_ADAPTIVE_REGRESSOR, seed=1), REGRESSION, subtree=True
    ),
    "regressor mean": lambda: tree_case(_regressor("mean"), REGRESSION),
    "regressor model": lambda: tree_case(_regressor("model"), REGRESSION),
    "regressor adaptive": lambda: tree_case(_regressor(), REGRESSION),
    "regressor without rows": lambda: tree_case(_regressor(), REGRESSION, count=0),
    "adaptive regressor": lambda: tree_case(
        _regressor(kind=_ADAPTIVE_REGRESSOR, seed=1), REGRESSION, drift=True
    ),
    "adaptive regressor mean": lambda: tree_case(
        _regressor("mean", kind=_ADAPTIVE_REGRESSOR, seed=1), REGRESSION
    ),
    "forest": lambda: tree_case(_forest(), BINARY, count=700),
    "forest three classes": lambda: tree_case(_forest(), THREE, count=700),
    "forest unweighted mc": lambda: tree_case(
        _forest(disable_weighted_vote=True, leaf_prediction="mc"), THREE, count=500
    ),
    "forest regressor median": lambda: tree_case(_forest_regressor(), REGRESSION, count=500),
    "forest regressor mean": lambda: tree_case(
        _forest_regressor(aggregation_method="mean"), REGRESSION, count=400
    ),
    "forest regressor weighted": lambda: tree_case(
        _forest_regressor(
            aggregation_method="mean", disable_weighted_vote=False, metric=metrics.MAE()
        ),
        REGRESSION,
        count=400,
    ),
    "boosted binary": lambda: boosted_case(BINARY),
    "boosted multiclass": lambda: boosted_case(THREE),
    "boosted of many leaves": lambda: boosted_case(BINARY, {"leaves": 50}),
    "boosted of too many leaves for masks": lambda: boosted_case(
        BINARY, {"leaves": 120, "trees": 10}, count=2500
    ),
    "boosted regression": lambda: boosted_case(REGRESSION),
    "boosted of complete rows": lambda: boosted_case(BINARY, missing=0.0, count=600),
    "boosted without splits": lambda: boosted_case(THREE, {"min_leaf": 5000}, count=60),
}


@cache
def case(name: str) -> Case:
    """Trained once per process."""
    return CASES[name]()
