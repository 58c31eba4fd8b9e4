"""Trainer ``lightgbm``: gradient boosted trees, frozen into the ``trees`` family.

One thread, fixed seeds and LightGBM's deterministic mode: the same rows give the same bytes.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from driftloop.kernel.codec.blocks import F64, Features
from driftloop.kernel.declaration import Task
from driftloop.kernel.errors import TrainingError
from driftloop.models import trees, walk
from driftloop.models.encoding import Encoding
from driftloop.models.parameters import resolve
from driftloop.models.ports import BINARY, Target, TrainedModel

NAME = "lightgbm"
_CATEGORICAL, _DEFAULT_LEFT = 1, 2
"""Bits of LightGBM's decision_type; the missing type is in the two bits above."""
_OBJECTIVES = {Task.BINARY: "binary", Task.MULTICLASS: "multiclass", Task.REGRESSION: "regression"}
_MEDIAN = "regression_l1"
_LINKS = {
    "binary": "logistic",
    "multiclass": "softmax",
    "regression": "identity",
    _MEDIAN: "identity",
}


class LightGbm:
    """See the module."""

    def train(
        self,
        features: Features,
        labels: F64,
        parameters: Mapping[str, float],
        seed: int,
        target: Target = BINARY,
    ) -> TrainedModel:
        """Raises ``TrainingError``."""
        text, encoding = fit(features, labels, parameters, seed, target)
        return frozen(text, features.numeric.shape[1], encoding)


def fit(
    features: Features,
    labels: F64,
    parameters: Mapping[str, float],
    seed: int,
    target: Target = BINARY,
) -> tuple[str, Encoding]:
    """LightGBM's own text of the booster, and the encoding of its categories."""
    # Here, not above: a process that only scores does not pay for loading it.
    import lightgbm

    chosen = resolve(NAME, parameters)
    encoding = Encoding.fit(features.categories)
    numeric = features.numeric.shape[1]
    columns = matrix(features, encoding)
    median = target.task is Task.REGRESSION and chosen["median"] > 0.5
    settings = {
        "objective": _MEDIAN if median else _OBJECTIVES[target.task],
        "num_class": target.scores,
        "num_leaves": int(chosen["leaves"]),
        "learning_rate": chosen["learning_rate"],
        "min_data_in_leaf": int(chosen["min_leaf"]),
        "max_depth": int(chosen["depth"]) or -1,
        "lambda_l2": chosen["l2"],
        "feature_fraction": chosen["feature_share"],
        "min_data_per_group": int(chosen["min_level_rows"]),
        "cat_smooth": chosen["level_smoothing"],
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "seed": seed % 2**31,
        "verbose": -1,
    }
    try:
        data = lightgbm.Dataset(
            columns,
            np.asarray(labels, dtype=np.float64),
            categorical_feature=list(range(numeric, columns.shape[1])),
            params=settings,
        )
        booster = lightgbm.train(settings, data, num_boost_round=int(chosen["trees"]))
        text: str = booster.model_to_string()
    except lightgbm.basic.LightGBMError as error:
        if "bad_alloc" in str(error):
            raise MemoryError(f"{NAME}: {error}") from error
        raise TrainingError(f"{NAME}: {error}") from error
    return text, encoding


def matrix(features: Features, encoding: Encoding) -> F64:
    """LightGBM's input: numbers, then codes; NaN is missing, unseen too."""
    codes = encoding.encode(features.categories).astype(np.float64)
    codes[codes < 0] = np.nan
    return np.hstack([features.numeric, codes])


