"""Batches of rows as columns: what the codec makes of bytes, and bytes of.

All arrays of one block have the same length n and row order. Ids stay bytes (valid UTF-8).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from driftloop.kernel.errors import DecodeError
from driftloop.kernel.slices import I64 as I64
from driftloop.kernel.slices import U8 as U8

F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
U64 = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Categories:
    """K categorical columns, dictionary-coded per block."""

    codes: I32
    """Shape (n, K); -1 is missing."""
    levels: tuple[tuple[str, ...], ...]
    """Per column the strings that codes index."""


@dataclass(frozen=True, slots=True)
class Features:
    """The features of n rows, in the declaration's order."""

    numeric: F64
    """Shape (n, F), C-contiguous; NaN is missing."""
    categories: Categories


@dataclass(frozen=True, slots=True)
class EventBlock:
    """Events of one batch that could be decoded; ``rows`` says which of the batch they are."""

    rows: I64
    ids: Sequence[bytes]
    times: I64
    features: Features


@dataclass(frozen=True, slots=True)
class PredictionBlock:
    ids: Sequence[bytes]
    event_time: I64
    version: I32
    scores: F64
    """Shape (n, C)."""
    features: Features
    shadow_version: I32
    """-1 without a shadow."""
    shadow_scores: F64
    """Shape (n, C); NaN without a shadow."""
    source_partition: I32
    source_offset: I64


@dataclass(frozen=True, slots=True)
class OutcomeBlock:
    ids: Sequence[bytes]
    event_time: I64
    outcome_time: I64
    version: I32
    scores: F64
    features: Features
    shadow_version: I32
    shadow_scores: F64
    label: F64
    label_delay: I64
    prediction_partition: I32
    prediction_offset: I64
    label_partition: I32
    label_offset: I64


@dataclass(frozen=True, slots=True)
class LabelBlock:
    """Labels of one batch that could be decoded; ``rows`` says which of the batch they are."""

    rows: I64
    ids: Sequence[bytes]
    label: F64
    observed_at: I64


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row of a batch that is no record, and why."""

    row: int
    error: DecodeError
