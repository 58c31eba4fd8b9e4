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


def cut(block: B, low: int, high: int) -> B:
    """The rows from one to before another, over the same arrays."""
    own = slice(low, high)
    return type(block)(**{f.name: _taken(getattr(block, f.name), own) for f in fields(block)})


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


def _taken(value: Any, indices: I64 | slice) -> Any:
    match value:
        case np.ndarray():
            return value[indices]
        case Features():
            codes = value.categories.codes[indices]
            return Features(value.numeric[indices], Categories(codes, value.categories.levels))
        case _:
            column = Slices.of(value)
            return column[indices] if isinstance(indices, slice) else column.take(indices)


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
    # Parts of one block have its dictionaries, and these may have the levels of a thousand models.
    own = {id(part.levels): part.levels for part in parts}
    if len(own) == 1:
        return Categories(codes, parts[0].levels)
    levels: list[tuple[str, ...]] = []
    for column in range(codes.shape[1]):
        known: dict[str, int] = {}
        # Code -1, missing, picks the last entry.
        new = {
            key: np.array(
                [*(known.setdefault(level, len(known)) for level in theirs[column]), -1], np.int32
            )
            for key, theirs in own.items()
        }
        start = 0
        for part in parts:
            end = start + len(part.codes)
            codes[start:end, column] = new[id(part.levels)][part.codes[:, column]]
            start = end
        levels.append(tuple(known))
    return Categories(codes, tuple(levels))
