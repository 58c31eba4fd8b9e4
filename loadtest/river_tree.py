"""River's Hoeffding tree, the same in every process, and the frozen arrays of it."""

from __future__ import annotations

from typing import Any

from driftloop.models.encoding import Encoding
from driftloop.models.ports import BINARY, TrainedModel
from driftloop.models.river_classifier import freeze_classifier
from driftloop.models.river_rows import numeric_name
from loadtest.stream import Stream

_ROWS = 8000


def trained(width: int, name: str) -> Any:
    """With the usual leaves (naive Bayes where it does better), and splits made sooner than by
    default, so that it has some fifty leaves; features are called ``name`` and their number."""
    from river import tree

    model = tree.HoeffdingTreeClassifier(grace_period=50, delta=1e-2, tau=0.1)
    names = [f"{name}{k}" for k in range(width)]
    rows = Stream(width).rows(0, _ROWS)
    for row, label in zip(rows.numbers.tolist(), rows.labels.tolist(), strict=True):
        model.learn_one(dict(zip(names, row, strict=True)), int(label))
    return model


def frozen(width: int) -> TrainedModel:
    """For an artifact."""
    model = trained(width, numeric_name(0).rstrip("0"))
    return freeze_classifier(model, Encoding(()), width, BINARY)
