"""How much memory an object holds."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType

import numpy as np

_ELSEWHERE = (type, ModuleType, FunctionType, BuiltinFunctionType, MethodType)
"""Shared by all that name them."""


def footprint(held: object) -> int:
    """Bytes of ``held`` and of all that it holds, each counted once: arrays, containers, strings
    and numbers, and the attributes of objects. What compiled code keeps for itself is not seen."""
    seen: set[int] = set()
    waiting = [held]
    total = 0
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, _ELSEWHERE):
            continue
        seen.add(id(one))
        if isinstance(one, np.ndarray):
            total += sys.getsizeof(one) if one.base is None else one.nbytes
            if one.dtype.hasobject:
                waiting += one.ravel().tolist()
            continue
        total += sys.getsizeof(one)
        if isinstance(one, str | bytes | bytearray | int | float):
            continue
        if isinstance(one, Mapping):
            waiting += one.keys()
            waiting += one.values()
        elif isinstance(one, list | tuple | set | frozenset):
            waiting += one
        waiting += _attributes(one)
    return total


def _attributes(one: object) -> Iterable[object]:
    yield from getattr(one, "__dict__", {}).values()
    for kind in type(one).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(one, name):
                yield getattr(one, name)
