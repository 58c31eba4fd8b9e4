"""What waits for its other half, in a key-value store that names the offsets it reflects.

Keys, per model and partition (the prefix is their length-framed name)::

    PREFIX P id     an open prediction: offset (i64), event time (i64), its record
    PREFIX L id     an open label: offset (i64), observed at (i64), label (f64)
    PREFIX D id     both came: event time (i64)
    PREFIX T time offset   ids that expire together: expiry (i64, big-endian) and the first offset
    PREFIX O        offsets and watermarks of the two topics

Changes are collected in memory until the transaction of the outputs is through, then written at
once, so the store is never ahead of the log.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from driftloop.kernel.stores import KeyValueStore

OPEN_PREDICTION, OPEN_LABEL, DONE, EXPIRY, OFFSETS = b"P", b"L", b"D", b"T", b"O"
_HEAD = struct.Struct("<qq")
_LABEL = struct.Struct("<qqd")
_TIME = struct.Struct("<q")
_INDEX = struct.Struct(">Qq")
_PLACE = struct.Struct("<qqqqqq")
_ORIGIN = 1 << 63
"""Added to times in index keys, so that negative ones sort first."""


@dataclass(slots=True)
class Place:
    """How far the two topics are reflected, and what is open. Watermarks are event times."""

    predictions: int = 0
    labels: int = 0
    predicted_until: int = -(1 << 62)
    observed_until: int = -(1 << 62)
    open_predictions: int = 0
    open_labels: int = 0

    def pack(self) -> bytes:
        return _PLACE.pack(
            self.predictions,
            self.labels,
            self.predicted_until,
            self.observed_until,
            self.open_predictions,
            self.open_labels,
        )

    @classmethod
    def unpack(cls, data: bytes | None) -> Place:
        return cls() if data is None else cls(*_PLACE.unpack(data))


@dataclass(frozen=True, slots=True)
class OpenPrediction:
    offset: int
    event_time: int
    record: bytes

    def pack(self) -> bytes:
        return _HEAD.pack(self.offset, self.event_time) + self.record

    @classmethod
    def unpack(cls, data: bytes) -> OpenPrediction:
        offset, event_time = _HEAD.unpack_from(data)
        return cls(offset, event_time, data[_HEAD.size :])


@dataclass(frozen=True, slots=True)
class OpenLabel:
    offset: int
    observed_at: int
    label: float

    def pack(self) -> bytes:
        return _LABEL.pack(self.offset, self.observed_at, self.label)

    @classmethod
    def unpack(cls, data: bytes) -> OpenLabel:
        return cls(*_LABEL.unpack(data))


class JoinState:
    """The state of one model's partition."""

    def __init__(self, store: KeyValueStore, model: str, partition: int) -> None:
        self._store = store
        name = model.encode()
        self._prefix = struct.pack(">H", len(name)) + name + struct.pack(">I", partition)
        self._changes: dict[bytes, bytes | None] = {}
        self.place = Place.unpack(store.get_many([self._prefix + OFFSETS])[0])

    def get(self, kind: bytes, ids: Sequence[bytes]) -> list[bytes | None]:
        """Entries of these ids, uncommitted changes included."""
        keys = [self._prefix + kind + id for id in ids]
        changes = self._changes
        asked = [key for key in keys if key not in changes]
        stored = dict(zip(asked, self._store.get_many(asked), strict=True))
        return [changes[key] if key in changes else stored[key] for key in keys]

    def put(self, kind: bytes, id: bytes, value: bytes | None) -> None:
        """Set an entry, or delete it with None."""
        self._changes[self._prefix + kind + id] = value

    def expire_later(self, expiry: int, offset: int, tag: bytes, ids: Sequence[bytes]) -> None:
        """Remember that these ids' entries expire at ``expiry``; ``tag`` tells the two topics
        apart."""
        packed = b"".join(struct.pack("<I", len(id)) + id for id in ids)
        self._changes[self._prefix + EXPIRY + _INDEX.pack(expiry + _ORIGIN, offset) + tag] = packed

    def expired(self, until: int) -> Iterator[tuple[bytes, list[bytes]]]:
        """Index keys and ids of what expired before ``until``."""
        start = self._prefix + EXPIRY
        end = start + _INDEX.pack(until + _ORIGIN, 0)
        for key, packed in list(self._store.scan(start, end)):
            if key not in self._changes:
                yield key, _ids(packed)

    def forget(self, index_key: bytes) -> None:
        self._changes[index_key] = None

    def done(self, id: bytes, event_time: int) -> None:
        self.put(DONE, id, _TIME.pack(event_time))

    def commit(self) -> None:
        """Write what was collected, with the offsets it reflects."""
        self._changes[self._prefix + OFFSETS] = self.place.pack()
        self._store.write(self._changes)
        self._changes.clear()

    def wipe(self) -> None:
        """Start anew from an empty state."""
        self._changes.clear()
        # Every kind is an ASCII letter, so this bound lies after all of them.
        gone = dict.fromkeys(
            key for key, _ in self._store.scan(self._prefix, self._prefix + b"\xff")
        )
        self._store.write(gone)
        self.place = Place()


def _ids(packed: bytes) -> list[bytes]:
    found = []
    at = 0
    while at < len(packed):
        (length,) = struct.unpack_from("<I", packed, at)
        found.append(packed[at + 4 : at + 4 + length])
        at += 4 + length
    return found
