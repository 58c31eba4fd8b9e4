"""A request for predictions between its reading and its answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from driftloop.inference.core import Serving
from driftloop.inference.protocol import Answer, InferRequest
from driftloop.inference.rows import RowReader, Rows
from driftloop.kernel.codec.blocks import F64, Features


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


def event_ids(job: Job) -> list[bytes]:
    """One per row: those given, the request's id for a single row, else ``ID/0``, ``ID/1``, ..."""
    if job.rows.ids is not None:
        return [id.encode() for id in job.rows.ids]
    if job.rows.count == 1:
        return [job.id.encode()]
    stem = job.id.encode()
    return [b"%s/%d" % (stem, row) for row in range(job.rows.count)]
