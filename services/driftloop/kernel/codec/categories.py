"""Slices of bytes to dictionary-coded categories, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from driftloop.kernel.codec.blocks import I32, I64, U8, Categories
from driftloop.kernel.codec.slice_kernels import code_slices


def categories_of_slices(data: U8, at: I64, length: I64) -> Categories:
    """``at`` and ``length`` of shape (n, K); the slices must be UTF-8, length -1 is missing."""
    n, columns = at.shape
    at, length = np.ascontiguousarray(at), np.ascontiguousarray(length)
    codes = np.empty((n, columns), np.int32)
    first = np.empty((columns, n), np.int64)
    counts = np.empty(columns, np.int64)
    code_slices(data, at, length, codes, first, counts)
    levels = []
    for column, count in enumerate(counts.tolist()):
        if count < 0:
            codes[:, column], texts = _coded_by_dict(data, at[:, column], length[:, column])
            levels.append(texts)
            continue
        rows = first[column, :count]
        starts = at[rows, column]
        ends = starts + length[rows, column]
        pairs = zip(starts.tolist(), ends.tolist(), strict=True)
        levels.append(tuple(data[a:b].tobytes().decode() for a, b in pairs))
    return Categories(codes, tuple(levels))


def _coded_by_dict(data: U8, at: I64, length: I64) -> tuple[list[int], tuple[str, ...]]:
    """The same codes and levels of one column whose slices collide, as only chosen ones do: what
    Python hashes strings with has a secret of the process's own, so they do not collide here."""
    view = data.data
    known: dict[bytes, int] = {}
    codes = [
        -1 if size < 0 else known.setdefault(view[start : start + size].tobytes(), len(known))
        for start, size in zip(at.tolist(), length.tolist(), strict=True)
    ]
    return codes, tuple(level.decode() for level in known)


def codes_of_integers(
    values: I64, missing: Sequence[bool], text: Callable[[int], str]
) -> tuple[I32, tuple[str, ...]]:
    """Codes of one column of integers, in ascending order of them, and what they read."""
    null = np.asarray(missing, dtype=bool)
    distinct, inverse = np.unique(values[~null], return_inverse=True)
    codes = np.full(len(values), -1, np.int32)
    codes[~null] = inverse
    return codes, tuple(text(int(value)) for value in distinct)


def slices_of_categories(categories: Categories, offset: int) -> tuple[bytes, I64, I64]:
    """The levels' bytes and, of shape (n, K), where each value lies in them (positions count from
    ``offset``)."""
    n, columns = categories.codes.shape
    at = np.empty((n, columns), np.int64)
    length = np.empty((n, columns), np.int64)
    blob: list[bytes] = []
    used = offset
    for column, levels in enumerate(categories.levels):
        starts, sizes = [], []
        for level in levels:
            raw = level.encode()
            blob.append(raw)
            starts.append(used)
            sizes.append(len(raw))
            used += len(raw)
        # Code -1, missing, picks the last entry.
        codes = categories.codes[:, column]
        at[:, column] = np.array([*starts, 0], np.int64)[codes]
        length[:, column] = np.array([*sizes, -1], np.int64)[codes]
    return b"".join(blob), at, length
