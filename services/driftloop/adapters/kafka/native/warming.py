"""Compiles the loops over messages ahead of the first batch."""

from __future__ import annotations

import numpy as np

from driftloop.adapters.kafka.native import kernels
from driftloop.adapters.kafka.native.reports import Tallies


def warm() -> None:
    """Run every compiled loop once, on no messages; from the cache on disk where it is warm."""
    none, small = np.zeros(0, np.int64), np.zeros(0, np.int32)
    data = np.zeros(0, np.uint8)
    fixed = data.view()
    fixed.flags.writeable = False
    totals = np.zeros(4, np.int64)
    kernels.survey(none, 0, 0, 0, 0, 0, small, *(none,) * 9, totals)
    kernels.copy_out(none, 0, small, *(none,) * 5, data, *(none,) * 7)
    starts = np.zeros(1, np.int64)
    kernels.copy_headers(none, 0, none, none, 0, starts, data, none, none, data, none, none)
    kernels.release(none, 0, 0)
    messages = np.zeros((0, kernels.MESSAGE_WORDS), np.int64)
    kernels.fill_messages(messages, 0, none, none, 0, none, none, 0)
    kernels.produce_each(
        0, 0, 0, 0, 0, 0, none, none, 0, none, none, none, none, 0, none, 0, none, none, 0
    )
    assert Tallies(1).callback
