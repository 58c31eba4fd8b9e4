"""Whether a version fits what is declared: it may be of a model of that name that was taken out."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from driftloop.kernel.codec.blocks import Categories, Features
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.errors import ArtifactError
from driftloop.kernel.records import Version
from driftloop.models.ports import FrozenModel

_ROWS = 16


def shape_of(model: Declaration) -> Hashable:
    """What is equal where a version of one declaration may answer for another: its features, in
    their order, and how many scores it gives."""
    return *map(tuple, _features(model)), model.scores


def check_features(model: Declaration, record: Version) -> None:
    """A profile of no rows tells nothing. Raises :class:`ArtifactError` where the version was made
    for other features."""
    declared = _features(model)
    made_for = [
        [column.name for column in record.profile.numeric[: len(model.numeric)]],
        [column.name for column in record.profile.categorical[: len(model.categorical)]],
    ]
    if record.profile.rows and made_for != declared:
        raise ArtifactError(
            f"version {record.version} of {model.name!r} was made for the features {made_for}, "
            f"and {declared} are declared: train anew, or use another name"
        )


def warm(model: Declaration, frozen: FrozenModel) -> None:
    """Score some rows: the first batch must not pay for page faults and compilation, and a model
    that cannot score the declared shape must fail here. Raises :class:`ArtifactError`."""
    missing = Features(
        np.full((_ROWS, len(model.numeric)), np.nan),
        Categories(
            np.full((_ROWS, len(model.categorical)), -1, dtype=np.int32),
            tuple(() for _ in model.categorical),
        ),
    )
    scores = frozen.score(missing)
    if scores.shape != (_ROWS, model.scores) or not np.isfinite(scores).all():
        raise ArtifactError(
            f"the version of {model.name!r} gives scores of shape {scores.shape}, "
            f"not finite ones of shape {(_ROWS, model.scores)}"
        )


def _features(model: Declaration) -> list[list[str]]:
    """Names of the numeric and of the categorical ones."""
    return [
        [feature.name for feature in features] for features in (model.numeric, model.categorical)
    ]
