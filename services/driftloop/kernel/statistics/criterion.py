"""How rows are judged, by task: what windows and profiles count of scores, losses and errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from driftloop.kernel.codec.blocks import F64, Categories
from driftloop.kernel.declaration import Declaration, Task
from driftloop.kernel.statistics.layout import PREDICTED
from driftloop.kernel.statistics.losses import (
    LOSS_BOUND,
    bounded_class_loss,
    bounded_error,
    bounded_log_loss,
)

Bools = npt.NDArray[np.bool_]

_BINARY_CLASSES = 2


@dataclass(frozen=True, slots=True)
class Judged:
    """n rows, each of shape (n,)."""

    loss: F64
    """In [0, bound of the criterion]."""
    wrong: Bools
    """Whether the most probable class is not the label; never of a regression."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """Of one declaration. ``scores`` have the shape (n, C): binary, C = 1, the probability of class
    1; multiclass, the probabilities of the C classes; regression, C = 1, the value. ``labels`` have
    the shape (n,): 0 or 1, the class's index, or any number."""

    task: Task
    classes: tuple[str, ...] = ()
    """Names, of a multiclass task."""
    bound: float = LOSS_BOUND
    """Largest loss of a row: nats; of a regression the label's unit."""

    @classmethod
    def of(cls, declaration: Declaration) -> Criterion:
        regression = declaration.task is Task.REGRESSION
        bound = declaration.error_bound if regression else LOSS_BOUND
        return cls(declaration.task, declaration.classes, bound)

    @property
    def label_classes(self) -> int:
        """How many classes labels have; 0 of a regression."""
        match self.task:
            case Task.BINARY:
                return _BINARY_CLASSES
            case Task.MULTICLASS:
                return len(self.classes)
            case Task.REGRESSION:
                return 0

    @property
    def categorical(self) -> tuple[str, ...]:
        """Names of the watched categorical columns that follow the features."""
        return (PREDICTED,) if self.task is Task.MULTICLASS else ()

    def watched(self, scores: F64) -> F64:
        """The numeric column ``score``, shape (n, 1), C-contiguous: of a multiclass task the
        probability of the most probable class, else the score itself."""
        if self.task is Task.MULTICLASS:
            return np.asarray(scores.max(axis=1, keepdims=True), dtype=np.float64)
        return np.ascontiguousarray(scores[:, :1])

    def predicted(self, scores: F64) -> Categories:
        """The columns of :attr:`categorical`: the most probable class, the first of equally
        probable ones; missing where a score is not finite."""
        if self.task is not Task.MULTICLASS:
            return Categories(np.zeros((len(scores), 0), dtype=np.int32), ())
        codes = np.where(np.isfinite(scores).all(axis=1), scores.argmax(axis=1), -1)
        return Categories(codes.astype(np.int32)[:, None], (self.classes,))

    def usable(self, scores: F64, labels: F64) -> Bools:
        """Which rows can be judged, shape (n,)."""
        finite = np.isfinite(scores).all(axis=1) & np.isfinite(labels)
        if self.task is not Task.MULTICLASS:
            return np.asarray(finite, dtype=np.bool_)
        known = (labels >= 0.0) & (labels < len(self.classes)) & (np.floor(labels) == labels)
        return np.asarray(finite & known, dtype=np.bool_)

    def judge(self, scores: F64, labels: F64) -> Judged:
        """Of usable rows."""
        match self.task:
            case Task.BINARY:
                score = scores[:, 0]
                wrong = (score > 0.5) != (labels > 0.5)
                return Judged(bounded_log_loss(score, labels), wrong)
            case Task.MULTICLASS:
                wrong = scores.argmax(axis=1) != labels
                return Judged(bounded_class_loss(scores, labels), wrong)
            case Task.REGRESSION:
                none = np.zeros(len(labels), dtype=np.bool_)
                return Judged(bounded_error(scores[:, 0], labels, self.bound), none)


BINARY = Criterion(Task.BINARY)
