"""Recomputing a window from the log."""

from __future__ import annotations

import numpy as np

from driftloop.kernel import sharing
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.errors import VerificationError
from driftloop.kernel.ports import Log, TopicPartition
from driftloop.kernel.records import Profile, Window, WindowStatistics
from driftloop.kernel.statistics.merge import statistics_digest
from driftloop.kernel.statistics.sketch import Sketch
from driftloop.kernel.window_rows import decode_rows
from driftloop.kernel.windows import times_of


def recompute_window(
    log: Log, declaration: Declaration, profile: Profile | None, window: Window
) -> WindowStatistics:
    """The statistics of the rows that the window names: those of its offset ranges with event time
    in [start, end), its version and its shadow.

    ``profile`` is that of the window's version, None for version 0. Raises
    :class:`VerificationError` when the log no longer holds a range.
    """
    first, end = times_of(window.start, window.end, declaration)
    sketch = Sketch(declaration, profile, window.stream, shadow=window.shadow >= 0)
    starts = log.start_offsets([source.topic for source in window.sources])
    for source in window.sources:
        partition = TopicPartition(source.topic, source.partition)
        oldest = starts.get(partition)
        if oldest is None or oldest > source.start:
            raise VerificationError(
                f"window {window.id} was made from {source.topic}/{source.partition} offsets "
                f"[{source.start}, {source.end}), but the log holds "
                + ("no such partition" if oldest is None else f"only those from {oldest} on")
            )
        for batch in log.read(partition, source.start, source.end):
            rows = decode_rows(
                declaration, window.stream, sharing.of_model(declaration, batch).values
            )
            chosen = (
                (rows.time >= first)
                & (rows.time < end)
                & (rows.version == window.version)
                & (rows.shadow == window.shadow)
            )
            rows.update(sketch, np.flatnonzero(chosen))
    return sketch.statistics()


def verify_window(
    log: Log, declaration: Declaration, profile: Profile | None, window: Window
) -> bool:
    """Whether the window's statistics follow from the log, bit for bit, and its digest from them.

    Raises :class:`VerificationError` when it cannot be recomputed.
    """
    recomputed = statistics_digest(recompute_window(log, declaration, profile, window))
    return recomputed == window.digest == statistics_digest(window.statistics)
