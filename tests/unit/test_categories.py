"""Slices to categories: levels in order of appearance, in time that whoever chose the slices cannot
make long."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from driftloop.kernel.codec.blocks import Categories
from driftloop.kernel.codec.categories import categories_of_slices
from driftloop.kernel.codec.slice_kernels import code_slices
from driftloop.kernel.slices import Slices

ROWS = 1024
PLACES = 2 * ROWS
"""Of the table for so many rows."""


def colliding(count: int) -> list[bytes]:
    """Distinct strings of eight letters that all belong in the table's first place."""
    candidates = np.arange(2 * count * PLACES, dtype=np.uint64)
    letters = 97 + (candidates[:, None] >> np.arange(0, 32, 4, dtype=np.uint64) & np.uint64(15))
    digest = np.full(len(candidates), 14695981039346656037, np.uint64)
    for letter in letters.T:
        digest = (digest ^ letter) * np.uint64(1099511628211)
    place = (digest ^ digest >> np.uint64(32)) & np.uint64(PLACES - 1)
    return [bytes(row) for row in letters[place == 0][:count].astype(np.uint8)]


def coded(*columns: Sequence[bytes | None]) -> Categories:
    return categories_of_slices(*arrays(columns))


def arrays(
    columns: Sequence[Sequence[bytes | None]],
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Data, and ``at`` and ``length`` of shape (n, K)."""
    flat = Slices[bytes | None].of([value for row in zip(*columns, strict=True) for value in row])
    shape = (-1, len(columns))
    return flat.data, flat.at.reshape(shape), flat.length.reshape(shape)


def by_appearance(column: Sequence[bytes | None]) -> tuple[list[int], tuple[str, ...]]:
    levels: dict[bytes, int] = {}
    codes = [-1 if v is None else levels.setdefault(v, len(levels)) for v in column]
    return codes, tuple(level.decode() for level in levels)


FLOOD = colliding(ROWS)


def test_chosen_collisions_give_the_same_categories() -> None:
    rng = np.random.default_rng(0)
    hostile: list[bytes | None] = [FLOOD[i] for i in rng.integers(0, len(FLOOD), ROWS)]
    hostile[5] = hostile[700] = None
    hostile[9] = b""
    ordinary = [str(i).encode() for i in rng.integers(0, 50, ROWS)]
    found = coded(ordinary, hostile, ordinary)
    for column, values in enumerate((ordinary, hostile, ordinary)):
        codes, levels = by_appearance(values)
        assert found.levels[column] == levels
        assert found.codes[:, column].tolist() == codes


def test_no_column_gets_more_than_its_work() -> None:
    ordinary = [f"id-{i:08}".encode() for i in range(ROWS)]
    data, at, length = arrays([FLOOD, ordinary, [b"same"] * ROWS])
    codes = np.empty(at.shape, np.int32)
    first = np.empty(at.shape[::-1], np.int64)
    levels = np.empty(at.shape[1], np.int64)
    code_slices(data, at, length, codes, first, levels)
    assert levels.tolist() == [-1, ROWS, 1]


def test_what_is_no_text_is_an_error_whichever_way_it_is_coded() -> None:
    for column in ([b"\xff"] * ROWS, [*FLOOD[1:], b"\xff"]):
        with pytest.raises(UnicodeDecodeError):
            coded(column)
