"""One row of a boosted model takes a way of its own; what it gives is what a batch gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from driftloop.kernel.codec.blocks import Categories, Features
from driftloop.kernel.errors import ArtifactError
from driftloop.models import trees
from model_cases import NUMERIC, case, make_rows

NAMES = ["boosted binary", "boosted multiclass", "boosted of many leaves"]
MASKED = 3
"""Word of a packed model: which masks it has."""


def row_of(rows: Features, row: int) -> Features:
    codes = rows.categories.codes[row : row + 1]
    return Features(rows.numeric[row : row + 1], Categories(codes, rows.categories.levels))


@pytest.mark.parametrize(
    ("name", "masks"),
    [
        ("boosted binary", trees.NARROW),
        ("boosted multiclass", trees.NARROW),
        ("boosted of many leaves", trees.WIDE),
        ("boosted of too many leaves for masks", 0),
    ],
)
def test_masks_are_as_wide_as_the_largest_tree(name: str, masks: int) -> None:
    assert case(name).frozen.packed[MASKED] == masks  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", NAMES)
def test_results_are_arrays_of_their_own(name: str) -> None:
    rows, _ = make_rows(300, seed=11)
    frozen = case(name).frozen
    whole = frozen.score(rows)
    alone = [frozen.score(row_of(rows, row)) for row in range(300)]
    assert np.concatenate(alone).tobytes() == whole.tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_rows_in_other_layouts_score_alike(name: str) -> None:
    rows, _ = make_rows(5, seed=12, missing=0.0)
    rows = replace(rows, numeric=rows.numeric.astype(np.float32).astype(np.float64))
    frozen = case(name).frozen
    expected = frozen.score(rows)[:1].tobytes()
    first = row_of(rows, 0)
    strided = np.repeat(first.numeric, 2, axis=1)[:, ::2]
    assert frozen.score(replace(first, numeric=strided)).tobytes() == expected
    single = first.numeric.astype(np.float32)
    assert frozen.score(replace(first, numeric=single)).tobytes() == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(("numeric", "categorical"), [(NUMERIC + 1, 2), (NUMERIC, 1), (0, 0)])
def test_a_row_of_other_columns_is_an_error(numeric: int, categorical: int) -> None:
    codes = np.zeros((1, categorical), np.int32)
    row = Features(np.zeros((1, numeric)), Categories(codes, (("a",),) * categorical))
    with pytest.raises(ArtifactError, match="it was trained under another declaration"):
        case("boosted binary").frozen.score(row)


def test_fewer_codes_than_levels_are_never_read() -> None:
    row = Features(np.zeros((1, NUMERIC)), Categories(np.zeros((1, 0), np.int32), (("a",), ("a",))))
    with pytest.raises(ArtifactError):
        case("boosted binary").frozen.score(row)
