"""Blocks cut and joined: every field of a block by its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np

from driftloop.kernel.codec.blocks import (
    I64,
    Categories,
    EventBlock,
    Features,
    LabelBlock,
    OutcomeBlock,
    PredictionBlock,
)
from driftloop.kernel.slices import Slices
from driftloop.kernel.slices import concat as concat_slices

B = TypeVar("B", EventBlock, LabelBlock, PredictionBlock, OutcomeBlock)


def take(block: B, indices: I64) -> B:
    """The rows of these indices, in their order; the levels of categories are kept as they are."""
    return type(block)(**{f.name: _taken(getattr(block, f.name), indices) for f in fields(block)})


def concat(blocks: Sequence[B]) -> B:
    """Rows one block after the other, with one dictionary per categorical column.

    Raises ValueError when there is no block, or they have features of different number. ``rows``
    are joined unchanged: they go on to mean the batch that each block came from.
    """
    if not blocks:
        raise ValueError("at least one block is needed")
    first = blocks[0]
    return type(first)(
        **{f.name: _joined([getattr(block, f.name) for block in blocks]) for f in fields(first)}
    )


def _taken(value: Any, indices: I64) -> Any:
    match value:
        case np.ndarray():
            return value[indices]
        case Features():
            codes = value.categories.codes[indices]
            return Features(value.numeric[indices], Categories(codes, value.categories.levels))
        case _:
            return Slices.of(value).take(indices)


def _joined(values: Sequence[Any]) -> Any:
    match values[0]:
        case np.ndarray():
            return np.concatenate(values)
        case Features():
            numeric = np.concatenate([value.numeric for value in values])
            return Features(numeric, _categories([value.categories for value in values]))
        case _:
            return concat_slices(values)


def _categories(parts: Sequence[Categories]) -> Categories:
    codes = np.concatenate([part.codes for part in parts])
    levels: list[tuple[str, ...]] = []
    for column in range(codes.shape[1]):
        known: dict[str, int] = {}
        start = 0
        for part in parts:
            # Code -1, missing, picks the last entry.
            new = [known.setdefault(level, len(known)) for level in part.levels[column]]
            end = start + len(part.codes)
            codes[start:end, column] = np.array([*new, -1], np.int32)[part.codes[:, column]]
            start = end
        levels.append(tuple(known))
    return Categories(codes, tuple(levels))
