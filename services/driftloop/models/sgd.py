"""Trainer ``river_logistic``: River's online linear models, compiled.

Does what ``learn_one`` of this River pipeline does, row after row, ``epochs`` times::

    (Select(numeric) | StandardScaler()) + (Select(categorical) | OneHotEncoder(drop_zeros=True))
    | LogisticRegression(SGD(InverseScaling(learning_rate, power)), l2=l2,
                         intercept_lr=intercept_learning_rate)

and of ``LinearRegression`` for regression, ``SoftmaxRegression`` (which has no intercept) for
several classes. A missing value is a key absent from the row's dict. The weights agree to rounding.
With ``average`` = 1 the model takes the mean of the weights after each row of the last epoch
instead of the last ones (Polyak and Juditsky, SIAM J. Control Optim. 30(4), 1992): they then do not
follow the last few hundred rows.

River's softmax gives no probability to a class it has not seen; here such a class has the weights
it starts with, all 0. Its bias is set so that its probability is nearly 0, too.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from driftloop.kernel.codec.blocks import F64, Features
from driftloop.kernel.declaration import Task
from driftloop.kernel.errors import TrainingError
from driftloop.models import linear
from driftloop.models.encoding import Encoding
from driftloop.models.parameters import resolve
from driftloop.models.ports import BINARY, Target, TrainedModel, native
from driftloop.models.sgd_kernels import learn, learn_softmax

NAME = "river_logistic"
UNSEEN_CLASS = -1e6
"""The bias of a class without labels."""


class RiverLogistic:
    """See the module. The seed is not used: nothing is drawn."""

    def train(
        self,
        features: Features,
        labels: F64,
        parameters: Mapping[str, float],
        seed: int,
        target: Target = BINARY,
    ) -> TrainedModel:
        """Raises ``TrainingError`` when the weights diverge."""
        chosen = resolve(NAME, parameters)
        encoding = Encoding.fit(features.categories)
        starts = np.concatenate(([0], np.cumsum(encoding.sizes()))).astype(np.int64)
        numeric = native(features.numeric, np.float64)
        codes = encoding.encode(features.categories)
        rate, power, l2 = chosen["learning_rate"], chosen["power"], chosen["l2"]
        epochs, average = int(chosen["epochs"]), chosen["average"] > 0.5
        if target.task is Task.MULTICLASS:
            mean, variance, weights, level_weights, steps = learn_softmax(
                numeric,
                codes,
                target.class_of(labels),
                target.classes,
                starts,
                rate,
                power,
                l2,
                epochs,
                average,
            )
            bias = np.where(steps > 0, 0.0, UNSEEN_CLASS)
        else:
            mean, variance, weights, level_weights, last = learn(
                numeric,
                codes,
                native(labels, np.float64),
                starts,
                rate,
                power,
                chosen["intercept_learning_rate"],
                l2,
                epochs,
                average,
                target.task is Task.REGRESSION,
            )
            bias = np.array([last])
        parts = (mean, variance, weights, level_weights, bias)
        if not all(np.isfinite(part).all() for part in parts):
            raise TrainingError(
                f"{NAME}: the weights are not finite; lower learning_rate "
                f"({rate:g}) or narrow the limits of the features"
            )
        link = {Task.MULTICLASS: "softmax", Task.REGRESSION: "identity"}.get(
            target.task, "logistic"
        )
        return linear.trained(mean, np.sqrt(variance), weights, level_weights, bias, encoding, link)
