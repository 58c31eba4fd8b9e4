"""Tensors of the Open Inference Protocol: their datatypes, and their values in JSON and in bytes.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol, and the binary
tensor data extension that Triton documents. A tensor here is one column: shape [n] or [n, 1].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from driftloop.kernel.codec.blocks import F64


class ProtocolError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str, *, retry_after_s: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after_s = retry_after_s
        """When to ask again; 0: asking again does not help."""


@dataclass(frozen=True, slots=True)
class Datatype:
    """One of the protocol's datatypes but BYTES."""

    name: str
    array: np.dtype[Any]
    """As the binary extension writes it."""
    lowest: int
    highest: int
    """Of whole numbers; 0 and 0 for floats."""

    @property
    def whole(self) -> bool:
        return self.highest > 0


def _floating(name: str, code: str) -> Datatype:
    return Datatype(name, np.dtype(code), 0, 0)


def _whole(name: str, code: str) -> Datatype:
    limits = np.iinfo(code)
    return Datatype(name, np.dtype(code), int(limits.min), int(limits.max))


BYTES = "BYTES"
BOOL = "BOOL"
DATATYPES: Mapping[str, Datatype] = {
    kind.name: kind
    for kind in (
        Datatype(BOOL, np.dtype("u1"), 0, 1),
        *(_whole(f"INT{8 * size}", f"<i{size}") for size in (1, 2, 4, 8)),
        *(_whole(f"UINT{8 * size}", f"<u{size}") for size in (1, 2, 4, 8)),
        *(_floating(f"FP{8 * size}", f"<f{size}") for size in (2, 4, 8)),
    )
}
NAMES = (*DATATYPES, BYTES)
"""Everything a tensor's ``datatype`` may be."""

_LENGTH = 4
"""Bytes of the length before each element of a BYTES tensor, little-endian."""
_NUMBER = {int, float, bool, type(None)}


def bad(name: Any, message: str) -> NoReturn:
    """The request is wrong about an input."""
    raise ProtocolError(400, f"input {name!r}: {message}")


def json_numbers(name: str, kind: Datatype, values: Sequence[Any]) -> F64:
    """Values of a JSON tensor as doubles; null is NaN, and among floats true is 1, as in events.
    FP16 and FP32 are rounded to their precision, as in bytes. Raises :class:`ProtocolError` naming
    the row."""
    if kind.name == BOOL:
        wanted: set[type] = {bool, type(None)}
    else:
        wanted = {int, type(None)} if kind.whole else _NUMBER
    if not set(map(type, values)) <= wanted:
        row = next(i for i, value in enumerate(values) if type(value) not in wanted)
        bad(name, f"row {row} is {shown(values[row])}, no {_called(kind)}; null is a missing value")
    if kind.whole:
        for row, value in enumerate(values):
            if value is not None and not kind.lowest <= value <= kind.highest:
                bad(name, f"row {row} is {value}, outside {kind.name}")
    numbers = np.array(values, np.float64)
    if kind.array.kind != "f" or kind.array.itemsize == 8:
        return numbers
    with np.errstate(over="ignore"):
        return numbers.astype(kind.array).astype(np.float64)


def json_integers(name: str, kind: Datatype, values: Sequence[Any]) -> list[int | None]:
    """Values of a JSON tensor of whole numbers or booleans."""
    json_numbers(name, kind, values)
    return list(values)


def json_texts(name: str, values: Sequence[Any]) -> list[str | None]:
    """Values of a JSON tensor of BYTES; null is missing."""
    if not set(map(type, values)) <= {str, type(None)}:
        row = next(i for i, v in enumerate(values) if v is not None and type(v) is not str)
        bad(name, f"row {row} is {shown(values[row])}, no string; null is a missing value")
    return list(values)


def binary_array(name: str, kind: Datatype, data: memoryview, n: int) -> npt.NDArray[Any]:
    """The ``n`` elements of a tensor in bytes."""
    if len(data) != n * kind.array.itemsize:
        bad(
            name,
            f"{n} elements of {kind.name} take {n * kind.array.itemsize} bytes,"
            f" binary_data_size is {len(data)}",
        )
    values = np.frombuffer(data, kind.array)
    if kind.name == BOOL and (values > 1).any():
        row = int(np.flatnonzero(values > 1)[0])
        bad(name, f"row {row} is byte {int(values[row])}; a BOOL is 0 or 1")
    return values


def binary_texts(name: str, data: memoryview, n: int) -> list[str | None]:
    """The ``n`` strings of a BYTES tensor in bytes: each after its length."""
    texts: list[str | None] = []
    at = 0
    for row in range(n):
        start = at + _LENGTH
        end = start + int.from_bytes(data[at:start], "little")
        if start > len(data) or end > len(data):
            bad(name, f"row {row} reaches beyond binary_data_size {len(data)}")
        try:
            texts.append(str(data[start:end], "utf-8"))
        except UnicodeDecodeError:
            bad(name, f"row {row} is not UTF-8")
        at = end
    if at != len(data):
        bad(name, f"{len(data) - at} bytes follow its {n} elements")
    return texts


def flat(name: str, data: Any, shape: Sequence[int]) -> list[Any]:
    """A JSON tensor's values as one list, nested or not."""
    n = shape[0]
    found: list[Any]
    if not isinstance(data, list):
        bad(name, f'data is {shown(data)}; write its {n} values as a list: "data": [...]')
    if len(shape) == 2 and any(type(value) is list for value in data):
        if not all(type(value) is list and len(value) == 1 for value in data):
            bad(name, f"data does not have the shape {list(shape)}")
        found = [value[0] for value in data]
    else:
        found = data
    if len(found) != n:
        bad(name, f"the shape {list(shape)} has {n} values, data has {len(found)}")
    return found


def shown(value: Any) -> str:
    """A value as a message says it, if short."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    return "null" if value is None else text if len(text) <= 40 else f"{text[:40]}..."


def _called(kind: Datatype) -> str:
    if kind.name == BOOL:
        return "boolean"
    return f"whole number ({kind.name})" if kind.whole else f"number ({kind.name})"
