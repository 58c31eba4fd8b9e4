"""A request's tensors, one by one, as columns of numbers and categories. Pure."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from driftloop.inference import tensors
from driftloop.inference.tensors import BYTES, DATATYPES, NAMES, bad, shown
from driftloop.kernel.codec.blocks import F64
from driftloop.kernel.codec.faults import LONGEST_CATEGORY
from driftloop.kernel.declaration import Declaration


class TensorColumns:
    """TensorColumns as they come, whatever datatype and form each has."""

    __slots__ = ("categories", "ids", "mixed", "numbers", "times")

    def __init__(self, numbers: int, categories: int) -> None:
        self.numbers: list[Any] = [None] * numbers
        self.categories: list[Any] = [None] * categories
        self.ids: list[str] | None = None
        self.times: list[int] | None = None
        self.mixed = False
        """Some numbers are arrays already."""

    def number(self, name: str, index: int, kind: Any, data: Any, n: int) -> None:
        if self.numbers[index] is not None:
            bad(name, "it is there twice")
        if kind == "FP64" and type(data) is list:
            # Checked together with the others, in one pass over all values.
            self.numbers[index] = data
            return
        datatype = DATATYPES.get(kind) if type(kind) is str else None
        if datatype is None:
            bad(name, f"datatype is {shown(kind)}; a number is one of {', '.join(DATATYPES)}")
        self.mixed = True
        if type(data) is list:
            self.numbers[index] = tensors.json_numbers(name, datatype, data)
        else:
            values = tensors.binary_array(name, datatype, data, n)
            self.numbers[index] = values.astype(np.float64)

    def category(self, name: str, index: int, kind: Any, data: Any, n: int) -> None:
        if self.categories[index] is not None:
            bad(name, "it is there twice")
        if kind == BYTES:
            self.categories[index] = texts(name, data, n)
            check_lengths(name, self.categories[index])
            return
        datatype = DATATYPES.get(kind) if type(kind) is str else None
        if datatype is None or not datatype.whole:
            bad(
                name,
                f"datatype is {shown(kind)}; a category is BYTES, a whole number or BOOL"
                if kind in NAMES
                else f"datatype is {shown(kind)}; there are {', '.join(NAMES)}",
            )
        words = ("false", "true") if datatype.name == tensors.BOOL else None
        self.categories[index] = [
            None if value is None else words[value] if words else str(value)
            for value in integers(name, datatype, data, n)
        ]

    def matrix(self, model: Declaration, n: int) -> F64:
        """Shape (n, F)."""
        columns = self.numbers
        if not columns:
            return np.empty((n, 0))
        if self.mixed:
            for index, column in enumerate(columns):
                if type(column) is list:
                    name = model.numeric[index].name
                    columns[index] = tensors.json_numbers(name, DATATYPES["FP64"], column)
            return np.stack(columns, axis=1)
        return matrix(model, columns, n)


def matrix(model: Declaration, columns: Sequence[Any], n: int) -> F64:
    """TensorColumns of JSON values, shape (n, F)."""
    values = [c[0] for c in columns] if n == 1 else chain.from_iterable(columns)
    try:
        # Three times as fast as an array made of the list, and it takes nothing but numbers.
        flat = np.frombuffer(struct.pack(f"{n * len(columns)}d", *values), np.float64)
    except (struct.error, TypeError):  # null, or what is no number
        flat = np.concatenate(
            [
                tensors.json_numbers(feature.name, DATATYPES["FP64"], column)
                for feature, column in zip(model.numeric, columns, strict=True)
            ]
        )
    return flat.reshape(len(columns), n).T


def check_lengths(name: str, categories: Sequence[str | None]) -> None:
    """Raises :class:`ProtocolError` for a category that an event could not have either."""
    for row, value in enumerate(categories):
        # No character has more than four bytes.
        if value and 4 * len(value) > LONGEST_CATEGORY and len(value.encode()) > LONGEST_CATEGORY:
            bad(name, f"the category of row {row} has more than {LONGEST_CATEGORY} bytes")


def texts(name: str, data: Any, n: int) -> list[str | None]:
    if type(data) is list:
        return tensors.json_texts(name, data)
    return tensors.binary_texts(name, data, n)


def integers(name: str, datatype: tensors.Datatype, data: Any, n: int) -> list[int | None]:
    if type(data) is list:
        return tensors.json_integers(name, datatype, data)
    values: list[int | None] = tensors.binary_array(name, datatype, data, n).tolist()
    return values


def next_bytes(
    name: str, tensor: Mapping[str, Any], binary: memoryview | None, at: int
) -> tuple[memoryview, int]:
    """The bytes of a tensor without ``data``, and where the next one's begin."""
    parameters = tensor.get("parameters")
    size = parameters.get("binary_data_size") if type(parameters) is dict else None
    if type(size) is not int or size < 0:
        bad(name, "it has neither data nor a binary_data_size")
    if binary is None or at + size > len(binary):
        there = 0 if binary is None else len(binary) - at
        bad(
            name,
            f"binary_data_size is {size}, and {there} bytes are there; the header"
            " Inference-Header-Content-Length says where they begin",
        )
    return binary[at : at + size], at + size
