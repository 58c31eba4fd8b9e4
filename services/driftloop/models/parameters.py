"""The trainers by name, and the parameters each takes. Imports no compiled code: the check of a
declaration needs only this."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from driftloop.kernel.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Parameter:
    """A number a trainer takes."""

    name: str
    default: float
    lowest: float
    highest: float
    whole: bool
    about: str


_RIVER_LOGISTIC = (
    Parameter("learning_rate", 0.1, 1e-6, 10.0, False, "step of the first row"),
    Parameter("power", 0.4, 0.0, 1.0, False, "step of row t: learning_rate / (t + 1) ^ power"),
    Parameter("intercept_learning_rate", 0.01, 0.0, 10.0, False, "constant step of the bias"),
    Parameter("l2", 0.0, 0.0, 10.0, False, "penalty on the squared weights"),
    Parameter("epochs", 3, 1, 100, True, "passes over the rows"),
    Parameter("average", 1, 0, 1, True, "1: mean of the weights over the last pass; 0: the last"),
)
_LIGHTGBM = (
    Parameter("trees", 200, 1, 5000, True, "boosting rounds"),
    Parameter("leaves", 31, 2, 1024, True, "leaves per tree"),
    Parameter("learning_rate", 0.05, 1e-4, 1.0, False, "shrinkage of each tree"),
    Parameter("min_leaf", 20, 1, 1_000_000, True, "least rows in a leaf"),
    Parameter("depth", 0, 0, 100, True, "largest depth of a tree; 0: any"),
    Parameter("l2", 0.0, 0.0, 1e6, False, "penalty on the squared leaf values"),
    Parameter("feature_share", 1.0, 0.01, 1.0, False, "share of the features each tree may use"),
    Parameter("min_level_rows", 100, 1, 1_000_000, True, "least rows of a group of levels"),
    Parameter("level_smoothing", 10.0, 0.0, 1e6, False, "pulls rare levels towards the mean"),
    Parameter("median", 0, 0, 1, True, "1: a regression learns the median, 0: the mean"),
)
_LEAF = Parameter(
    "leaf", 2, 0, 2, True, "what a leaf answers; 0: majority or mean, 1: a model, 2: the better"
)
_DEPTH = Parameter("depth", 0, 0, 100, True, "largest depth of a tree; 0: 60")
_BINARY_SPLIT = Parameter("binary_split", 0, 0, 1, True, "1: no branches of more than two ways")
_TAU = Parameter("tau", 0.05, 0.0, 1.0, False, "bound below which equal splits are decided")
_HOEFFDING_TREE = (
    Parameter("grace_period", 200, 1, 1_000_000, True, "rows of a leaf between tries to split it"),
    Parameter("delta", 1e-7, 1e-15, 0.5, False, "chance that a split is not the best"),
    _TAU,
    _LEAF,
    _DEPTH,
    _BINARY_SPLIT,
)
_ADAPTIVE_TREE = (
    *_HOEFFDING_TREE,
    Parameter("drift_window", 300, 1, 1_000_000, True, "rows before an alternate can take over"),
)
_ADAPTIVE_FOREST = (
    Parameter("trees", 10, 1, 200, True, "members"),
    Parameter("features", 0, 0, 1000, True, "features tried at a split; 0: the square root of all"),
    Parameter("resampling", 6, 1, 20, True, "mean number of times a member learns a row"),
    Parameter("grace_period", 50, 1, 1_000_000, True, "rows of a leaf between tries to split it"),
    Parameter("delta", 0.01, 1e-15, 0.5, False, "chance that a split is not the best"),
    _TAU,
    _LEAF,
    _DEPTH,
    _BINARY_SPLIT,
)
_CONSTANT = (
    Parameter("prior", -1.0, -1.0, 1.0, False, "what to answer (binary); -1: the mean label"),
)

TRAINER_PARAMETERS: Mapping[str, tuple[Parameter, ...]] = MappingProxyType(
    {
        "adaptive_forest": _ADAPTIVE_FOREST,
        "adaptive_tree": _ADAPTIVE_TREE,
        "constant": _CONSTANT,
        "hoeffding_tree": _HOEFFDING_TREE,
        "lightgbm": _LIGHTGBM,
        "river_logistic": _RIVER_LOGISTIC,
    }
)
"""The closed list of trainers. ``models.registry.TRAINERS`` has the same names."""


def check_parameters(trainer: str, parameters: Mapping[str, float]) -> list[str]:
    """What is wrong with a candidate, each with what would be right; empty when nothing is."""
    known = TRAINER_PARAMETERS.get(trainer)
    if known is None:
        return [f"unknown trainer {trainer!r}; known are {', '.join(sorted(TRAINER_PARAMETERS))}"]
    by_name = {parameter.name: parameter for parameter in known}
    problems = []
    for name, value in parameters.items():
        parameter = by_name.get(name)
        if parameter is None:
            problems.append(
                f"{trainer} has no parameter {name!r}; it takes {', '.join(sorted(by_name))}"
            )
        elif isinstance(value, bool) or not isinstance(value, int | float):
            problems.append(f"{trainer}.{name} must be a number, not {value!r:.100}")
        elif not parameter.lowest <= value <= parameter.highest:
            problems.append(
                f"{trainer}.{name} is {value!r:.100}, must be in "
                f"[{parameter.lowest:g}, {parameter.highest:g}] ({parameter.about})"
            )
        elif parameter.whole and math.floor(value) != value:
            problems.append(f"{trainer}.{name} is {value}, must be a whole number")
    return problems


def resolve(trainer: str, parameters: Mapping[str, float]) -> dict[str, float]:
    """All parameters of a trainer, absent ones by default. Raises ``TrainingError``."""
    problems = check_parameters(trainer, parameters)
    if problems:
        raise TrainingError("; ".join(problems))
    defaults = {parameter.name: parameter.default for parameter in TRAINER_PARAMETERS[trainer]}
    return {name: float(parameters.get(name, value)) for name, value in defaults.items()}
