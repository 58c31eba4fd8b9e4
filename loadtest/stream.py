"""A stream of synthetic events with labels, of any width: the declaration, and batches of records.

The features are standard normal; the label depends on the first two by a logistic law, so there is
something to learn. ``payload`` bytes that no feature uses stand for what real events carry besides.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from driftloop.cli.applying import DeclaredModel
from driftloop.kernel.codec.blocks import F64, I64
from driftloop.kernel.codec.columns import Columns
from driftloop.kernel.codec.plan import Want
from driftloop.kernel.codec.writing import ColumnWriter
from driftloop.kernel.declaration_toml import parse_declaration
from driftloop.kernel.schemas import parse_schema, record_schema
from driftloop.kernel.slices import Slices
from driftloop.models.parameters import check_parameters

_ID_DIGITS = 12


def event_schema(features: int, payload: int = 0) -> str:
    """The Avro schema of events: id, time, ``features`` doubles, and bytes to be skipped."""
    fields: list[dict[str, object]] = [
        {"name": "id", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        *({"name": f"x{k}", "type": "double"} for k in range(features)),
    ]
    if payload:
        fields.append({"name": "payload", "type": "bytes"})
    return json.dumps({"type": "record", "name": "Stream", "namespace": "load", "fields": fields})


def declared(
    name: str = "stream",
    *,
    features: int = 20,
    payload: int = 0,
    partitions: int = 4,
    window: str = "10s",
    minimum_labels: int = 20_000,
    shared: str = "",
) -> DeclaredModel:
    """A binary model of such events; it trains once, and then no more."""
    schema = event_schema(features, payload)
    lines = [
        "[model]",
        f'name = "{name}"',
        f"partitions = {partitions}",
        "[events]",
        'schema = "stream.avsc"',
        'id = "id"',
        'time = "at"',
        "[labels]",
        'horizon = "1h"',
        "[windows]",
        f'size = "{window}"',
        'lateness = "2s"',
        "[training]",
        f"minimum_labels = {minimum_labels}",
        'schedule = "never"',
        'history = "1h"',
        "on_alerts = []",
        "[[training.candidates]]",
        'trainer = "river_logistic"',
        "[promotion]",
        "error_rate = 0.1",
        "maximum_rows = 20000",
    ]
    if shared:
        lines += ["[topics]", f'shared = "{shared}"']
    for k in range(features):
        lines += ["[[features]]", f'name = "x{k}"', 'kind = "numeric"', "limits = [-100, 100]"]
    text = "\n".join(lines)
    declaration = parse_declaration(
        text, source=name, event_schema=schema, check_candidate=check_parameters
    )
    return DeclaredModel(declaration, text, schema)


@dataclass(frozen=True, slots=True)
class Rows:
    """Consecutive rows of the stream."""

    ids: Slices[bytes]
    numbers: F64
    labels: F64


class Stream:
    """Rows by number: the same row is the same whenever it is asked for."""

    def __init__(self, features: int, *, seed: int = 1, distinct: int = 16_384) -> None:
        draw = np.random.default_rng(seed)
        self._numbers: F64 = draw.standard_normal((distinct, features))
        logit = 1.5 * self._numbers[:, 0] - (self._numbers[:, 1] if features > 1 else 0.0) - 0.5
        self._labels: F64 = (draw.random(distinct) < 1.0 / (1.0 + np.exp(-logit))).astype(float)

    def rows(self, first: int, count: int) -> Rows:
        """``count`` rows from number ``first`` on; ids are ``e`` and twelve digits."""
        number = np.arange(first, first + count, dtype=np.int64)
        digits = np.empty((count, _ID_DIGITS + 1), np.uint8)
        digits[:, 0] = ord("e")
        rest = number
        for place in range(_ID_DIGITS, 0, -1):
            rest, digit = np.divmod(rest, 10)
            digits[:, place] = digit + ord("0")
        width = _ID_DIGITS + 1
        at = np.arange(count, dtype=np.int64) * width
        index = number % len(self._numbers)
        return Rows(
            Slices(digits.ravel(), at, np.full(count, width, np.int64)),
            self._numbers[index],
            self._labels[index],
        )


class Encoder:
    """Rows to Avro events and labels."""

    def __init__(self, features: int, payload: int = 0) -> None:
        wanted = {
            "id": Want.TEXT,
            "at": Want.INTEGER,
            **{f"x{k}": Want.NUMBER for k in range(features)},
        }
        if payload:
            wanted["payload"] = Want.BYTES
        self._payload = payload
        self._events = ColumnWriter(parse_schema(event_schema(features, payload)), wanted)
        self._labels = ColumnWriter(
            record_schema("label"),
            {"event_id": Want.TEXT, "label": Want.NUMBER, "observed_at": Want.INTEGER},
        )

    def events(self, rows: Rows, at: I64) -> Slices[bytes]:
        """One framed event per row; ``at`` is the event time, ms."""
        return self._events.write(_columns(rows.ids, rows.numbers, at, self._payload))

    def labels(self, rows: Rows, at: I64) -> Slices[bytes]:
        """One framed label per row; ``at`` is when it was observed, ms."""
        return self._labels.write(_columns(rows.ids, rows.labels.reshape(-1, 1), at, 0))


def _columns(ids: Slices[bytes], numbers: F64, at: I64, payload: int) -> Columns:
    n = len(ids)
    none = np.zeros(0, np.int64)
    texts = 2 if payload else 1
    data = ids.data
    starts, lengths = np.empty((n, texts), np.int64), np.empty((n, texts), np.int64)
    starts[:, 0], lengths[:, 0] = ids.at, ids.length
    if payload:
        starts[:, 1], lengths[:, 1] = len(data), payload
        data = np.concatenate([data, np.zeros(payload, np.uint8)])
        data.flags.writeable = False
    return Columns(
        data=data,
        numbers=numbers,
        number_null=np.zeros(numbers.shape, np.uint8),
        integers=at.reshape(n, 1),
        integer_null=np.zeros((n, 1), np.uint8),
        at=starts,
        length=lengths,
        seq_at=np.empty((n, 0), np.int64),
        seq_count=np.empty((n, 0), np.int64),
        flat_numbers=np.zeros(0),
        flat_at=none,
        flat_length=none,
    )
