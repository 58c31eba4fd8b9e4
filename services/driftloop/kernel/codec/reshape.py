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


def owned(block: B, indices: I64) -> B:
    """The rows of these indices in arrays of their own, with the levels that they have: what is
    kept must not hold all that it came with."""
    return type(block)(**{f.name: _owned(getattr(block, f.name), indices) for f in fields(block)})


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


def _owned(value: Any, indices: I64) -> Any:
    match value:
        case np.ndarray():
            return value[indices]
        case Features():
            codes = value.categories.codes[indices]
            levels = []
            for column, names in enumerate(value.categories.levels):
                used, own = np.unique(codes[:, column], return_inverse=True)
                missing = int(len(used) > 0 and used[0] < 0)
                codes[:, column] = own - missing
                levels.append(tuple(names[code] for code in used[missing:].tolist()))
            return Features(value.numeric[indices], Categories(codes, tuple(levels)))
        case _:
            return Slices.of(value).take(indices).owned()


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
    """With a dictionary of the levels that the rows have: those of a block may be the levels of a
    thousand models, and a part a few rows of one of them."""
    # Parts of one block have the same dictionaries, and are looked at together.
    blocks: dict[int, list[int]] = {}
    for number, part in enumerate(parts):
        blocks.setdefault(id(part.levels), []).append(number)
    if len(blocks) == 1:
        return Categories(np.concatenate([part.codes for part in parts]), parts[0].levels)
    ends = np.cumsum([len(part.codes) for part in parts])
    codes = np.empty((int(ends[-1]), parts[0].codes.shape[1]), np.int32)
    known: list[dict[str, int]] = [{} for _ in range(codes.shape[1])]
    for numbers in blocks.values():
        levels = parts[numbers[0]].levels
        whole = np.concatenate([parts[number].codes for number in numbers])
        rows = np.concatenate(
            [np.arange(ends[number] - len(parts[number].codes), ends[number]) for number in numbers]
        )
        for column, mine in enumerate(known):
            used, own = np.unique(whole[:, column], return_inverse=True)
            new = [
                mine.setdefault(levels[column][code], len(mine)) if code >= 0 else -1
                for code in used.tolist()
            ]
            codes[rows, column] = np.array(new, np.int32)[own]
    return Categories(codes, tuple(tuple(mine) for mine in known))
