"""How what waits is laid out in the store.

Keys, per model and partition (the prefix is their length-framed name)::

    PREFIX E id            when it expires (i64), behind a letter, and
                           P: an open prediction: offset (i64), its record
                           L: an open label: offset, observed at (i64), label (f64)
                           D: both came
    PREFIX T time offset   ids that expire together: expiry (i64, big-endian) and the first offset
    PREFIX O               watermarks of the two topics, and what is open
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from driftloop.kernel.slices import Slices

ABSENT, PREDICTION, LABEL, DONE, GONE = -1, 0, 1, 2, 3
"""What is known of an id. In memory an entry is ``4 * number + kind``, the number being that of a
kept row; in the store its first byte tells."""
TAGS = {b"P"[0]: PREDICTION, b"L"[0]: LABEL, b"D"[0]: DONE}
ENTRY, EXPIRY, PLACE = b"E", b"T", b"O"
NEVER = 1 << 62
"""When at the latest something expires, event time. Its negative is before everything."""

_ENDS = struct.Struct("<q")
_PREDICTION = struct.Struct("<qq")
_LABEL = struct.Struct("<qqqd")
_INDEX = struct.Struct(">Qq")
_PLACE = struct.Struct("<qqqq")
_COUNT = struct.Struct("<q")
_ORIGIN = 1 << 63
"""Added to times in index keys, so that negative ones sort first."""


@dataclass(slots=True)
class Place:
    """What is open, and the watermarks of the two topics: event times."""

    predicted_until: int = -NEVER
    observed_until: int = -NEVER
    open_predictions: int = 0
    open_labels: int = 0

    @property
    def passed(self) -> int:
        """What expires before this has expired. Both topics must have passed it, by the records'
        own times: however far ahead the predictions are read or produced, they wait for labels
        that are yet to come."""
        return min(self.predicted_until, self.observed_until)

    def pack(self) -> bytes:
        return _PLACE.pack(
            self.predicted_until,
            self.observed_until,
            self.open_predictions,
            self.open_labels,
        )

    @classmethod
    def unpack(cls, data: bytes | None) -> Place:
        return cls() if data is None else cls(*_PLACE.unpack(data))


def prefix_of(model: str, partition: int) -> bytes:
    """Of all keys of a model's partition."""
    name = model.encode()
    return struct.pack(">H", len(name)) + name + struct.pack(">I", partition)


def after(kind: bytes) -> bytes:
    """The end of the keys of a kind."""
    return bytes([kind[0] + 1])


def pack_prediction(expiry: int, offset: int, record: bytes) -> bytes:
    return b"P" + _PREDICTION.pack(expiry, offset) + record


def unpack_prediction(value: bytes | None) -> tuple[int, int, bytes]:
    """Expiry, offset and record of an open prediction."""
    assert value is not None  # it was found there a moment ago
    expiry, offset = _PREDICTION.unpack_from(value, 1)
    return expiry, offset, value[1 + _PREDICTION.size :]


def pack_label(expiry: int, offset: int, observed_at: int, label: float) -> bytes:
    return b"L" + _LABEL.pack(expiry, offset, observed_at, label)


def unpack_label(value: bytes | None) -> tuple[int, int, float]:
    """Offset, time of observation and label of an open label."""
    assert value is not None
    _, offset, observed_at, label = _LABEL.unpack_from(value, 1)
    return offset, observed_at, label


def pack_done(expiry: int) -> bytes:
    return b"D" + _ENDS.pack(expiry)


def expiry_of(value: bytes) -> int:
    """Of an entry of any kind."""
    expiry: int = _ENDS.unpack_from(value, 1)[0]
    return expiry


def index_key(expiry: int, offset: int, tag: bytes) -> bytes:
    """Of ids that expire together, behind the prefix; ``tag`` tells the two topics apart."""
    return EXPIRY + _INDEX.pack(expiry + _ORIGIN, offset) + tag


def pack_ids(ids: Slices[bytes]) -> bytes:
    """How many, their lengths, their bytes; ids that lie one after the other."""
    lengths = ids.length.astype("<i4").tobytes()
    return _COUNT.pack(len(ids)) + lengths + ids.data[: ids.total()].tobytes()


def unpack_ids(packed: bytes) -> Slices[bytes]:
    (count,) = _COUNT.unpack_from(packed)
    length = np.frombuffer(packed, "<i4", count, _COUNT.size).astype(np.int64)
    data = np.frombuffer(packed, np.uint8, -1, _COUNT.size + 4 * count)
    return Slices(data, np.cumsum(length) - length, length)
