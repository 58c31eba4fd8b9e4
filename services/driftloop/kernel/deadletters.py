"""Dead letters: records no service could use, with their original bytes."""

from __future__ import annotations

from driftloop.kernel.errors import DecodeError
from driftloop.kernel.ports import Headers, RecordBatch, TopicPartition
from driftloop.kernel.records import DeadLetter, Header
from driftloop.kernel.topics import LARGEST_VALUE

_PER_HEADER = 16
"""Bytes for its lengths."""
_NO_TIMESTAMP = -1
"""As Kafka has it."""


def dead_letter(service: str, batch: RecordBatch, row: int, error: DecodeError) -> DeadLetter:
    """The dead letter of one row of a batch. Of a record that does not fit into one, as a topic may
    allow, it says where the record is."""
    headers = batch.headers[row] if batch.headers is not None else ()
    key, value, detail = batch.keys[row], batch.values[row], error.detail[:500]
    size = sum(len(part) for part in (key, value) if part is not None)
    size += sum(len(name.encode()) + len(own or b"") + _PER_HEADER for name, own in headers)
    if size > LARGEST_VALUE:
        detail += f" ({size} bytes do not fit into a dead letter: read the record at its offset)"
        key, value, headers = None, None, ()
    return DeadLetter(
        service=service,
        reason=str(error.reason),
        detail=detail,
        topic=batch.topic,
        partition=batch.partition,
        offset=batch.offsets[row],
        timestamp=batch.timestamps[row],
        key=key,
        value=value,
        headers=tuple(Header(key, value) for key, value in headers),
    )


def letter_of_place(
    service: str,
    source: TopicPartition,
    offset: int,
    key: bytes,
    error: DecodeError,
    headers: Headers = (),
) -> DeadLetter:
    """The dead letter of a record that is found to be of no use when only its place is known any
    more."""
    return DeadLetter(
        service=service,
        reason=str(error.reason),
        detail=f"{error.detail[:400]} (it is not kept: read the record at its offset)",
        topic=source.topic,
        partition=source.partition,
        offset=offset,
        timestamp=_NO_TIMESTAMP,
        key=key,
        value=None,
        headers=tuple(Header(name, own) for name, own in headers),
    )