def frozen(text: str, numeric: int, encoding: Encoding) -> TrainedModel:
    """The arrays of ``models.trees`` from LightGBM's text, which has all digits of its numbers."""
    head, *blocks = text.split("\nTree=")
    fields = _fields(head)
    objective, *settings = fields["objective"].split()
    if objective not in _LINKS or "sqrt" in settings:
        raise TrainingError(
            f"{NAME}: objective {fields['objective']!r} cannot be frozen; known are "
            f"{', '.join(sorted(_LINKS))}"
        )
    given = dict(part.split(":") for part in settings if ":" in part)
    parts = [_tree(_fields(block.split("\n\n")[0]), numeric) for block in blocks]

    nodes = np.cumsum([0, *(len(part["left"]) for part in parts)])
    leaves = np.cumsum([0, *(len(part["leaf"]) for part in parts)])
    groups = np.cumsum([0, *(len(part["bitset_bounds"]) - 1 for part in parts)])
    words = np.cumsum([0, *(len(part["bitset_words"]) for part in parts)])
    for i, part in enumerate(parts):
        for name in ("left", "right", "roots"):
            child = part[name]
            part[name] = np.where(child >= 0, child + nodes[i], child - leaves[i])
        part["bitset"] = np.where(part["bitset"] >= 0, part["bitset"] + groups[i], -1)
        part["bitset_bounds"] = part["bitset_bounds"][1:] + words[i]
    kinds: dict[str, type[np.generic]] = {
        **walk.NODE_ARRAYS,
        "roots": np.int32,
        "bitset_bounds": np.int32,
        "bitset_words": np.uint32,
        "leaf": np.float64,
    }
    arrays: dict[str, npt.NDArray[Any]] = {
        name: np.concatenate([part[name] for part in parts] or [np.zeros(0)]).astype(kind)
        for name, kind in kinds.items()
    }
    arrays["bitset_bounds"] = np.concatenate(([0], arrays["bitset_bounds"])).astype(np.int32)
    return TrainedModel(
        trees.FAMILY,
        arrays,
        {
            "vocabularies": [list(vocabulary) for vocabulary in encoding.vocabularies],
            "numeric": numeric,
            "link": _LINKS[objective],
            "classes": int(given.get("num_class", 1)),
            "sigmoid": float(given.get("sigmoid", 1.0)),
        },
    )


def _fields(block: str) -> dict[str, str]:
    lines = (line.partition("=") for line in block.splitlines())
    return {key: value for key, equals, value in lines if equals}


def _tree(fields: Mapping[str, str], numeric: int) -> dict[str, npt.NDArray[Any]]:
    """One tree's arrays, with indices of its own."""
    if fields.get("is_linear", "0") != "0":
        raise TrainingError(f"{NAME}: trees with linear leaves cannot be frozen")

    def integers(name: str) -> npt.NDArray[np.int64]:
        return np.array(fields.get(name, "").split(), dtype=np.int64)

    def floats(name: str) -> F64:
        return np.array(fields.get(name, "").split(), dtype=np.float64)

    leaf = floats("leaf_value")
    # A tree of one leaf has no splits, but LightGBM may still write fields for one.
    splits = len(leaf) - 1
    decision = integers("decision_type")[:splits]
    categorical = (decision & _CATEGORICAL) != 0
    threshold = floats("threshold")[:splits]
    feature = integers("split_feature")[:splits]
    sets = _sets(integers("cat_boundaries"), integers("cat_threshold"))
    return {
        "roots": np.array([0 if splits else -1]),
        "feature": np.where(categorical, feature - numeric, feature),
        "threshold": np.where(categorical, 0.0, threshold),
        "left": integers("left_child")[:splits],
        "right": integers("right_child")[:splits],
        "default_left": ((decision & _DEFAULT_LEFT) != 0) & ~categorical,
        "missing_type": np.where(categorical, 0, (decision >> 2) & 3),
        "bitset": np.where(categorical, threshold, -1.0).astype(np.int64),
        "bitset_bounds": np.cumsum([0, *(len(words) for words in sets)]),
        "bitset_words": np.array([word for words in sets for word in words], dtype=np.int64),
        "leaf": leaf,
    }


def _sets(bounds: npt.NDArray[np.int64], words: npt.NDArray[np.int64]) -> list[list[int]]:
    """LightGBM's sets of codes in words of 32 bits, moved up by the two bits of ``models.walk``."""
    moved = []
    for start, stop in itertools.pairwise(bounds.tolist()):
        bits = sum(word << 32 * i for i, word in enumerate(words[start:stop].tolist())) << 2
        size = (bits.bit_length() + 31) // 32
        moved.append([bits >> 32 * i & 0xFFFFFFFF for i in range(size)])
    return moved
