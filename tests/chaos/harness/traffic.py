"""What is sent, as a function of the seed: the producer makes it, the verdict makes it again.

Events come in chunks. A slot holds an event, an event twice, one that comes late or too late for
its window, or bytes that are no event. Labels follow by event time: most once, some before their
event, twice, after the horizon, in the wrong partition, never, for no event at all, or broken; some
that are early or after the horizon are twice there, too.
"""

from __future__ import annotations

import enum
import heapq
import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import fastavro
import numpy as np
import numpy.typing as npt

from driftloop.kernel.codec import wire
from driftloop.kernel.codec.murmur2 import partition_of
from driftloop.kernel.schemas import parse_schema, record_schema

from . import model
from .model import Kind, Scale

CHUNK = 1000
EARLY_MS = model.WINDOW_MS // 10
"""How long before its event an early label is sent."""
CLOSERS = 64
"""Events at the very end, far ahead in time: they close every window before them."""
ROUNDS = 2
"""How often they are sent, the second time when all is at rest: what expires is looked for when
something comes."""
CLOSER_AHEAD_MS = 5 * model.HORIZON_MS

CLOSER = b"c0000000"
"""What their ids begin with, and no other bytes of a record are likely to."""

_DOUBLE = struct.Struct("<d")
_TWO_DOUBLES = struct.Struct("<dd")


class Fate(enum.IntEnum):
    """What becomes of an event's slot."""

    PLAIN = 0
    TWICE = 1
    LATE = 2
    TOO_LATE = 3
    POISON = 4


class Labelling(enum.IntEnum):
    """What becomes of an event's label."""

    PLAIN = 0
    NEVER = 1
    EARLY = 2
    TWICE = 3
    AFTER_HORIZON = 4
    WRONG_PARTITION = 5
    BROKEN = 6
    ORPHAN = 7
    """The event's own label comes, and another one for an event there never was."""


_FATES = {Fate.TWICE: 0.002, Fate.LATE: 0.004, Fate.TOO_LATE: 0.0005, Fate.POISON: 0.001}
_LABELLINGS = {
    Labelling.NEVER: 0.02,
    Labelling.EARLY: 0.02,
    Labelling.TWICE: 0.02,
    Labelling.AFTER_HORIZON: 0.005,
    Labelling.WRONG_PARTITION: 0.002,
    Labelling.BROKEN: 0.001,
    Labelling.ORPHAN: 0.005,
}
POISONS = 10
BROKEN_LABELS = 7

Headers = list[tuple[str, bytes | None]]


class Message(NamedTuple):
    """One record to be produced."""

    key: bytes
    value: bytes | None
    partition: int | None = None
    """None: where the key puts it."""
    headers: Headers | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """The columns of consecutive slots."""

    first: int
    fate: npt.NDArray[np.int64]
    labelling: npt.NDArray[np.int64]
    position: npt.NDArray[np.float64]
    """Event time at which the slot's turn comes, ms."""
    time: npt.NDArray[np.int64]
    """The event's own time."""
    x0: npt.NDArray[np.float64]
    x1: npt.NDArray[np.float64]
    x2: npt.NDArray[np.float64]
    n: npt.NDArray[np.int64]
    colour: npt.NDArray[np.int64]
    shape: npt.NDArray[np.int64]
    """-1: null."""
    label: npt.NDArray[np.int64]
    delay: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.time)


def event_id(index: int) -> bytes:
    return b"e%09d" % index


def index_of(id: bytes) -> int:
    """-1 for the id of no slot."""
    return int(id[1:]) if id[:1] == b"e" else -1


