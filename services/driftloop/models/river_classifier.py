"""Freezes River's ``HoeffdingTreeClassifier``, ``HoeffdingAdaptiveTreeClassifier`` and
``ARFClassifier`` into the family ``hoeffding_classifier``.

They must have been trained on rows of ``models.river_rows``, with labels 0 to C - 1.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np

from driftloop.kernel.codec.blocks import F64
from driftloop.kernel.declaration import Task
from driftloop.kernel.errors import TrainingError
from driftloop.models import hoeffding_classifier
from driftloop.models.encoding import Encoding
from driftloop.models.ports import Target, TrainedModel
from driftloop.models.river_rows import column_of
from driftloop.models.river_structure import freeze_trees


def freeze_classifier(model: Any, encoding: Encoding, numeric: int, target: Target) -> TrainedModel:
    """Raises ``TrainingError``."""
    # Here, not above: a process that only scores does not load River.
    from river import forest, tree

    if isinstance(model, forest.ARFClassifier):
        members, normalise = list(model), True
        weights = [_vote(model, i) for i in range(len(members))]
    else:
        members, weights = [model], [1.0]
        normalise = isinstance(model, tree.HoeffdingAdaptiveTreeClassifier)
    if not members:
        raise TrainingError("a forest without trees cannot be frozen")
    leaves = _Leaves(members[0], target.classes)
    roots = [member._root for member in members]
    arrays = freeze_trees(roots, encoding, weights, leaves.take)
    return TrainedModel(
        hoeffding_classifier.FAMILY,
        {**arrays, **leaves.arrays()},
        {
            "vocabularies": [list(vocabulary) for vocabulary in encoding.vocabularies],
            "numeric": numeric,
            "classes": target.classes,
            "binary": target.task is Task.BINARY,
            "normalise": normalise,
        },
    )


def _vote(model: Any, member: int) -> float:
    metric = float(model._metrics[member].get())
    return metric if not model.disable_weighted_vote and metric > 0.0 else 1.0


class _Leaves:
    """Collects leaves. ``tree`` has the settings that all of them share."""

    def __init__(self, tree: Any, classes: int) -> None:
        self._tree = tree
        self._classes = classes
        self._base: list[F64] = []
        self._bayes: list[int] = []
        self._error: list[float] = []
        self._observers = [0]
        self._observed: list[int] = []
        self._nominal: list[int] = []
        self._gaussians: list[F64] = []
        """Per leaf, shape (3, C, observers): mean, spread, offset."""
        self._level_bounds = [0]
        self._levels: list[int] = []
        self._logs: list[list[float]] = []

    def take(self, leaf: Any) -> int:
        stats = leaf.stats if leaf is not None and leaf.stats else {}
        total = sum(stats.values())
        bayes = total != 0 and self._is_bayes(leaf)
        base = np.full(self._classes, -math.inf if bayes else 0.0)
        for c, weight in stats.items():
            if bayes:
                base[c] = math.log(weight / total) if weight > 0 else 0.0
            else:
                base[c] = weight * (1 / total) if total != 0 else 0.0
        self._base.append(base)
        self._bayes.append(int(bayes))
        # Only an adaptive tree's leaves have one.
        error = getattr(leaf, "_mean_error", None)
        self._error.append(float(error.get()) if error is not None else 0.0)
        if bayes:
            self._observe(leaf, {c for c, weight in stats.items() if weight > 0})
        self._observers.append(len(self._observed))
        return len(self._bayes) - 1

    def _is_bayes(self, leaf: Any) -> bool:
        from river.tree.nodes import hatc_nodes, htc_nodes

        if not leaf.is_active():
            return False
        if isinstance(leaf, hatc_nodes.AdaLeafClassifier):
            kind = self._tree.leaf_prediction
        elif isinstance(leaf, htc_nodes.LeafNaiveBayesAdaptive):
            kind = "nba"
        else:
            kind = "nb" if isinstance(leaf, htc_nodes.LeafNaiveBayes) else "mc"
        if kind == "nb":
            return bool(leaf.total_weight >= self._tree.nb_threshold)
        return kind == "nba" and bool(leaf._nb_correct_weight >= leaf._mc_correct_weight)

    def _observe(self, leaf: Any, classes: set[int]) -> None:
        from river.tree.splitter import GaussianSplitter
        from river.tree.splitter.nominal_splitter_classif import NominalSplitterClassif

        gaussians = np.empty((3, self._classes, len(leaf.splitters)))
        gaussians[:] = np.array([0.0, -1.0, math.inf]).reshape(3, 1, 1)
        for i, (name, splitter) in enumerate(leaf.splitters.items()):
            nominal, column = column_of(name)
            self._observed.append(column)
            self._nominal.append(int(nominal))
            if isinstance(splitter, NominalSplitterClassif) and nominal:
                gaussians[2, list(classes), i] = 0.0
                self._nominal_observer(splitter)
            elif isinstance(splitter, GaussianSplitter) and not nominal:
                for c in classes & set(splitter._att_dist_per_class):
                    gaussians[:, c, i] = _gaussian(splitter._att_dist_per_class[c])
            else:
                raise TrainingError(
                    f"an observer of type {type(splitter).__name__} cannot be frozen"
                )
            self._level_bounds.append(len(self._levels))
        self._gaussians.append(gaussians)

    def _nominal_observer(self, splitter: Any) -> None:
        counts = splitter._att_dist_per_class
        totals = {c: sum(levels.values()) for c, levels in counts.items()}
        for level in sorted({level for levels in counts.values() for level in levels}):
            self._levels.append(level)
            row = [0.0] * self._classes
            for c, levels in counts.items():
                share = levels.get(level, 0.0) / totals[c] if totals[c] else 0.0
                row[c] = math.log(share) if share > 0 else 0.0
            self._logs.append(row)

    def arrays(self) -> dict[str, Any]:
        parts = [part.reshape(3, -1) for part in self._gaussians]
        mean, spread, offset = np.concatenate([np.empty((3, 0)), *parts], axis=1)
        return {
            "base": np.concatenate(self._base),
            "bayes": np.array(self._bayes, dtype=np.int32),
            "error": np.array(self._error, dtype=np.float64),
            "observers": np.array(self._observers, dtype=np.int32),
            "observed": np.array(self._observed, dtype=np.int32),
            "nominal": np.array(self._nominal, dtype=np.int32),
            "mean": np.ascontiguousarray(mean),
            "spread": np.ascontiguousarray(spread),
            "offset": np.ascontiguousarray(offset),
            "level_bounds": np.array(self._level_bounds, dtype=np.int32),
            "levels": np.array(self._levels, dtype=np.int32),
            "level_logs": np.array(self._logs, dtype=np.float64).reshape(-1),
        }


def _gaussian(distribution: Any) -> tuple[float, float, float]:
    """Mean, -2 variances, half the logarithm of the variance; River asks no distribution whose
    variance is 0 or infinite."""
    variance = distribution._var.get()
    mean = distribution._var.mean.get()
    if not (0.0 < variance < math.inf and math.isfinite(mean)):
        return 0.0, -1.0, math.inf
    return mean, max(-2.0 * variance, -sys.float_info.max), 0.5 * math.log(variance)
