"""What was sent: the traffic made once more, and where the log has it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt

from driftloop.kernel.codec.murmur2 import partition_of
from driftloop.kernel.topics import ModelTopics

from . import model
from .model import Kind
from .reading import Record, read
from .traffic import (
    CLOSERS,
    ROUNDS,
    Chunk,
    Fate,
    Labelling,
    Traffic,
    closing_times,
    index_of,
    repeated,
)

Place = tuple[str, int, int]
"""Topic, partition, offset."""
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

NOBODY = -1
_DOUBLE = struct.Struct("<d")


class ProducerFaultError(Exception):
    """The log does not hold what the producer was to send: nothing can be judged."""


@dataclass(slots=True)
class Slots:
    """The columns of all slots, the closing events after the others."""

    fate: I64
    labelling: I64
    time: I64
    x0: F64
    x1: F64
    x2: F64
    n: I64
    colour: I64
    shape: I64

    @classmethod
    def of(cls, traffic: Traffic) -> Slots:
        chunks: list[Chunk] = [traffic.chunk(number) for number in range(traffic.chunks)]
        closers = ROUNDS * CLOSERS
        closing = {
            "time": closing_times(traffic.end_ms),
            "x0": np.full(closers, 0.5),
            "x1": np.full(closers, 0.25),
            "x2": np.full(closers, np.nan),
            "n": np.full(closers, 3),
        }
        zeros = np.zeros(closers, np.int64)
        return cls(
            *(
                np.concatenate([*(getattr(c, f.name) for c in chunks), closing.get(f.name, zeros)])
                for f in fields(cls)
            )
        )

    def __len__(self) -> int:
        return len(self.time)


@dataclass(slots=True)
class Labels:
    """Labels that can be used, in offset order within a partition, as columns."""

    slot: I64
    """NOBODY for the label of no event."""
    partition: I64
    offset: I64
    label: F64
    observed_at: I64


@dataclass(slots=True)
class Truth:
    """The two source topics."""

    slots: Slots
    slot_at: list[I64] = field(default_factory=list)
    """Per partition of the events: offset to slot; NOBODY for gaps and for poison."""
    labels: Labels = field(init=False)
    broken: dict[Place, Record] = field(default_factory=dict)
    """Records that must become dead letters."""
    every_label: int = 0
    every_event: int = 0
    kind: Kind = field(default_factory=Kind)

    @property
    def events(self) -> int:
        """Valid events."""
        return sum(int((at != NOBODY).sum()) for at in self.slot_at)


def read_truth(bootstrap: str, topics: ModelTopics, traffic: Traffic) -> Truth:
    """Raises :class:`ProducerFaultError`."""
    truth = Truth(Slots.of(traffic), kind=traffic.kind)
    _read_events(bootstrap, topics.events, truth)
    _read_labels(bootstrap, topics.labels, truth)
    return truth


def slot_of(id: bytes, slots: int) -> int:
    """NOBODY for an id of no event."""
    if id[:1] == b"c":
        return slots - ROUNDS * CLOSERS + int(id[1:])
    return index_of(id)


def _read_events(bootstrap: str, topic: str, truth: Truth) -> None:
    slots = truth.slots
    places: list[list[int]] = [[] for _ in range(model.PARTITIONS)]
    found: list[list[int]] = [[] for _ in range(model.PARTITIONS)]
    for record in read(bootstrap, topic, truth.kind.owner):
        assert record.key is not None
        truth.every_event += 1
        slot = slot_of(record.key, len(slots))
        places[record.partition].append(record.offset)
        found[record.partition].append(slot)
        if slots.fate[slot] == Fate.POISON:
            truth.broken[topic, record.partition, record.offset] = record
    times = np.zeros(len(slots), np.int64)
    for offsets, indices in zip(places, found, strict=True):
        at = np.full(max(offsets, default=-1) + 1, NOBODY)
        np.add.at(times, indices, 1)
        at[offsets] = indices
        poison = at != NOBODY
        poison[poison] = slots.fate[at[poison]] == Fate.POISON
        at[poison] = NOBODY
        truth.slot_at.append(at)
    expected = 1 + (slots.fate == Fate.TWICE)
    if not np.array_equal(times, expected):
        wrong = np.flatnonzero(times != expected)
        raise ProducerFaultError(
            f"{len(wrong)} slots were not sent as planned, the first is {wrong[0]}"
        )


def _read_labels(bootstrap: str, topic: str, truth: Truth) -> None:
    slots = truth.slots
    columns: tuple[list[int], list[int], list[int], list[float], list[int]] = ([], [], [], [], [])
    for record in read(bootstrap, topic, truth.kind.owner):
        assert record.key is not None
        truth.every_label += 1
        slot = slot_of(record.key, len(slots))
        kind = Labelling.PLAIN if slot == NOBODY else slots.labelling[slot]
        if kind == Labelling.BROKEN or (
            kind == Labelling.WRONG_PARTITION
            and partition_of(record.key, model.PARTITIONS) != record.partition
        ):
            truth.broken[topic, record.partition, record.offset] = record
            continue
        label, observed_at = parse_label(record.key, record.value)
        for column, value in zip(
            columns, (slot, record.partition, record.offset, label, observed_at), strict=True
        ):
            column.append(value)
    order = np.lexsort((columns[2], columns[1]))
    truth.labels = Labels(
        *(np.asarray(column, np.int64)[order] for column in columns[:3]),
        np.asarray(columns[3], np.float64)[order],
        np.asarray(columns[4], np.int64)[order],
    )
    unlabelled = (slots.labelling == Labelling.NEVER) | (slots.fate == Fate.POISON)
    unusable = np.isin(slots.labelling, (Labelling.BROKEN, Labelling.WRONG_PARTITION))
    own = ~(unlabelled | unusable)
    expected = own.astype(np.int64) + (own & repeated(slots.labelling, np.arange(len(slots))))
    have = np.bincount(truth.labels.slot[truth.labels.slot != NOBODY], minlength=len(slots))
    if not np.array_equal(have, expected):
        wrong = np.flatnonzero(have != expected)
        raise ProducerFaultError(
            f"{len(wrong)} labels were not sent as planned, the first {wrong[0]}"
        )


def parse_label(key: bytes, data: bytes | None) -> tuple[float, int]:
    """Label and time of a ``Label`` record, by hand. Raises :class:`ProducerFaultError` where it is
    not that of the event ``key``."""
    at = 11 + len(key)
    if data is None or data[11:at] != key:
        raise ProducerFaultError(f"the label of {key!r} is {data!r}")
    (label,) = _DOUBLE.unpack_from(data, at)
    value = shift = 0
    for byte in data[at + 8 :]:
        value |= (byte & 0x7F) << shift
        shift += 7
    return label, (value >> 1) ^ -(value & 1)


def first_of_each(keys: I64, among: Sequence[bool] | npt.NDArray[np.bool_]) -> I64:
    """Positions of the first occurrence of every key among the chosen ones, in key order."""
    chosen = np.flatnonzero(among)
    _, first = np.unique(keys[chosen], return_index=True)
    return chosen[first]
