"""What stands before the body of an Avro record, and says which schema wrote it.

Single-object encoding: C3 01 and the schema's fingerprint (Avro 1.11). Confluent framing: 00 and
the schema's id in a registry, four bytes, big-endian. Which of them a process writes, and what ids
mean, is known to ``codec.wire``.
"""

from __future__ import annotations

from dataclasses import dataclass

from driftloop.kernel.errors import DecodeError
from driftloop.kernel.reasons import Reason

MARKER = b"\xc3\x01"
HEADER_LENGTH = 10
MAGIC = b"\x00"
ID_HEADER_LENGTH = 5
LARGEST_ID = 2**31 - 1
"""Registries count ids from 1, in a signed 32-bit number."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What a record's first bytes say."""

    fingerprint: bytes
    """Empty where the record names a registry's id."""
    schema_id: int
    """0 where the record names a fingerprint."""

    @property
    def length(self) -> int:
        """Bytes before the body."""
        return HEADER_LENGTH if self.fingerprint else ID_HEADER_LENGTH


def header(fingerprint: bytes) -> bytes:
    """Of single-object encoding."""
    return MARKER + fingerprint


def id_header(schema_id: int) -> bytes:
    """Of Confluent framing. Raises ValueError for what can be no id."""
    if not 1 <= schema_id <= LARGEST_ID:
        raise ValueError(f"schema id {schema_id} is not between 1 and {LARGEST_ID}")
    return MAGIC + schema_id.to_bytes(4, "big")


def frame_of(data: bytes) -> Frame:
    """The frame of a record, in either framing. Raises :class:`DecodeError`."""
    named = data[:1] == MAGIC
    length = ID_HEADER_LENGTH if named else HEADER_LENGTH
    if len(data) < length:
        raise DecodeError(Reason.TRUNCATED, f"{len(data)} bytes are shorter than an Avro header")
    if named:
        schema_id = int.from_bytes(data[1:length], "big")
        if not 1 <= schema_id <= LARGEST_ID:
            raise DecodeError(Reason.UNKNOWN_SCHEMA, f"schema id {schema_id} can be no registry's")
        return Frame(b"", schema_id)
    if data[:2] != MARKER:
        raise DecodeError(
            Reason.NOT_AVRO,
            f"starts with {data[:2].hex()}, neither with {MARKER.hex()} (single-object encoding) "
            f"nor with {MAGIC.hex()} (Confluent framing)",
        )
    return Frame(data[2:HEADER_LENGTH], 0)
