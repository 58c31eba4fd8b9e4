"""A request for predictions between its reading and its answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from driftloop.inference.core import Serving
from driftloop.inference.protocol import Answer, InferRequest
from driftloop.inference.rows import RowReader, Rows
from driftloop.kernel.codec.blocks import F64, I64, Features
from driftloop.kernel.codec.numbering import numbered
from driftloop.kernel.slices import Slices


@dataclass(slots=True, eq=False)
class Job:
    """One request on its way."""

    reader: RowReader
    version: int
    """As asked for, or NEWEST."""
    request: InferRequest
    rows: Rows
    id: str
    began: float
    """By the monotonic clock, s."""
    reply: Callable[[int, Answer, int], None]
    """Status, body, seconds to wait before asking again (0: no use)."""
    is_gone: Callable[[], bool]
    held: Answer | None = field(default=None, init=False)
    """Waits for its records to be acknowledged (strict)."""


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A micro-batch that is not written down yet; its jobs are answered, or held."""

    reader: RowReader
    scorer: Serving
    jobs: Sequence[Job]
    scores: F64
    features: Features


def event_ids(jobs: Sequence[Job]) -> Slices[bytes]:
    """One per row: those given, the request's id for a single row, else ``ID/0``, ``ID/1``, ..."""
    stems: list[bytes] = []
    counts: list[int] = []
    for job in jobs:
        if job.rows.ids is None:
            stems.append(job.id.encode())
            counts.append(job.rows.count)
        else:
            stems += [id.encode() for id in job.rows.ids]
            counts += [1] * job.rows.count
    if len(counts) == sum(counts):
        return Slices.of(stems)
    return numbered(Slices.of(stems), np.array(counts, np.int64))


def event_times(jobs: Sequence[Job]) -> I64:
    """One per row."""
    if all(isinstance(job.rows.times, int) for job in jobs):
        times = np.array([job.rows.times for job in jobs], np.int64)
        return np.repeat(times, [job.rows.count for job in jobs])
    return np.concatenate(
        [np.broadcast_to(np.array(job.rows.times, np.int64), job.rows.count) for job in jobs]
    )
