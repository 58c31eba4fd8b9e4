"""Scoring one row without the cost of a call for many.

A compiled function called from Python looks at each array it gets, and makes an array of what it
gives: for one row that takes longer than the row. Here a C function gets addresses, and what can be
checked is checked when the model is loaded.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import cfunc, types

from driftloop.kernel.codec.blocks import F64, U64, Features
from driftloop.models.encoding import Encoding

_ADDRESS = ctypes.c_void_p
# It is over before another thread would have the interpreter: the lock is kept.
_CALLED_AS = ctypes.PYFUNCTYPE(None, _ADDRESS, _ADDRESS, _ADDRESS, _ADDRESS)
_AT_ONCE = 128
"""Results that are made together; they share their memory, 1 kB for models of one score."""


def quick_for_a_row(
    function: Any,
    model: U64,
    shape: tuple[int, int],
    encoding: Encoding,
    batch: Callable[[Features], F64],
) -> Callable[[Features], F64]:
    """How to score with a model that is one array and gives ``shape[1]`` scores for ``shape[0]``
    numbers: one row of doubles with these columns through ``function``, anything else through
    ``batch``. ``function`` takes the addresses of a row's numbers, of its codes, of ``model`` and
    of the scores."""
    call = _entry(function)
    address = int(model.ctypes.data)
    encode, columns = encoding.encode, len(encoding.vocabularies)
    wanted, coded, double = (1, shape[0]), (1, columns), np.dtype(np.float64)
    made: list[tuple[F64, int]] = []

    def make() -> tuple[F64, int]:
        block = np.empty((_AT_ONCE, 1, shape[1]))
        start, step = int(block.ctypes.data), block.strides[0]
        made.extend((block[i], start + i * step) for i in range(_AT_ONCE - 1))
        return block[-1], start + (_AT_ONCE - 1) * step

    # A function that has all at hand, not a method: each look-up is a few per cent of the time.
    def score(features: Features, model: U64 = model) -> F64:
        numbers, categories = features.numeric, features.categories
        if (
            numbers.shape != wanted
            or numbers.dtype is not double
            or categories.codes.shape != coded
        ):
            return batch(features)
        try:
            scores, at = made.pop()
        except IndexError:
            scores, at = make()
        codes = encode(categories).tobytes() if columns else None
        # A copy of the numbers: cheaper than asking the array for its address; as is an array of
        # which the address is known.
        call(numbers.tobytes(), codes, address, at)
        return scores

    return score


@cache
def _entry(function: Any) -> Any:
    pointers = [types.float64, types.int32, types.uint64, types.float64]
    compile_as: Callable[[Any], Any] = cfunc(types.void(*map(types.CPointer, pointers)), cache=True)
    compiled = compile_as(function)
    called: Any = _CALLED_AS(compiled.address)
    called.compiled = compiled  # its code lives as long as this does
    return called
