"""Compiled loops over slices of bytes and columns: dictionary coding, limits, murmur2."""

from __future__ import annotations

from typing import Any

import numpy as np

from driftloop.kernel.codec.blocks import F64, I32, I64, U8, U64
from driftloop.kernel.compiling import borrowed, compiled

_OFFSET, _PRIME = np.uint64(14695981039346656037), np.uint64(1099511628211)
_MASK, _M = np.uint64(0xFFFFFFFF), np.uint64(0x5BD1E995)
_R13, _R15, _R24 = np.uint64(13), np.uint64(15), np.uint64(24)
_S8, _S16 = np.uint64(8), np.uint64(16)
_SPARE, _PER_ROW, _PER_BYTE = 4096, 16, 4
"""What collisions in a column may cost; one more place to look at costs 1, and 1 for each byte that
may be compared there. Ids, dates, numbers and names need about a tenth of it."""


@compiled
def _same(data: U8, a: int, b: int, length: int) -> bool:
    for k in range(length):  # noqa: SIM110 - no generators in compiled code
        if data[a + k] != data[b + k]:
            return False
    return True


@compiled
def _allowed(length: I64, column: int) -> int:
    total = _SPARE
    for row in range(length.shape[0]):
        total += _PER_ROW + _PER_BYTE * max(length[row, column], 0)
    return total


@compiled
def code_slices(data: U8, at: I64, length: I64, codes: I32, first: I64, levels: I64) -> None:
    """Number the distinct slices of each column by first appearance; length -1 gets code -1.

    ``at``, ``length`` and ``codes`` have shape (n, K); ``first`` of shape (K, n) receives the rows
    where levels appear first, ``levels`` of shape (K,) how many there are. Open addressing with
    FNV-1a in a table at most half full.

    Whoever writes the slices can choose ones that collide, under any hash as plain as this. So no
    column gets more work than a few times its rows and bytes: beyond that it is given up, -1 in
    ``levels``, and its ``codes`` and ``first`` mean nothing.
    """
    data = borrowed(data)
    n, columns = at.shape
    size = 16
    while size < 2 * n:
        size *= 2
    table = np.empty(size, np.int32)
    for column in range(columns):
        table[:] = -1
        used = 0
        limit, spent = _SPARE, 0
        for row in range(n):
            count = length[row, column]
            if count < 0:
                codes[row, column] = -1
                continue
            start = at[row, column]
            digest = _OFFSET
            for k in range(count):
                digest = (digest ^ np.uint64(data[start + k])) * _PRIME
            place = np.int64((digest ^ (digest >> np.uint64(32))) & np.uint64(size - 1))
            while True:
                code = table[place]
                if code < 0:
                    table[place] = used
                    first[column, used] = row
                    codes[row, column] = used
                    used += 1
                    break
                known = first[column, code]
                if length[known, column] == count and _same(data, at[known, column], start, count):
                    codes[row, column] = code
                    break
                spent += 1 + count
                if spent > limit:
                    # Reckoned only here: most columns never need it.
                    limit = _allowed(length, column)
                    if spent > limit:
                        break
                place = (place + 1) & (size - 1)
            if spent > limit:
                used = -1
                break
        levels[column] = used


@compiled
def gather(flat: U64, at: I64, out: U64) -> None:
    """Row by row as many words as ``out`` has columns, from ``at`` on; none of them may lie outside
    ``flat``."""
    for row in range(out.shape[0]):
        for k in range(out.shape[1]):
            out[row, k] = flat[at[row] + k]


@compiled
def first_outside(numbers: F64, lowest: F64, highest: F64, column: I64) -> int:
    """Per row the first column outside its limits, or -1; NaN is inside. Returns how many rows have
    one."""
    found = 0
    for row in range(numbers.shape[0]):
        column[row] = -1
        for k in range(numbers.shape[1]):
            if numbers[row, k] < lowest[k] or numbers[row, k] > highest[k]:
                column[row] = k
                found += 1
                break
    return found


@compiled
def _murmur2(data: U8, start: int, end: int) -> Any:
    length = end - start
    digest = np.uint64(0x9747B28C) ^ (np.uint64(length) & _MASK)
    pos = start
    while end - pos >= 4:
        k = (
            np.uint64(data[pos])
            | np.uint64(data[pos + 1]) << _S8
            | np.uint64(data[pos + 2]) << _S16
            | np.uint64(data[pos + 3]) << _R24
        )
        k = (k * _M) & _MASK
        k ^= k >> _R24
        k = (k * _M) & _MASK
        digest = ((digest * _M) & _MASK) ^ k
        pos += 4
    left = end - pos
    if left == 3:
        digest ^= np.uint64(data[pos + 2]) << _S16
    if left >= 2:
        digest ^= np.uint64(data[pos + 1]) << _S8
    if left >= 1:
        digest = ((digest ^ np.uint64(data[pos])) * _M) & _MASK
    digest ^= digest >> _R13
    digest = (digest * _M) & _MASK
    return digest ^ (digest >> _R15)


@compiled
def partition_slices(data: U8, at: I64, length: I64, partitions: int, out: I32) -> None:
    """Partition of each key: ``length[i]`` bytes of ``data`` from ``at[i]`` on."""
    data = borrowed(data)
    for row in range(at.shape[0]):
        digest = _murmur2(data, at[row], at[row] + length[row])
        out[row] = np.int64(digest & np.uint64(0x7FFFFFFF)) % partitions


@compiled
def pack_slices(data: U8, at: I64, length: I64, out: U8, out_at: I64) -> None:
    """The slices one after the other in ``out``, and where each begins."""
    used = 0
    for row in range(at.shape[0]):
        out_at[row] = used
        size = max(length[row], 0)
        start, end = np.uint64(at[row]), np.uint64(used)
        for k in range(np.uint64(size)):
            out[end + k] = data[start + k]
        used += size


@compiled
def find_last(starts: I64, names: U8, at: I64, length: I64, wanted: U8, found: I64) -> None:
    """Per record the last of its headers [``starts[i]``, ``starts[i + 1]``) whose name is
    ``wanted``; -1 where there is none."""
    for row in range(found.shape[0]):
        found[row] = -1
        for k in range(starts[row + 1] - 1, starts[row] - 1, -1):
            if length[k] != wanted.shape[0]:
                continue
            same = True
            for i in range(wanted.shape[0]):
                if names[at[k] + i] != wanted[i]:
                    same = False
                    break
            if same:
                found[row] = k
                break
