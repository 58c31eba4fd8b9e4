"""What is known of windows that were given out."""

from __future__ import annotations

import json
from dataclasses import dataclass

from driftloop.kernel.errors import DecodeError
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import OffsetRange

PUBLISHED = "published"
"""Last part of the key of a publication's entry; partials have their source partition there."""


@dataclass(frozen=True, slots=True)
class Publication:
    """The newest revision of a window that was given out."""

    revision: int
    watermark: int
    sources: tuple[OffsetRange, ...]

    def encode(self) -> bytes:
        ranges = [[s.topic, s.partition, s.start, s.end] for s in self.sources]
        return json.dumps([self.revision, self.watermark, ranges]).encode()

    @classmethod
    def decode(cls, data: bytes) -> Publication:
        """Raises :class:`DecodeError`."""
        try:
            revision, watermark, ranges = json.loads(data)
            sources = tuple(OffsetRange(str(t), int(p), int(a), int(b)) for t, p, a, b in ranges)
            return cls(int(revision), int(watermark), sources)
        except (ValueError, TypeError) as error:
            raise DecodeError(Reason.MALFORMED, f"no publication: {data[:80]!r}") from error

    def covers(self, source: OffsetRange) -> bool:
        """Whether what ``source`` says is in it already."""
        return any(s.partition == source.partition and s.end >= source.end for s in self.sources)


def reaches_further(sources: tuple[OffsetRange, ...], given: tuple[OffsetRange, ...]) -> bool:
    """Whether ``sources`` hold all of what was given out, and more. After a restart they may hold
    less until the partials are read again."""
    ends = {source.partition: source.end for source in sources}
    if any(ends.get(source.partition, -1) < source.end for source in given):
        return False
    return sum(ends.values()) > sum(source.end for source in given)
