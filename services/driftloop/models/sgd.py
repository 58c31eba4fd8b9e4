"""Trainer ``river_logistic``: River's online logistic regression, compiled.

Does what ``learn_one`` of this River pipeline does, row after row, ``epochs`` times::

    (Select(numeric) | StandardScaler()) + (Select(categorical) | OneHotEncoder(drop_zeros=True))
    | LogisticRegression(SGD(InverseScaling(learning_rate, power)), l2=l2,
                         intercept_lr=intercept_learning_rate)

where a missing value is a key absent from the row's dict. The weights agree to rounding. With
``average`` = 1 the model takes the mean of the weights after each row of the last epoch instead of
the last ones (Polyak and Juditsky, SIAM J. Control Optim. 30(4), 1992): they then do not follow
the last few hundred rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numba import njit

from driftloop.kernel.codec.blocks import F64, I32, I64, Features
from driftloop.kernel.errors import TrainingError
from driftloop.models import linear
from driftloop.models.encoding import Encoding
from driftloop.models.parameters import resolve
from driftloop.models.ports import TrainedModel, native

NAME = "river_logistic"


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def learn(
    numeric: F64,
    codes: I32,
    labels: F64,
    starts: I64,
    learning_rate: float,
    power: float,
    intercept_learning_rate: float,
    l2: float,
    epochs: int,
    average: bool,
) -> tuple[F64, F64, F64, F64, float]:
    """Mean, variance and weights per numeric column, level weights, bias."""
    rows, columns = numeric.shape
    counts = np.zeros(columns)
    mean = np.zeros(columns)
    variance = np.zeros(columns)
    standard = np.zeros(columns)
    weights = np.zeros(columns)
    level_weights = np.zeros(starts[-1])
    bias = 0.0
    # Mean weights without touching every weight on every row: w_mean = w_end - sum(t * step_t) / n,
    # where step_t is the change at row t of the last epoch.
    lag = np.zeros(columns)
    level_lag = np.zeros(starts[-1])
    bias_lag = 0.0
    iteration = 0
    for epoch in range(epochs):
        averaging = average and epoch == epochs - 1
        for row in range(rows):
            logit = bias
            for column in range(columns):
                value = numeric[row, column]
                if math.isnan(value):
                    continue
                counts[column] += 1.0
                before = mean[column]
                mean[column] += (value - before) / counts[column]
                variance[column] += (
                    (value - before) * (value - mean[column]) - variance[column]
                ) / counts[column]
                if variance[column] != 0.0:
                    standard[column] = (value - mean[column]) / math.sqrt(variance[column])
                else:
                    standard[column] = 0.0
                logit += weights[column] * standard[column]
            for column in range(codes.shape[1]):
                if codes[row, column] >= 0:
                    logit += level_weights[starts[column] + codes[row, column]]

            target = 1.0 if labels[row] > 0.5 else -1.0
            margin = logit * target
            if margin > 18.0:
                gradient = -target * math.exp(-margin)
            elif margin < -18.0:
                gradient = -target
            else:
                gradient = -target / (math.exp(margin) + 1.0)

            step = intercept_learning_rate * gradient
            bias -= step
            if averaging:
                bias_lag -= row * step
            rate = learning_rate / math.pow(iteration + 1.0, power)
            for column in range(columns):
                if not math.isnan(numeric[row, column]):
                    step = rate * (gradient * standard[column] + l2 * weights[column])
                    weights[column] -= step
                    if averaging:
                        lag[column] -= row * step
            for column in range(codes.shape[1]):
                if codes[row, column] >= 0:
                    level = starts[column] + codes[row, column]
                    step = rate * (gradient + l2 * level_weights[level])
                    level_weights[level] -= step
                    if averaging:
                        level_lag[level] -= row * step
            iteration += 1
    if average:
        weights -= lag / rows
        level_weights -= level_lag / rows
        bias -= bias_lag / rows
    return mean, variance, weights, level_weights, bias


class RiverLogistic:
    """See the module. The seed is not used: nothing is drawn."""

    def train(
        self, features: Features, labels: F64, parameters: Mapping[str, float], seed: int
    ) -> TrainedModel:
        """Raises ``TrainingError`` when the weights diverge."""
        chosen = resolve(NAME, parameters)
        encoding = Encoding.fit(features.categories)
        starts = np.concatenate(([0], np.cumsum(encoding.sizes()))).astype(np.int64)
        mean, variance, weights, level_weights, bias = learn(
            native(features.numeric, np.float64),
            encoding.encode(features.categories),
            native(labels, np.float64),
            starts,
            chosen["learning_rate"],
            chosen["power"],
            chosen["intercept_learning_rate"],
            chosen["l2"],
            int(chosen["epochs"]),
            chosen["average"] > 0.5,
        )
        parts = (mean, variance, weights, level_weights, np.array([bias]))
        if not all(np.isfinite(part).all() for part in parts):
            raise TrainingError(
                f"{NAME}: the weights are not finite; lower learning_rate "
                f"({chosen['learning_rate']:g}) or narrow the limits of the features"
            )
        return linear.trained(mean, np.sqrt(variance), weights, level_weights, bias, encoding)
