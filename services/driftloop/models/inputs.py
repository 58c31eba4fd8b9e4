"""What a kernel takes of a batch: checked, encoded, in the layout that kernels are compiled for."""

from __future__ import annotations

import numpy as np

from driftloop.kernel.codec.blocks import F64, I32, Features
from driftloop.kernel.errors import ArtifactError
from driftloop.models.encoding import Encoding
from driftloop.models.ports import native

_NO_CODES = np.empty((0, 0), dtype=np.int32)


def inputs(features: Features, numeric: int, encoding: Encoding) -> tuple[F64, I32]:
    """Numbers, shape (n, F), and model codes, shape (n, K); (0, 0) without categorical columns.
    Raises ``ArtifactError``: the rows do not have the columns the model was trained on."""
    values = features.numeric
    categories = features.categories
    columns = len(encoding.vocabularies)
    if values.shape[1] != numeric or categories.codes.shape[1] != columns:
        raise ArtifactError(
            f"the model takes {numeric} numeric and {columns} categorical features, the rows have "
            f"{values.shape[1]} and {categories.codes.shape[1]}: it was trained under another "
            "declaration; retrain it"
        )
    codes = encoding.encode(categories) if columns else _NO_CODES
    return native(values, np.float64), codes
