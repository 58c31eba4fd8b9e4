"""Ids of the rows of a request, from the request's own."""

from __future__ import annotations

import numpy as np

from driftloop.kernel.codec.blocks import I64, U8
from driftloop.kernel.compiling import compiled
from driftloop.kernel.slices import Slices

_DIGITS = 20
_SLASH, _ZERO = np.uint8(ord("/")), np.uint8(ord("0"))


@compiled
def _number(data: U8, at: I64, length: I64, counts: I64, out: U8, ends: I64) -> None:
    digits = np.empty(_DIGITS, np.uint8)
    used = 0
    row = 0
    for i in range(at.shape[0]):
        for number in range(counts[i]):
            start, end = np.uint64(at[i]), np.uint64(used)
            for k in range(np.uint64(length[i])):
                out[end + k] = data[start + k]
            used += length[i]
            if counts[i] > 1:
                out[used] = _SLASH
                used += 1
                left = number
                size = 0
                while size == 0 or left > 0:
                    digits[size] = _ZERO + np.uint8(left % 10)
                    left //= 10
                    size += 1
                for k in range(size):
                    out[used + k] = digits[size - 1 - k]
                used += size
            row += 1
            ends[row] = used


def numbered(stems: Slices[bytes], counts: I64) -> Slices[bytes]:
    """Each stem once where its count is 1, else as often as that: ``STEM/0``, ``STEM/1``, ..."""
    rows = int(counts.sum())
    most = len(str(int(counts.max(initial=0)))) + 1
    out = np.empty(int((stems.length * counts).sum()) + rows * most, np.uint8)
    ends = np.zeros(rows + 1, np.int64)
    _number(stems.data, stems.at, stems.length, counts, out, ends)
    return Slices(out, ends[:-1], ends[1:] - ends[:-1])
