"""Rows as River takes them, and columns as it names them.

A category is its code, a number, and the column is declared nominal: River goes through sets of
categories, and the order of strings in a set changes from process to process.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from driftloop.kernel.codec.blocks import Features
from driftloop.models.encoding import MISSING, UNSEEN, Encoding


def numeric_name(column: int) -> str:
    return f"n{column}"


def nominal_names(encoding: Encoding) -> list[str]:
    return [f"c{column}" for column in range(len(encoding.vocabularies))]


def column_of(name: str) -> tuple[bool, int]:
    """Whether a name is of a categorical column, and which."""
    return name[0] == "c", int(name[1:])


def river_rows(features: Features, encoding: Encoding) -> list[dict[str, Any]]:
    """One dict per row, without what is missing. A category outside the vocabulary has the code
    after its last."""
    sizes = np.array(encoding.sizes(), dtype=np.int32)
    codes = encoding.encode(features.categories)
    codes = np.where(codes == UNSEEN, sizes, codes)
    numbers = [numeric_name(i) for i in range(features.numeric.shape[1])]
    nominal = nominal_names(encoding)
    rows = []
    for values, levels in zip(features.numeric.tolist(), codes.tolist(), strict=True):
        row: dict[str, Any] = {
            name: value for name, value in zip(numbers, values, strict=True) if value == value
        }
        row.update(
            (name, code) for name, code in zip(nominal, levels, strict=True) if code != MISSING
        )
        rows.append(row)
    return rows