def repeated(
    labelling: npt.NDArray[np.int64], index: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Whose label comes once more: of some of those that wait for their event or come after the
    horizon too."""
    some = np.isin(labelling, (Labelling.EARLY, Labelling.AFTER_HORIZON)) & (index % 4 == 0)
    return np.asarray(some | (labelling == Labelling.TWICE))


class Traffic:
    """Everything that one seed gives."""

    def __init__(
        self, seed: int, scale: Scale, kind: Kind | None = None, often: float = 1.0
    ) -> None:
        """``kind`` says of which model, and ``often`` how many times as often as usually something
        is out of the ordinary."""
        self.seed = seed
        self.scale = scale
        self.kind = kind or Kind()
        self._often = often
        self._colours = [colour.encode() for colour in self.kind.colours]
        self._event_head = wire.in_force().header(parse_schema(model.SCHEMA))
        self._label_head = wire.in_force().header(record_schema("label"))

    @property
    def end_ms(self) -> int:
        return model.BEGIN_MS + round(self.scale.events * self.scale.step_ms)

    def chunk(self, number: int) -> Chunk:
        """Slots [number * CHUNK, ...), the last chunk shorter."""
        first = number * CHUNK
        n = min(CHUNK, self.scale.events - first)
        rng = np.random.default_rng([self.seed, 1, number])
        slots = np.arange(first, first + n)
        position = model.BEGIN_MS + slots * self.scale.step_ms
        regime = ((slots // (self.scale.window_rows * self.scale.regime_windows)) % 2).astype(bool)
        fate = _drawn(rng, n, _FATES, self._often)
        labelling = _drawn(rng, n, _LABELLINGS, self._often)
        back = rng.uniform(0, 2_000, n)
        window = model.WINDOW_MS
        late = fate == Fate.LATE
        back[late] = model.LATENESS_MS + rng.uniform(0, 2 * window, late.sum())
        lost = fate == Fate.TOO_LATE
        back[lost] = model.RETENTION_MS + window + rng.uniform(2 * window, 3 * window, lost.sum())
        x0 = rng.normal(size=n)
        x1 = rng.normal(size=n) + 0.8 * regime
        x2 = np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n) * 1e3)
        count = rng.poisson(3, n)
        colour = rng.integers(0, len(self._colours) - 1 + regime)
        shape = rng.integers(-1, len(model.SHAPES), n)
        sign = np.where(regime, -1.0, 1.0)
        logit = sign * (1.5 * x0 - 0.5 * x1 + 0.4 * (colour == 0) - 0.1 * (count - 3))
        label = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(np.int64)
        delay = np.minimum(rng.exponential(window / 2, n), 5 * window)
        delay[labelling == Labelling.EARLY] = 0
        after = labelling == Labelling.AFTER_HORIZON
        delay[after] = model.HORIZON_MS * rng.uniform(1.05, 1.3, after.sum())
        # Whoever comes very late is labelled at once, so no label stands behind by the horizon.
        return Chunk(
            first, fate, labelling, position, (position - back).astype(np.int64), x0, x1, x2,
            count, colour, shape, label, delay.astype(np.int64),
        )  # fmt: skip

    @property
    def chunks(self) -> int:
        return -(-self.scale.events // CHUNK)

    def events(self, chunk: Chunk) -> list[list[Message]]:
        """Per slot what is sent for it."""
        out = []
        for row in range(len(chunk)):
            value = self._event(chunk, row)
            key = event_id(chunk.first + row)
            fate = chunk.fate[row]
            if fate == Fate.POISON:
                out.append([_poisoned(key, value, (chunk.first + row) % POISONS, row)])
            elif fate == Fate.TWICE:
                out.append([Message(key, value), Message(key, value)])
            else:
                out.append([Message(key, value)])
        return out

    def labels(self, chunk: Chunk) -> Iterator[tuple[float, Message]]:
        """With the event time at which each is sent."""
        again = repeated(chunk.labelling, chunk.first + np.arange(len(chunk)))
        for row in range(len(chunk)):
            index = chunk.first + row
            kind = chunk.labelling[row]
            if kind == Labelling.NEVER or chunk.fate[row] == Fate.POISON:
                continue
            key = event_id(index)
            observed = int(chunk.time[row] + chunk.delay[row])
            label = int(chunk.label[row])
            value = self.label(key, label, observed)
            sent = float(chunk.position[row] + chunk.delay[row])
            if kind == Labelling.EARLY:
                yield sent - EARLY_MS, Message(key, value)
            elif kind == Labelling.BROKEN:
                yield sent, self._broken_label(key, value, index % BROKEN_LABELS, observed)
            elif kind == Labelling.WRONG_PARTITION:
                home = partition_of(key, model.PARTITIONS)
                yield sent, Message(key, value, (home + 1 + index % 3) % model.PARTITIONS)
            else:
                yield sent, Message(key, value)
            if again[row]:
                # Sometimes it says something else; the first one counts.
                other = label if index % 3 else 1 - label
                after = -EARLY_MS // 2 if kind == Labelling.EARLY else 500 * (index % 7)
                yield sent + after, Message(key, self.label(key, other, observed + 1))
            elif kind == Labelling.ORPHAN:
                nobody = b"o%09d" % index
                yield sent, Message(nobody, self.label(nobody, label, observed))

    def closers(self, turn: int) -> tuple[list[Message], list[Message]]:
        """Events and labels that end the run: after them every window before is closed."""
        times = closing_times(self.end_ms)
        events, labels = [], []
        for number in range(turn * CLOSERS, (turn + 1) * CLOSERS):
            key = b"c%09d" % number
            time = int(times[number])
            value = self._encode(key, time, 0.5, 0.25, None, 3, self._colours[0], b"round")
            events.append(Message(key, value))
            labels.append(Message(key, self.label(key, number % 2, time + 1)))
        return events, labels

    def label(self, id: bytes, label: int, observed_at: int) -> bytes:
        return b"".join(
            (self._label_head, _varint(2 * len(id)), id, _DOUBLE.pack(label), _zigzag(observed_at))
        )

    def _event(self, chunk: Chunk, row: int) -> bytes:
        x2 = float(chunk.x2[row])
        shape = int(chunk.shape[row])
        return self._encode(
            event_id(chunk.first + row),
            int(chunk.time[row]),
            float(chunk.x0[row]),
            float(chunk.x1[row]),
            None if x2 != x2 else x2,
            int(chunk.n[row]),
            self._colours[chunk.colour[row]],
            None if shape < 0 else _SHAPES[shape],
        )

    def _encode(
        self,
        id: bytes,
        time: int,
        x0: float,
        x1: float,
        x2: float | None,
        n: int,
        colour: bytes,
        shape: bytes | None,
    ) -> bytes:
        return b"".join(
            (
                self._event_head,
                _varint(2 * len(id)),
                id,
                _zigzag(time),
                _TWO_DOUBLES.pack(x0, x1),
                b"\0" if x2 is None else b"\2" + _DOUBLE.pack(x2),
                _zigzag(n),
                _varint(2 * len(colour)),
                colour,
                b"\0" if shape is None else b"\2" + _varint(2 * len(shape)) + shape,
            )
        )

    def _broken_label(self, key: bytes, value: bytes, kind: int, observed: int) -> Message:
        broken: dict[int, bytes | None] = {
            0: value[:-3],
            1: value + b"\0",
            2: b"not avro",
            3: None,
            4: self.label(key, 2, observed),
            5: self.label(key, 1, 1),  # observed in 1970
            6: b"",
        }
        return Message(key, broken[kind], headers=[("why", b"broken on purpose"), ("none", None)])


def closing_times(end_ms: int) -> npt.NDArray[np.int64]:
    """Of the closing events of all rounds."""
    numbers = np.arange(ROUNDS * CLOSERS)
    # Whatever came in one batch with the first round expires with it, two horizons later.
    return end_ms + CLOSER_AHEAD_MS + numbers + numbers // CLOSERS * 3 * model.HORIZON_MS


class LabelQueue:
    """Labels in the order in which they are sent."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Message]] = []
        self._count = 0

    def put(self, sent: float, message: Message) -> None:
        heapq.heappush(self._heap, (sent, self._count, message))
        self._count += 1

    def until(self, position: float) -> list[Message]:
        """Those whose time has come."""
        out = []
        while self._heap and self._heap[0][0] <= position:
            out.append(heapq.heappop(self._heap)[2])
        return out


def _poisoned(key: bytes, value: bytes, kind: int, salt: int) -> Message:
    broken: dict[int, bytes | None] = {
        0: value[: 11 + salt % 20],
        1: value + b"\xff",
        2: b"\xc3\x01" + b"\x11" * 8 + value[10:],
        3: None,
        4: b'{"id": "json is no avro"}',
        5: b"",
        6: value[:10] + b"\x14" + b"\xff\xfe" + value[13:],  # an id that is no UTF-8
        7: value[:10] + b"\xfe\xff\xff\xff\x0f" + value[11:],  # a length beyond the record
        8: bytes((salt * 7 + i * 31) % 256 for i in range(2000)),
        9: _with_long_category(key, value[:10], 900_000 if salt // POISONS % 2 else 1_025),
    }
    return Message(key, broken[kind], headers=[("poison", b"%d" % kind), ("none", None)])


def _with_long_category(key: bytes, header: bytes, length: int) -> bytes:
    """An event in all else."""
    event = {"id": key.decode(), "at": model.BEGIN_MS, "x0": 0.0, "x1": 0.0, "x2": None, "n": 0}
    out = io.BytesIO()
    fastavro.schemaless_writer(out, _EVENT.parsed, event | {"colour": "x" * length, "shape": None})
    return header + out.getvalue()


_EVENT = parse_schema(model.SCHEMA)
_SHAPES = [shape.encode() for shape in model.SHAPES]


def _drawn(
    rng: np.random.Generator, n: int, shares: dict[Any, float], often: float
) -> npt.NDArray[np.int64]:
    out = np.zeros(n, np.int64)
    drawn = rng.random(n)
    upper = 0.0
    for kind, usual in shares.items():
        share = usual * often
        out[(drawn >= upper) & (drawn < upper + share)] = kind
        upper += share
    return out


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _zigzag(value: int) -> bytes:
    return _varint(value << 1 if value >= 0 else (-value << 1) - 1)
