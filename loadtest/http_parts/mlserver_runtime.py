"""A runtime of MLServer with the frozen model; runs in MLServer's own environment."""

from __future__ import annotations

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from loadtest.http_parts import model as parts


class Frozen(MLModel):  # type: ignore[misc]
    async def load(self) -> bool:
        extra = self.settings.parameters.extra
        self._model = parts.frozen(extra["directory"], extra["path"], extra["digest"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        columns = {tensor.name: tensor.data.root for tensor in payload.inputs}
        numeric = np.array([columns[name] for name in parts.NAMES], np.float64).T
        scores = self._model.score(parts.features(numeric))
        outputs = [NumpyCodec.encode_output("scores", scores)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
