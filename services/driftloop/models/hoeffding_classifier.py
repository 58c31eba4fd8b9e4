"""Frozen Hoeffding trees that classify: one, an adaptive one with alternates, or a forest.

Arrays beside those of ``models.forest``, for L leaves, C classes, O observers in all leaves:

- ``base`` float64 (L * C): of a plain leaf its distribution; of a naive Bayes leaf the log priors,
  -inf for a class it does not know
- ``bayes`` int32 (L,): 1 for a naive Bayes leaf
- ``error`` float64 (L,): an adaptive tree's distributions are divided by its square; 0: not
- ``observers`` int32 (L + 1,): the observers of leaf i are [observers[i], observers[i + 1])
- ``observed`` int32 (O,): the numeric or categorical feature; ``nominal`` int32 (O,): which
- ``mean``, ``spread``, ``offset`` float64 (O * C): of a leaf's observers class by class. Of a value
  x the log likelihood is (x - mean)^2 / spread - log(2 pi) / 2 - offset, so ``spread`` is -2 and
  ``offset`` half the logarithm of the variance (ddof 1); inf: the class does not ask the observer
- ``level_bounds`` int32 (O + 1,), ``levels`` int32, ``level_logs`` float64 (levels * C): what
  nominal observers know, the codes ascending, one past the vocabulary for unseen categories; a log
  probability of 0 says nothing

Attributes: ``vocabularies``; ``numeric``; ``classes``, C; ``binary``, whether only the probability
of class 1 is the score; ``normalise``, whether the sum over the members is.

The rules are River's (``tree.HoeffdingTreeClassifier``, ``tree.HoeffdingAdaptiveTreeClassifier``,
``forest.ARFClassifier``): Hulten, Spencer, Domingos, KDD 2001; Bifet and Gavalda, IDA 2009; Gomes
et al., Machine Learning 106, 2017. Where River's arithmetic overflows and raises, an observer says
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from driftloop.kernel.codec.blocks import F64, I32, I64, Features
from driftloop.kernel.errors import ArtifactError
from driftloop.models import checks, forest
from driftloop.models.bayes_kernels import classifier_scores, quick_layout
from driftloop.models.encoding import MAX_LEVELS, Encoding
from driftloop.models.inputs import inputs

FAMILY = "hoeffding_classifier"
ARRAYS = (
    *forest.ARRAYS, "base", "bayes", "error", "observers", "observed", "nominal", "mean", "spread",
    "offset", "level_bounds", "levels", "level_logs",
)  # fmt: skip
ATTRIBUTES = ("vocabularies", "numeric", "classes", "binary", "normalise")
_LEAST_ERROR = 1e-100


@dataclass(frozen=True, slots=True)
class Observers:
    """What the naive Bayes leaves know."""

    observers: I32
    observed: I32
    nominal: I32
    mean: F64
    spread: F64
    offset: F64
    level_bounds: I32
    levels: I32
    level_logs: F64
    quick: tuple[I32, I32, I32, F64]
    """Of ``bayes_kernels.quick_layout``."""
    widest: int
    """Numeric observers of one leaf, at most."""


@dataclass(frozen=True, slots=True)
class HoeffdingClassifier:
    """See the module."""

    encoding: Encoding
    numeric: int
    forest: forest.Forest
    sizes: I32
    """Of the vocabularies."""
    base: F64
    """Shape (L, C)."""
    bayes: I32
    error: F64
    known: Observers
    normalise: bool
    binary: bool

    def score(self, features: Features) -> F64:
        """Shape (n, C), or (n, 1) for a binary task."""
        trees, walked, known = self.forest, self.forest.walk, self.known
        scores: F64 = classifier_scores(
            *inputs(features, self.numeric, self.encoding),
            walked.nodes,
            walked.words,
            walked.columns,
            walked.trees,
            trees.by_depth,
            walked.leaf_of,
            trees.weights,
            trees.also,
            trees.also_bounds,
            self.sizes,
            self.base,
            self.bayes,
            self.error,
            known.observers,
            known.observed,
            known.nominal,
            known.mean,
            known.spread,
            known.offset,
            known.level_bounds,
            known.levels,
            known.level_logs,
            *known.quick,
            known.widest,
            self.normalise,
            self.binary,
        )
        return scores


def load(
    arrays: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, Any]
) -> HoeffdingClassifier:
    """Raises ``ArtifactError``."""
    checks.names("arrays", arrays, ARRAYS)
    checks.names("attributes", attributes, ATTRIBUTES)
    encoding = Encoding(checks.vocabularies(attributes, MAX_LEVELS))
    numeric = checks.integer(attributes, "numeric", 0, checks.MAX_COLUMNS)
    classes = checks.integer(attributes, "classes", 2, checks.MAX_CLASSES)
    binary, normalise = checks.flag(attributes, "binary"), checks.flag(attributes, "normalise")
    if binary and classes != 2:
        raise ArtifactError(f"a binary model of {classes} classes")
    error = checks.array(arrays, "error", np.float64)
    leaves = len(error)
    if ((error != 0.0) & ((error < _LEAST_ERROR) | (error > 1.0))).any():
        raise ArtifactError(f"array 'error' must be 0 or in [{_LEAST_ERROR:g}, 1]")
    bayes = checks.array(arrays, "bayes", np.int32, leaves)
    checks.within("bayes", bayes, 0, 1)
    known = _observers(arrays, numeric, encoding, classes, leaves)
    answers = _answers(bayes, known, classes)
    trees = forest.load(arrays, numeric, len(encoding.vocabularies), answers)
    base = checks.array(arrays, "base", np.float64, leaves * classes, infinite=True)
    base = base.reshape(leaves, classes)
    plain = base[bayes == 0]
    if ((plain < 0.0) | (plain > 1.0)).any():
        raise ArtifactError("array 'base': a distribution must be in [0, 1]")
    priors = base[bayes == 1]
    if (priors > 0.0).any() or (priors == -np.inf).all(axis=1).any():
        raise ArtifactError("array 'base': log priors must be at most 0, and not all -inf")
    alone = len(trees.weights) == 1 and trees.weights[0] == 1.0 and not len(trees.also)
    if not normalise and (not alone or error.any()):
        raise ArtifactError("several distributions are added, but not normalised")
    return HoeffdingClassifier(
        encoding,
        numeric,
        trees,
        np.array(encoding.sizes(), dtype=np.int32),
        base,
        bayes,
        error,
        known,
        normalise,
        binary,
    )


def _answers(bayes: I32, known: Observers, classes: int) -> I64:
    """How many steps of a walk each leaf's answer takes as long as: for each class one; in a naive
    Bayes leaf one for each number, four for each category, which is searched for, and four to make
    probabilities of it all."""
    nominal = np.concatenate(([0], np.cumsum(known.nominal, dtype=np.int64)))
    asked = np.diff(known.observers.astype(np.int64)) + 3 * np.diff(nominal[known.observers])
    answers: I64 = classes * (1 + bayes * (4 + asked))
    return answers


def _observers(
    arrays: Mapping[str, npt.NDArray[Any]],
    numeric: int,
    encoding: Encoding,
    classes: int,
    leaves: int,
) -> Observers:
    sizes = np.array(encoding.sizes(), dtype=np.int64)
    observed = checks.array(arrays, "observed", np.int32)
    count = len(observed)
    nominal = checks.array(arrays, "nominal", np.int32, count)
    checks.within("nominal", nominal, 0, 1)
    checks.within("observed", observed[nominal == 0], 0, numeric - 1)
    checks.within("observed", observed[nominal == 1], 0, len(sizes) - 1)
    observers = checks.bounds(arrays, "observers", count, leaves)
    mean = checks.array(arrays, "mean", np.float64, count * classes)
    spread = checks.array(arrays, "spread", np.float64, count * classes)
    offset = checks.array(arrays, "offset", np.float64, count * classes, infinite=True)
    if (spread >= 0.0).any():
        raise ArtifactError("array 'spread' must be below 0: it is -2 variances")
    if (offset == -np.inf).any():
        raise ArtifactError("array 'offset' must not be -inf")
    levels = checks.array(arrays, "levels", np.int32)
    bounds = checks.bounds(arrays, "level_bounds", len(levels), count)
    logs = checks.array(arrays, "level_logs", np.float64, len(levels) * classes)
    if (logs > 0.0).any():
        raise ArtifactError("array 'level_logs' must be at most 0")
    owner = np.repeat(np.arange(count), np.diff(bounds))
    if (nominal[owner] == 0).any():
        raise ArtifactError("array 'level_bounds': a numeric observer has levels")
    if (levels < 0).any() or (levels > sizes[observed[owner]]).any():
        raise ArtifactError("array 'levels': a code is outside its vocabulary")
    if ((np.diff(levels) <= 0) & (np.diff(owner) == 0)).any():
        raise ArtifactError("array 'levels' must ascend for each observer")
    quick = quick_layout(classes, observers, observed, nominal, mean, spread, offset)
    return Observers(
        observers, observed, nominal, mean, spread, offset, bounds, levels, logs, quick,
        int(np.diff(quick[0]).max(initial=0)),
    )  # fmt: skip
