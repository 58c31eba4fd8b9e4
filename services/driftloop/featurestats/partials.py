"""Partials as they come: what featurestats cannot have written is told from what it can."""

from __future__ import annotations

from driftloop.kernel.codec.records import codec
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import Partial
from driftloop.kernel.statistics.checks import check_statistics

_MOST_PARTITIONS = 1 << 16
"""Of a source topic: no Kafka has one of so many."""


def read_partial(data: bytes | None) -> Partial:
    """Raises :class:`DecodeError` for what featurestats cannot have written."""
    partial = codec(Partial).decode(data)
    check_statistics(partial.statistics)
    check_source(partial)
    return partial


def check_source(partial: Partial) -> None:
    """Raises :class:`DecodeError`."""
    numbered = {
        "a source partition": partial.source.partition,
        "a count of source partitions": partial.source_partitions,
    }
    for what, number in numbered.items():
        # The watermark looks at every partition that is said to be there.
        if not 0 <= number <= _MOST_PARTITIONS:
            raise DecodeError(Reason.OUT_OF_LIMITS, f"{what} of {number}")
