"""Dead letters: records no service could use, with their original bytes."""

from __future__ import annotations

from driftloop.kernel.errors import DecodeError
from driftloop.kernel.ports import RecordBatch
from driftloop.kernel.records import DeadLetter, Header


def dead_letter(service: str, batch: RecordBatch, row: int, error: DecodeError) -> DeadLetter:
    """The dead letter of one row of a batch."""
    headers = batch.headers[row] if batch.headers is not None else ()
    return DeadLetter(
        service=service,
        reason=str(error.reason),
        detail=error.detail[:500],
        topic=batch.topic,
        partition=batch.partition,
        offset=batch.offsets[row],
        timestamp=batch.timestamps[row],
        key=batch.keys[row],
        value=batch.values[row],
        headers=tuple(Header(key, value) for key, value in headers),
    )
