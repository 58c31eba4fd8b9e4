"""Frozen models against the libraries they stand for, on the same rows.

River's ``predict_proba_one`` is its only way to score (its models of trees have no
``predict_proba_many``); it gets dicts that were made beforehand, while the frozen side gets the
columns that the codec makes. LightGBM gets one thread, as the frozen side has, and the float64
matrix in C order that is its quickest; for a single row, the quickest of its public ways. Its C
interface has a faster one (``LGBM_BoosterPredictForMatSingleRowFast``), which its Python package
does not offer.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
from river import forest, linear_model, preprocessing, tree

from driftloop.kernel.codec.blocks import F64, Categories, Features
from driftloop.models import boosting, linear, registry
from driftloop.models.encoding import Encoding
from driftloop.models.ports import BINARY, FrozenModel
from driftloop.models.river_classifier import freeze_classifier
from loadtest.measure import interleaved, plain, ratio, setting

_BATCH = 1024
_NUMERIC = 20
_ROWS = 12_000
_FOREST_ROWS = 4_000
_REPEATS = 20
"""Batches per round of the frozen side: one is too short to be timed."""
_BOOSTED: dict[str, float] = {}
"""The trainer's defaults: 200 trees of 31 leaves."""
_NONE = Encoding(())
_TOLERANCE = 1e-9

Ways = dict[str, Callable[[], object]]


def run() -> dict[str, Any]:
    """Outputs are compared before anything is timed."""
    x, y = _rows(_ROWS)
    batch = x[-_BATCH:]
    rows = _dicts(batch)
    results: dict[str, dict[str, float]] = {}
    costs: dict[str, dict[str, float]] = {}
    for name, model, count in (
        ("tree", tree.HoeffdingTreeClassifier(), _ROWS),
        ("adaptive_tree", tree.HoeffdingAdaptiveTreeClassifier(seed=1), _ROWS // 2),
        ("forest", forest.ARFClassifier(n_models=10, seed=1), _FOREST_ROWS),
    ):
        sys.stderr.write(f"{name}: River learns {count} rows\n")
        for row, label in zip(_dicts(x[:count]), y[:count].tolist(), strict=True):
            model.learn_one(row, int(label))
        frozen = registry.freeze(freeze_classifier(model, _NONE, _NUMERIC, BINARY))
        results[name], costs[name] = _against_river(name, model, frozen, batch, rows)
    model, frozen = _linear(x, y)
    results["linear"], costs["linear"] = _against_river("linear", model, frozen, batch, rows)
    boosted, against, more = _boosted(x, y, batch)
    return {
        "name": "models",
        "batch": _BATCH,
        "features": _NUMERIC,
        **plain(**results, **boosted),
        "gbdt_single_row_against": against,
        "us_per_event": {**costs, **more},
        "setting": setting("river", "lightgbm", "numpy", "numba"),
    }


def _rows(count: int) -> tuple[F64, F64]:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(count, _NUMERIC))
    weights = rng.normal(size=_NUMERIC)
    signal = x @ weights + 3 * np.sin(3 * x[:, 0]) + 2 * (x[:, 1] > 0.3) * x[:, 2]
    return x, (signal + rng.normal(size=count) > 0).astype(np.float64)


def _dicts(x: F64) -> list[dict[str, float]]:
    names = [f"n{i}" for i in range(_NUMERIC)]
    return [dict(zip(names, row, strict=True)) for row in x.tolist()]


def _features(x: F64) -> Features:
    return Features(x, Categories(np.zeros((len(x), 0), dtype=np.int32), ()))


def _linear(x: F64, y: F64) -> tuple[Any, FrozenModel]:
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    for row, label in zip(_dicts(x), y.tolist(), strict=True):
        model.learn_one(row, bool(label))
    scaler, logistic = model["StandardScaler"], model["LogisticRegression"]
    names = [f"n{i}" for i in range(_NUMERIC)]
    trained = linear.trained(
        np.array([scaler.means[name] for name in names]),
        np.sqrt([scaler.vars[name] for name in names]),
        np.array([logistic.weights[name] for name in names]),
        np.zeros(0),
        logistic.intercept,
        _NONE,
    )
    return model, registry.freeze(trained)


