"""Avro single-object encoding: the marker C3 01, the schema's fingerprint, the body."""

from __future__ import annotations

from driftloop.kernel.errors import DecodeError
from driftloop.kernel.reasons import Reason

MARKER = b"\xc3\x01"
HEADER_LENGTH = 10


def header(fingerprint: bytes) -> bytes:
    """The ten bytes before the body."""
    return MARKER + fingerprint


def fingerprint_of(data: bytes) -> bytes:
    """The fingerprint a message names. Raises :class:`DecodeError`."""
    if len(data) < HEADER_LENGTH:
        raise DecodeError(Reason.TRUNCATED, f"{len(data)} bytes are shorter than an Avro header")
    if data[:2] != MARKER:
        raise DecodeError(
            Reason.NOT_AVRO,
            f"starts with {data[:2].hex()}, not with {MARKER.hex()} (single-object)",
        )
    return data[2:HEADER_LENGTH]
