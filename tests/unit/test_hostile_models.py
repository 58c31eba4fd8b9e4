"""Whatever an artifact holds, loading it is an error or a model that scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.kernel.codec.blocks import Categories, Features
from driftloop.kernel.errors import ArtifactError
from driftloop.models import registry, walk
from driftloop.models.ports import TrainedModel
from model_cases import case, make_rows

ROWS = Features(
    np.array([[0.5, np.nan], [np.inf, -np.inf], [1e308, 5e-324], [-0.0, 2.0]]),
    Categories(np.array([[0], [1], [-1], [2]], dtype=np.int32), (("a", "b", "zz"),)),
)


def i32(*values: int) -> Any:
    return np.array(values, dtype=np.int32)


def u8(*values: int) -> Any:
    return np.array(values, dtype=np.uint8)


TREES = TrainedModel(
    "trees",
    {
        "roots": i32(0, -1),
        "feature": i32(0, 0, 1),
        "threshold": np.array([0.5, 0.0, 1.0]),
        "left": i32(1, -1, -3),
        "right": i32(2, -2, -4),
        "default_left": u8(1, 0, 0),
        "missing_type": u8(2, 0, 1),
        "bitset": i32(-1, 0, -1),
        "bitset_bounds": i32(0, 1),
        "bitset_words": np.array([8], dtype=np.uint32),
        "leaf": np.array([0.1, -0.2, 0.3, -0.4]),
    },
    {
        "vocabularies": [["a", "b"]],
        "numeric": 2,
        "link": "logistic",
        "classes": 1,
        "sigmoid": 1.0,
    },
)
LINEAR = TrainedModel(
    "linear",
    {
        "mean": np.array([0.0, 1.0]),
        "scale": np.array([1.0, 0.0]),
        "weights": np.array([0.5, 2.0]),
        "level_weights": np.array([0.1, -0.1]),
        "bias": np.array([0.2]),
    },
    {"vocabularies": [["a", "b"]], "link": "logistic", "classes": 1},
)
CONSTANT = TrainedModel("constant", {"prior": np.array([0.2])}, {})
SOFTMAX = TrainedModel(
    "linear",
    {
        "mean": np.array([0.0, 1.0]),
        "scale": np.array([1.0, 2.0]),
        "weights": np.array([0.5, 2.0, -0.5, 1.0, 0.0, 3.0]),
        "level_weights": np.array([0.1, -0.1, 0.0, 0.3, 0.2, 0.1]),
        "bias": np.array([0.2, 0.0, -0.2]),
    },
    {"vocabularies": [["a", "b"]], "link": "softmax", "classes": 3},
)
LEARNT = (
    "tree nba",
    "tree three classes",
    "adaptive with alternates",
    "forest",
    "regressor adaptive",
    "adaptive regressor with alternate trees",
    "forest regressor mean",
    "boosted multiclass",
    "linear regression",
)
"""Cases of ``model_cases`` whose arrays are mutated."""
LEARNT_ROWS, _ = make_rows(12, seed=99, levels=20)
LEARNT_ROWS.numeric[::3] = np.random.default_rng(0).choice(
    [np.inf, -np.inf, 1e308, -1e300, 0.0, 5e-324], size=LEARNT_ROWS.numeric[::3].shape
)


def in_range(model: TrainedModel, scores: Any) -> bool:
    """Finite; and probabilities, unless the model is of a regression."""
    regression = model.family == "hoeffding_regressor" or "identity" in (
        model.attributes.get("link"),
    )
    return bool(np.isfinite(scores).all()) and (
        regression or bool(((scores >= 0) & (scores <= 1)).all())
    )


def load(model: TrainedModel, arrays: Mapping[str, Any], attributes: Mapping[str, Any]) -> Any:
    return registry.load(
        model.family, {**model.arrays, **arrays}, {**model.attributes, **attributes}
    )


@pytest.mark.parametrize("model", [TREES, LINEAR, SOFTMAX, CONSTANT], ids=lambda m: m.family)
def test_the_models_mutated_here_score_when_whole(model: TrainedModel) -> None:
    scores = registry.freeze(model).score(ROWS)
    assert scores.shape == (4, 3 if model is SOFTMAX else 1)
    assert in_range(model, scores)


def test_trees_follow_their_rules() -> None:
    def logit(p: Any) -> Any:
        return np.log(p / (1 - p))

    scores = registry.freeze(TREES).score(ROWS)[:, 0]
    # 0.5 left, category a (bit 0, not in the set): right; inf right, -inf <= 1 left; 1e308 right,
    # 5e-324 is zero, which is missing in that node: right; -0.0 left, category unseen: right.
    np.testing.assert_allclose(logit(scores), [0.1 - 0.2, 0.1 + 0.3, 0.1 - 0.4, 0.1 - 0.2])


MUTATIONS: list[tuple[TrainedModel, dict[str, Any], dict[str, Any]]] = [
    (TREES, {"left": i32(0, -1, -3)}, {}),  # its own child
    (TREES, {"left": i32(1, 0, -3)}, {}),  # a cycle
    (TREES, {"right": i32(3, -2, -4)}, {}),  # no such node
    (TREES, {"right": i32(2, -2, -5)}, {}),  # no such leaf
    (TREES, {"right": i32(2, -2, -(2**31))}, {}),
    (TREES, {"left": i32(1, -1)}, {}),
    (TREES, {"left": np.array([1, -1, -3])}, {}),
    (TREES, {"left": i32(1, -1, -3).reshape(3, 1)}, {}),
    (TREES, {"left": np.array([1, -1, -3], dtype=">i4")}, {}),
    (TREES, {"left": np.array([1, -1, -3], dtype=object)}, {}),
    (TREES, {"left": [1, -1, -3]}, {}),
    (TREES, {"roots": i32(3)}, {}),
    (TREES, {"roots": i32(-5)}, {}),
    (TREES, {"roots": np.full(100_001, -1, dtype=np.int32)}, {}),
    (TREES, {"feature": i32(2, 0, 1)}, {}),
    (TREES, {"feature": i32(-1, 0, 1)}, {}),
    (TREES, {"feature": i32(0, 1, 1)}, {}),  # no such categorical column
    (TREES, {"threshold": np.array([np.nan, 0.0, 1.0])}, {}),
    (TREES, {"threshold": np.array([0.5, 0.0])}, {}),
    (TREES, {"default_left": u8(2, 0, 0)}, {}),
    (TREES, {"missing_type": u8(5, 0, 1)}, {}),
    (TREES, {"bitset": i32(-1, 1, -1)}, {}),
    (TREES, {"bitset": i32(-2, 0, -1)}, {}),
    (TREES, {"bitset_bounds": i32(0, 2)}, {}),
    (TREES, {"bitset_bounds": i32(1, 1)}, {}),
    (TREES, {"bitset_bounds": i32()}, {}),
    (TREES, {"bitset_bounds": i32(0, 5, 1)}, {}),
    (TREES, {"bitset_words": np.zeros(0, dtype=np.uint32)}, {}),
    (TREES, {"leaf": np.array([0.1, np.inf, 0.3, 0.4])}, {}),
    (TREES, {"leaf": np.array([0.1, 1e300, 0.3, 0.4])}, {}),
    (TREES, {"leaf": np.zeros(0)}, {}),
    (TREES, {"leaf": np.zeros(0), "left": i32(), "right": i32()}, {}),
    (TREES, {"extra": np.zeros(1)}, {}),
    (TREES, {}, {"numeric": 1}),
    (TREES, {}, {"numeric": -1}),
    (TREES, {}, {"numeric": True}),
    (TREES, {}, {"numeric": 10**400}),
    (TREES, {}, {"numeric": "2"}),
    (TREES, {}, {"sigmoid": 0.0}),
    (TREES, {}, {"sigmoid": float("nan")}),
    (TREES, {}, {"sigmoid": float("inf")}),
    (TREES, {}, {"sigmoid": 10**400}),
    (TREES, {}, {"sigmoid": None}),
    (TREES, {}, {"vocabularies": []}),
    (TREES, {}, {"more": 1}),
    (TREES, {"right": i32(2, 2, -4)}, {}),  # two parents
    (TREES, {"roots": i32(0, 0)}, {}),
    (TREES, {"missing_type": u8(2, 0, 3)}, {}),  # the code of a second category
    (TREES, {}, {"link": "softmax"}),
    (TREES, {}, {"link": ["logistic"]}),
    (TREES, {}, {"classes": 2}),
    (TREES, {}, {"classes": 10**9, "link": "softmax"}),
    (SOFTMAX, {"bias": np.zeros(2)}, {}),
    (SOFTMAX, {}, {"classes": 2}),
    (SOFTMAX, {}, {"link": "identity"}),
    (CONSTANT, {}, {"task": "ranking"}),
    (CONSTANT, {"prior": np.zeros(1001)}, {"task": "multiclass"}),
    (CONSTANT, {"prior": np.zeros(0)}, {"task": "multiclass"}),
    (LINEAR, {"mean": np.zeros(3)}, {}),
    (LINEAR, {"mean": np.array([np.nan, 0.0])}, {}),
    (LINEAR, {"scale": np.array([-1.0, 1.0])}, {}),
    (LINEAR, {"scale": np.array([5e-324, 1.0])}, {}),  # weight over scale overflows
    (LINEAR, {"weights": np.zeros((2, 1))}, {}),
    (LINEAR, {"weights": np.zeros(2, dtype=np.float32)}, {}),
    (LINEAR, {"level_weights": np.zeros(1)}, {}),
    (LINEAR, {"level_weights": np.array([1e300, 0.0])}, {}),
    (LINEAR, {"bias": np.zeros(0)}, {}),
    (LINEAR, {"bias": np.array([-1e300])}, {}),
    (LINEAR, {}, {"vocabularies": None}),
    (LINEAR, {}, {"vocabularies": ["ab"]}),
    (LINEAR, {}, {"vocabularies": [["a", 1]]}),
    (LINEAR, {}, {"vocabularies": [["b", "a"]]}),
    (LINEAR, {}, {"vocabularies": [["a", "a"]]}),
    (LINEAR, {}, {"vocabularies": [["a", "b", "c"]]}),
    (LINEAR, {}, {"vocabularies": [["a", "b" * 20_000]]}),
    (LINEAR, {}, {"vocabularies": [[str(i) for i in range(5000)]]}),
    (LINEAR, {}, {"code": "import os"}),
    (CONSTANT, {"prior": np.array([1.5])}, {}),
    (CONSTANT, {"prior": np.array([np.nan])}, {}),
    (CONSTANT, {"prior": np.zeros(2)}, {}),
]


def learnt_mutations() -> list[tuple[str, str, Any]]:
    """Of learnt trees: case, array, and what is written to its first element (or all of it)."""
    tree, forest = "tree nba", "forest"
    alternates, regressor = "adaptive with alternates", "regressor adaptive"
    return [
        (tree, "weights", np.zeros(0)),
        (tree, "weights", np.array([0.5])),  # not normalised
        (forest, "weights", -1.0),
        (forest, "weights", np.nan),
        (forest, "weights", 1e300),
        (forest, "weights", np.ones(50)),
        (tree, "base", 2.0),
        (tree, "base", np.nan),
        (tree, "base", np.zeros(3)),
        (tree, "bayes", 2),
        (alternates, "error", 1.5),
        (alternates, "error", 1e-200),
        (tree, "error", 0.5),  # not normalised
        (tree, "observers", 1),
        (tree, "observers", i32(0)),
        (tree, "observed", 5),
        (tree, "observed", -1),
        (tree, "nominal", 2),
        (tree, "mean", np.inf),
        (tree, "spread", 0.0),
        (tree, "spread", 1.0),
        (tree, "spread", -np.inf),
        (tree, "offset", -np.inf),
        (tree, "offset", np.nan),
        (tree, "level_bounds", 1),
        (tree, "levels", -1),
        (tree, "levels", 5000),
        (tree, "level_logs", 0.5),
        (alternates, "also", 0),  # a member
        (alternates, "also", 5000),
        (alternates, "also", -1),
        (alternates, "also_bounds", 1),
        (regressor, "model", 10**6),
        (regressor, "model", -2),
        (regressor, "scale", -1.0),
        (regressor, "slope", np.nan),
        (regressor, "slope", 1e301),
        (regressor, "bias", np.zeros(0)),
        (regressor, "value", np.inf),
        (regressor, "value", np.zeros(1)),
        ("forest regressor mean", "weights", 2.0),
    ]


@pytest.mark.parametrize(("name", "array", "value"), learnt_mutations())
def test_a_mutation_of_a_learnt_tree_is_an_artifact_error(
    name: str, array: str, value: Any
) -> None:
    model = case(name).trained
    changed = model.arrays[array].copy()
    if isinstance(value, np.ndarray):
        changed = value
    else:
        changed[0] = value
    with pytest.raises(ArtifactError):
        registry.load(model.family, {**model.arrays, array: changed}, model.attributes)


def test_alternates_that_ask_too_many_others_are_an_artifact_error() -> None:
    """Each of 12 alternates asks the next twice: a row would end in thousands of leaves."""
    count = 12
    arrays = {
        **case("tree of one leaf").trained.arrays,
        "roots": np.full(count, -1, dtype=np.int32) - np.arange(count, dtype=np.int32),
        "base": np.full(count * 3, 0.3),
        "bayes": np.zeros(count, dtype=np.int32),
        "error": np.zeros(count),
        "observers": np.zeros(count + 1, dtype=np.int32),
        "observed": i32(),
        "nominal": i32(),
        "mean": np.zeros(0),
        "spread": np.zeros(0),
        "offset": np.zeros(0),
        "level_bounds": i32(0),
        "levels": i32(),
        "level_logs": np.zeros(0),
        "also": np.repeat(np.arange(1, count, dtype=np.int32), 2),
        "also_bounds": np.append(np.arange(count) * 2, 2 * count - 2).astype(np.int32),
    }
    attributes = {**case("tree of one leaf").trained.attributes, "normalise": True}
    with pytest.raises(ArtifactError, match="more than 1000 leaves"):
        registry.load("hoeffding_classifier", arrays, attributes)
    few = {
        **arrays,
        "also": arrays["also"][:6],
        "also_bounds": np.minimum(arrays["also_bounds"], 6),
    }
    model = registry.load("hoeffding_classifier", few, attributes)
    np.testing.assert_allclose(model.score(LEARNT_ROWS), 1 / 3)


def chains(count: int, depth: int, leaf: int) -> dict[str, Any]:
    """The nodes of so many trees that send a row through ``depth`` of them to this leaf."""
    nodes = count * depth
    left = np.arange(1, nodes + 1, dtype=np.int32)
    left[depth - 1 :: depth] = ~leaf
    return {
        "feature": np.zeros(nodes, dtype=np.int32),
        "threshold": np.full(nodes, np.inf),
        "left": left,
        "right": np.full(nodes, ~leaf, dtype=np.int32),
        "default_left": np.ones(nodes, dtype=np.uint8),
        "missing_type": np.full(nodes, 2, dtype=np.uint8),
        "bitset": np.full(nodes, -1, dtype=np.int32),
        "bitset_bounds": i32(0),
        "bitset_words": np.zeros(0, dtype=np.uint32),
    }


def asking(members: int, alternates: int, depth: int) -> dict[str, Any]:
    """A forest of members that are all the same leaf, which asks ``alternates`` so deep."""
    roots = np.append(np.full(members, -1), np.arange(alternates) * depth)
    return {
        **chains(alternates, depth, leaf=1),
        "roots": roots.astype(np.int32),
        "weights": np.full(members, 1.0 / members),
        "also": np.arange(members, members + alternates, dtype=np.int32),
        "also_bounds": i32(0, alternates, alternates),
    }


def deep(members: int, depth: int) -> dict[str, Any]:
    """A forest of members that are themselves deep, and ask nothing."""
    return {
        **chains(members, depth, leaf=1),
        "roots": np.arange(members, dtype=np.int32) * depth,
        "weights": np.full(members, 1.0 / members),
        "also": i32(),
        "also_bounds": i32(0, 0, 0),
    }


def classifier(forest: dict[str, Any], classes: int = 2, observers: int = 0) -> TrainedModel:
    """``observers``: numbers that the first of two leaves asks by naive Bayes, 0: by none."""
    size = observers * classes
    bayes = int(observers > 0)
    leaves = {
        "base": np.repeat([-1.0 if bayes else 1.0 / classes, 1.0 / classes], classes),
        "bayes": i32(bayes, 0),
        "error": np.zeros(2),
        "observers": i32(0, observers, observers),
        "observed": np.arange(observers, dtype=np.int32),
        "nominal": np.zeros(observers, dtype=np.int32),
        "mean": np.zeros(size),
        "spread": np.full(size, -2.0),
        "offset": np.zeros(size),
        "level_bounds": np.zeros(observers + 1, dtype=np.int32),
        "levels": i32(),
        "level_logs": np.zeros(0),
    }
    attributes = {
        "vocabularies": [],
        "numeric": max(1, observers),
        "classes": classes,
        "binary": False,
        "normalise": True,
    }
    return TrainedModel("hoeffding_classifier", {**forest, **leaves}, attributes)


def regressor(forest: dict[str, Any], numbers: int = 0) -> TrainedModel:
    """``numbers``: of which the first of two leaves has a linear model, 0: it has none."""
    models = int(numbers > 0)
    leaves = {
        "value": np.ones(2),
        "model": i32(models - 1, -1),
        "mean": np.zeros(numbers),
        "scale": np.ones(numbers),
        "slope": np.ones(numbers),
        "bias": np.zeros(models),
    }
    attributes = {"vocabularies": [], "numeric": max(1, numbers), "median": False}
    return TrainedModel("hoeffding_regressor", {**forest, **leaves}, attributes)


def boosted(count: int, depth: int) -> TrainedModel:
    roots = np.arange(count, dtype=np.int32) * depth
    arrays = {**chains(count, depth, leaf=0), "roots": roots, "leaf": np.ones(1)}
    return TrainedModel("trees", arrays, {**TREES.attributes, "vocabularies": [], "numeric": 1})


MANY = asking(5000, 0, 1)
"""Members that are the same leaf; how long that keeps a row is up to the family."""
LONG: dict[str, tuple[Callable[[], TrainedModel], int]] = {
    "classifier of few members and many alternates": (
        lambda: classifier(asking(3, 900, 500)),
        3 * (2 + 900 * (4 * 500 + 2)),
    ),
    "classifier of many members and few alternates": (
        lambda: classifier(asking(2000, 10, 1000)),
        2000 * (2 + 10 * (4 * 1000 + 2)),
    ),
    "classifier of deep members": (lambda: classifier(deep(4000, 1000)), 4000 * 1002),
    "classifier of many classes": (lambda: classifier(MANY, classes=1000), 5000 * 1000),
    "classifier of many numbers": (
        lambda: classifier(MANY, observers=500),
        5000 * 2 * (1 + 4 + 500),
    ),
    "regressor of few members and many alternates": (
        lambda: regressor(asking(3, 900, 500)),
        3 * (1 + 900 * (4 * 500 + 1)),
    ),
    "regressor of many members and few alternates": (
        lambda: regressor(asking(2000, 10, 1000)),
        2000 * (1 + 10 * (4 * 1000 + 1)),
    ),
    "regressor of deep members": (lambda: regressor(deep(4000, 1000)), 4000 * 1001),
    "regressor of many linear models": (
        lambda: regressor(MANY, numbers=500),
        5000 * (1 + 2 * 500),
    ),
    "boosted": (lambda: boosted(4000, 1000), 4000 * 1001),
}
"""Artifacts of which no tree by itself is too deep or asks too much, and the steps of one row."""


@pytest.mark.parametrize("name", LONG)
def test_a_row_that_would_take_too_long_is_an_artifact_error(name: str) -> None:
    make, steps = LONG[name]
    with pytest.raises(ArtifactError, match=f"may take {steps} steps .* at most {walk.MAX_STEPS}$"):
        registry.freeze(make())


@pytest.mark.parametrize(
    ("model", "steps"),
    [
        # Each member: its own leaf, and two alternates of three nodes and a leaf.
        (classifier(asking(2, 2, 3)), 2 * (2 + 2 * (4 * 3 + 2))),
        (regressor(asking(2, 2, 3)), 2 * (1 + 2 * (4 * 3 + 1))),
        (boosted(7, 3), 7 * 4),
    ],
    ids=lambda value: getattr(value, "family", ""),
)
def test_as_many_steps_as_are_allowed_are_good(
    model: TrainedModel, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "MAX_STEPS", steps)
    numbers = np.zeros((1, 1))
    scores = registry.freeze(model).score(
        Features(numbers, Categories(np.zeros((1, 0), np.int32), ()))
    )
    assert np.isfinite(scores).all()
    monkeypatch.setattr(walk, "MAX_STEPS", steps - 1)
    with pytest.raises(ArtifactError, match=f"may take {steps} steps"):
        registry.freeze(model)


@pytest.mark.parametrize(("model", "arrays", "attributes"), MUTATIONS)
def test_a_mutation_is_an_artifact_error(
    model: TrainedModel, arrays: dict[str, Any], attributes: dict[str, Any]
) -> None:
    with pytest.raises(ArtifactError):
        load(model, arrays, attributes)


@pytest.mark.parametrize("model", [TREES, LINEAR, SOFTMAX, CONSTANT], ids=lambda m: m.family)
def test_an_absent_array_is_an_artifact_error(model: TrainedModel) -> None:
    for name in model.arrays:
        rest = {key: value for key, value in model.arrays.items() if key != name}
        with pytest.raises(ArtifactError, match="arrays must be"):
            registry.load(model.family, rest, model.attributes)


def test_an_unknown_family_names_the_known_ones() -> None:
    with pytest.raises(
        ArtifactError, match="constant, hoeffding_classifier, hoeffding_regressor, linear, trees"
    ):
        registry.load("os.system", {}, {})


def test_a_chain_of_nodes_is_too_deep() -> None:
    count = 5000
    chain = np.arange(1, count + 1, dtype=np.int32)
    chain[-1] = -1
    node = {
        "feature": np.zeros(count, dtype=np.int32),
        "threshold": np.zeros(count),
        "left": chain,
        "right": np.full(count, -1, dtype=np.int32),
        "default_left": np.zeros(count, dtype=np.uint8),
        "missing_type": np.zeros(count, dtype=np.uint8),
        "bitset": np.full(count, -1, dtype=np.int32),
    }
    with pytest.raises(ArtifactError, match="5000 deep"):
        load(TREES, {**node, "roots": i32(0)}, {})
    with pytest.raises(ArtifactError, match="two parents"):
        load(TREES, {**node, "right": chain, "roots": i32(0)}, {})


def test_rows_of_another_declaration_are_refused() -> None:
    other = Features(ROWS.numeric[:, :1], ROWS.categories)
    for model in (TREES, LINEAR):
        with pytest.raises(ArtifactError, match="another declaration"):
            registry.freeze(model).score(other)


def test_arrays_changed_after_loading_do_not_change_the_model() -> None:
    arrays = {name: value.copy() for name, value in TREES.arrays.items()}
    model = registry.load(TREES.family, arrays, TREES.attributes)
    before = model.score(ROWS)
    for value in arrays.values():
        value.fill(77)
    np.testing.assert_array_equal(model.score(ROWS), before)


@pytest.mark.parametrize("name", ["written", *LEARNT])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_bytes_in_any_array_load_as_an_error_or_score(name: str, data: st.DataObject) -> None:
    written = name == "written"
    rows = ROWS if written else LEARNT_ROWS
    model = (
        data.draw(st.sampled_from([TREES, LINEAR, SOFTMAX, CONSTANT]))
        if written
        else case(name).trained
    )
    arrays = {name: value.copy() for name, value in model.arrays.items()}
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(sorted(arrays)))
        value = arrays[name]
        if np.issubdtype(value.dtype, np.integer):
            info = np.iinfo(value.dtype)
            lowest, highest = max(int(info.min), -8), min(int(info.max), 8)
            elements = st.integers(lowest, highest) | st.integers(int(info.min), int(info.max))
        else:
            elements = st.floats()
        if len(value):
            value[data.draw(st.integers(0, len(value) - 1))] = data.draw(elements)
    try:
        frozen = registry.load(model.family, arrays, model.attributes)
    except ArtifactError:
        return
    scores = frozen.score(rows)
    assert len(scores) == len(rows.numeric)
    assert in_range(model, scores)
    # One row by itself takes another way through the kernels.
    alone = Features(
        rows.numeric[:1], Categories(rows.categories.codes[:1], rows.categories.levels)
    )
    assert frozen.score(alone).tobytes() == scores[:1].tobytes()


@pytest.mark.parametrize("name", LEARNT)
def test_arrays_cut_short_or_made_longer_load_as_an_error_or_score(name: str) -> None:
    model = case(name).trained
    for array, value in model.arrays.items():
        for changed in (value[:-1], value[:0], np.append(value, value[-1:])):
            try:
                frozen = registry.load(
                    model.family, {**model.arrays, array: changed}, model.attributes
                )
            except ArtifactError:
                continue
            assert in_range(model, frozen.score(LEARNT_ROWS))
