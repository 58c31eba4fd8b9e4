"""Delivery reports, counted by a compiled callback: Python hears of calls, not of records."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import cfunc, types

from driftloop.adapters.kafka.native import kernels
from driftloop.kernel.slices import I64

_NUMBER, _LEFT, _FAILED, _CODE = range(4)
_WORDS = 4
_WORD_BYTES = 8


class Tallies:
    """Numbered tallies, each of the records of one call, or of all that go to one place.

    The library's callback writes to them while a client is polled; whoever polls and whoever asks
    must be the same thread, or hold the same lock.
    """

    def __init__(self, most: int) -> None:
        """``most`` at once."""
        self._words: I64 = np.zeros((most, _WORDS), np.int64)
        self._words[:, _NUMBER] = np.arange(most)
        self._done: I64 = np.zeros(most + 1, np.int64)
        self._free = list(range(most - 1, -1, -1))
        self._base = int(self._words.ctypes.data)

    @property
    def callback(self) -> tuple[int, int]:
        """The C function and what it is given; for :meth:`Library.client`."""
        return int(_compiled().address), int(self._done.ctypes.data)

    def open(self, records: int) -> int:
        """A tally for so many records; more than zero. Its number."""
        number = self._free.pop()
        self._words[number, _LEFT] = records
        self._words[number, _FAILED:] = 0
        return number

    def address(self, number: int) -> int:
        """What goes along with its records."""
        return self._base + number * _WORDS * _WORD_BYTES

    def withdraw(self, number: int, records: int) -> bool:
        """These are not to be reported, having found no room. Whether it was all."""
        self._words[number, _LEFT] -= records
        return not self._words[number, _LEFT]

    def failed(self, number: int) -> int:
        """Records that were given up."""
        return int(self._words[number, _FAILED])

    def failures(self) -> int:
        """Records that were given up, of all tallies that are open."""
        return int(self._words[:, _FAILED].sum())

    def code(self, number: int) -> int:
        """Why, of the last one."""
        return int(self._words[number, _CODE])

    def close(self, number: int) -> None:
        """It may be used anew: nothing is reported to it any more."""
        self._words[number, _FAILED] = 0
        self._free.append(number)

    def done(self) -> list[int]:
        """Tallies that are complete since this was asked last; to be closed."""
        count = int(self._done[0])
        if not count:
            return []
        found: list[int] = self._done[1 : count + 1].tolist()
        self._done[0] = 0
        return found


@cache
def _compiled() -> Any:
    address = types.int64
    compile_as: Callable[[Any], Any] = cfunc(types.void(address, address, address), cache=True)
    return compile_as(kernels.count_report)
