"""The compiled part of placing rows in windows: what depends on the rows that came before."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def place(  # type: ignore[no-untyped-def]
    time, bounds, size, closes_after, expires_after, watermarks, start, late, kept
):
    """Of rows whose event times are ``time`` (int64, shape (n,)), run after run: the start of each
    one's window, whether it is late there, and whether that window still takes it.

    Run r has the rows from ``bounds[r]`` up to ``bounds[r + 1]``; its watermark, the highest time
    before, is in ``watermarks[r]``, and is the highest time so far afterwards. A window closes, and
    expires, that many ms after its start.
    """
    for run in range(len(watermarks)):
        watermark = watermarks[run]
        for row in range(bounds[run], bounds[run + 1]):
            at = time[row]
            begin = at // size * size
            start[row] = begin
            late[row] = begin + closes_after <= watermark
            kept[row] = begin + expires_after > watermark
            watermark = max(watermark, at)
        watermarks[run] = watermark


def warm() -> None:
    """Compile it."""
    none, flags = np.zeros(0, np.int64), np.zeros(0, np.bool_)
    place(none, np.zeros(1, np.int64), 1, 1, 1, none, none, flags, flags)
