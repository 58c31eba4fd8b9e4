"""The losses of held-out rows, binned: by themselves and by score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from driftloop.kernel.codec.blocks import F64
from driftloop.kernel.records.training import LossBaseline, NumericProfile


def binned(
    baseline: LossBaseline,
    edges: F64,
    losses: F64,
    errors: npt.NDArray[np.bool_],
    score: NumericProfile,
    scores: F64,
) -> LossBaseline:
    """``baseline`` with the bins of these rows' losses, all arrays of shape (m,); ``edges``: inner
    edges of the losses' bins; ``score``: the profile of ``scores``."""
    bins = np.searchsorted(edges, losses, side="left")
    counts = np.bincount(bins, minlength=len(edges) + 1)
    sums = np.bincount(bins, weights=losses, minlength=len(edges) + 1)
    by_score = np.searchsorted(np.array(score.edges), scores, side="left")
    width = len(score.counts)
    return replace(
        baseline,
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
        means=tuple((sums / np.maximum(counts, 1)).tolist()),
        errors=int(errors.sum()),
        score_errors=tuple(np.bincount(by_score[errors], minlength=width).tolist()),
        score_losses=tuple(np.bincount(by_score, weights=losses, minlength=width).tolist()),
    )
