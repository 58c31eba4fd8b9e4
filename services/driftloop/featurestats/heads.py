"""What partials and windows say without their statistics."""

from __future__ import annotations

from typing import TypeVar

from driftloop.kernel.codec.records import codec
from driftloop.kernel.records import Partial, Window

_Record = TypeVar("_Record", Partial, Window)

_STATISTICS = frozenset(
    {"numeric", "categorical", "segments", "labels", "histogram", "bins", "bets", "better", "worse"}
)
"""The arrays of the statistics: nearly all of a record's bytes."""


def decode_head(kind: type[_Record], data: bytes | None) -> _Record:
    """With empty statistics, in a small part of the time. Raises :class:`DecodeError`."""
    return codec(kind).decode(data, leaving_out=_STATISTICS)
