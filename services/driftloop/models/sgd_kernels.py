"""Compiled sequential gradient descent, row after row, with the arithmetic of River's
``StandardScaler``, ``LogisticRegression``, ``LinearRegression`` and ``SoftmaxRegression``."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from driftloop.kernel.codec.blocks import F64, I32, I64

_CLIP = 1e12
"""River's bound on the gradient of the loss."""
_SMALLEST = 1e-15
"""River's bound on a probability in the gradient of the cross entropy."""


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def standardise(row: F64, counts: F64, mean: F64, variance: F64, standard: F64) -> None:
    """Updates mean and variance of the columns that are there, then scales the row by them."""
    for column in range(len(row)):
        value = row[column]
        if math.isnan(value):
            continue
        counts[column] += 1.0
        before = mean[column]
        mean[column] += (value - before) / counts[column]
        variance[column] += ((value - before) * (value - mean[column]) - variance[column]) / counts[
            column
        ]
        if variance[column] != 0.0:
            standard[column] = (value - mean[column]) / math.sqrt(variance[column])
        else:
            standard[column] = 0.0


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
    squared: bool,
) -> tuple[F64, F64, F64, F64, float]:
    """One sum, of the logistic or of the squared loss: mean, variance and weights per numeric
    column, level weights, bias."""
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
            standardise(numeric[row], counts, mean, variance, standard)
            total = 0.0
            for column in range(columns):
                if not math.isnan(numeric[row, column]):
                    total += weights[column] * standard[column]
            for column in range(codes.shape[1]):
                if codes[row, column] >= 0:
                    total += level_weights[starts[column] + codes[row, column]]
            total += bias

            if squared:
                gradient = 2.0 * (total - labels[row])
                gradient = min(max(gradient, -_CLIP), _CLIP)
            else:
                target = 1.0 if labels[row] > 0.5 else -1.0
                margin = total * target
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
            rate = learning_rate
            if power != 0.0:
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


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def learn_softmax(
    numeric: F64,
    codes: I32,
    labels: I64,
    classes: int,
    starts: I64,
    learning_rate: float,
    power: float,
    l2: float,
    epochs: int,
    average: bool,
) -> tuple[F64, F64, F64, F64, I64]:
    """The cross entropy of several classes: mean, variance, weights (C, F), level weights (C, -),
    and how many steps each class has taken: it takes none before its first label."""
    rows, columns = numeric.shape
    counts = np.zeros(columns)
    mean = np.zeros(columns)
    variance = np.zeros(columns)
    standard = np.zeros(columns)
    weights = np.zeros((classes, columns))
    level_weights = np.zeros((classes, starts[-1]))
    lag = np.zeros((classes, columns))
    level_lag = np.zeros((classes, starts[-1]))
    steps = np.zeros(classes, dtype=np.int64)
    # In the order of their first labels, as River sums over them.
    order = np.empty(classes, dtype=np.int64)
    known = 0
    score = np.empty(classes)
    for epoch in range(epochs):
        averaging = average and epoch == epochs - 1
        for row in range(rows):
            standardise(numeric[row], counts, mean, variance, standard)
            largest = -math.inf
            for i in range(known):
                c = order[i]
                total = 0.0
                for column in range(columns):
                    if not math.isnan(numeric[row, column]):
                        total += weights[c, column] * standard[column]
                for column in range(codes.shape[1]):
                    if codes[row, column] >= 0:
                        total += level_weights[c, starts[column] + codes[row, column]]
                score[c] = total
                largest = max(largest, total)
            total = 0.0
            for i in range(known):
                c = order[i]
                score[c] = math.exp(score[c] - largest)
                total += score[c]
            label = labels[row]
            for i in range(known):
                score[order[i]] /= total
            if steps[label] == 0:
                score[label] = 0.0
                order[known] = label
                known += 1
            for i in range(known):
                c = order[i]
                gradient = min(max(score[c], _SMALLEST), 1.0 - _SMALLEST)
                if c == label:
                    gradient -= 1.0
                rate = learning_rate
                if power != 0.0:
                    rate = learning_rate / math.pow(steps[c] + 1.0, power)
                for column in range(columns):
                    if not math.isnan(numeric[row, column]):
                        step = rate * (standard[column] * gradient + l2 * weights[c, column])
                        weights[c, column] -= step
                        if averaging:
                            lag[c, column] -= row * step
                for column in range(codes.shape[1]):
                    if codes[row, column] >= 0:
                        level = starts[column] + codes[row, column]
                        step = rate * (gradient + l2 * level_weights[c, level])
                        level_weights[c, level] -= step
                        if averaging:
                            level_lag[c, level] -= row * step
                steps[c] += 1
    if average:
        weights -= lag / rows
        level_weights -= level_lag / rows
    return mean, variance, weights, level_weights, steps