def _against_river(
    name: str, model: Any, frozen: FrozenModel, batch: F64, rows: list[dict[str, float]]
) -> tuple[dict[str, float], dict[str, float]]:
    features = _features(batch)
    singles = [_features(row.reshape(1, -1).copy()) for row in batch[:200]]
    expected = [model.predict_proba_one(row)[True] for row in rows]
    _compare(name, frozen.score(features)[:, 0], np.array(expected))
    _compare(name, np.array([frozen.score(one)[0, 0] for one in singles]), np.array(expected[:200]))
    seconds = interleaved(
        {
            "river": lambda: [model.predict_proba_one(row) for row in rows],
            "frozen": lambda: [frozen.score(features) for _ in range(_REPEATS)],
            "frozen, single row": lambda: [frozen.score(one) for one in singles],
        }
    )
    per = {"river": _BATCH, "frozen": _BATCH * _REPEATS, "frozen, single row": len(singles)}
    each = {way: [s / per[way] for s in taken] for way, taken in seconds.items()}
    found = ratio(each["river"], each["frozen"])
    sys.stderr.write(f"{name}: {found['median']:.0f} times River\n")
    return found, {way: statistics.median(s) * 1e6 for way, s in each.items()}


def _boosted(
    x: F64, y: F64, batch: F64
) -> tuple[dict[str, dict[str, float]], str, dict[str, dict[str, float]]]:
    """Ratios, the way of a single row that they are against, and costs."""
    sys.stderr.write("gbdt: LightGBM trains\n")
    text, encoding = boosting.fit(_features(x), y, _BOOSTED, 1)
    booster = lightgbm.Booster(model_str=text)
    frozen = registry.freeze(boosting.frozen(text, _NUMERIC, encoding))
    features = _features(batch)
    # Every row is another one: a model that sees one row again and again is quick by habit.
    arrays = [row.reshape(1, -1).copy() for row in batch]
    # Each side gets its input made beforehand: LightGBM the array, the frozen side the block of the
    # codec that holds it.
    blocks = [_features(row) for row in arrays]
    expected = booster.predict(batch, num_threads=1)
    _compare("gbdt", frozen.score(features)[:, 0], expected)
    single = np.array([frozen.score(block)[0, 0] for block in blocks])
    _compare("gbdt, single row", single, expected)

    batches: Ways = {
        "lightgbm": lambda: booster.predict(batch, num_threads=1),
        "frozen": lambda: frozen.score(features),
    }
    singles: Ways = {
        "lightgbm": lambda: [booster.predict(row, num_threads=1) for row in arrays],
        "lightgbm, unchecked": lambda: [
            booster.predict(row, num_threads=1, predict_disable_shape_check=True) for row in arrays
        ],
        "lightgbm, no option": lambda: [booster.predict(row) for row in arrays],
        "frozen": lambda: [frozen.score(block) for block in blocks],
    }
    whole, alone = interleaved(batches), interleaved(singles)
    quickest = min((name for name in singles if name != "frozen"), key=lambda n: sum(alone[n]))
    found = {
        "gbdt": ratio(whole["lightgbm"], whole["frozen"]),
        "gbdt_single_row": ratio(alone[quickest], alone["frozen"]),
    }
    for name, times in found.items():
        sys.stderr.write(f"{name}: {times['median']:.1f} times LightGBM\n")
    each = {
        "gbdt": {way: statistics.median(s) / _BATCH * 1e6 for way, s in whole.items()},
        "gbdt_single_row": {way: statistics.median(s) / _BATCH * 1e6 for way, s in alone.items()},
    }
    return found, quickest, each


def _compare(name: str, found: F64, expected: F64) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=_TOLERANCE, err_msg=name)
