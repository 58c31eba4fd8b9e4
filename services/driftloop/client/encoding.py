"""A user's records to bytes, in the format that the model's declaration asks for."""

from __future__ import annotations

import datetime
import io
import math
from collections.abc import Mapping
from typing import Any

import fastavro
import orjson

from driftloop.kernel.codec.records import codec
from driftloop.kernel.codec.wire import Wire, events_subject
from driftloop.kernel.declaration import Declaration, Format, Task
from driftloop.kernel.declaration_wording import nearest
from driftloop.kernel.errors import RecordError
from driftloop.kernel.records import Label

_MISFITS = (ValueError, TypeError, KeyError, AttributeError, OverflowError, IndexError)
"""What fastavro raises on a value that is not of its type."""

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class EventEncoder:
    """Encodes events of one model."""

    def __init__(self, model: Declaration, wire: Wire) -> None:
        """Raises what :meth:`Wire.enroll` raises."""
        self._model = model
        self._fields = model.events
        self._schema: Any = model.events.schema.parsed
        self._names = frozenset(field["name"] for field in self._schema["fields"])
        self._header = b""
        if model.events.format is Format.AVRO:
            self._header = wire.enroll(events_subject(model), model.events.schema)

    def encode(self, record: Mapping[str, Any]) -> tuple[bytes, bytes]:
        """Key and value. Raises :class:`RecordError` naming the field that does not fit."""
        given = record.get(self._fields.time)
        if isinstance(given, datetime.datetime):
            record = {**record, self._fields.time: milliseconds(given, self._fields.time)}
        unknown = record.keys() - self._names
        if unknown:
            name = min(unknown)
            near = nearest(name, self._names)
            hint = f"did you mean {near!r}?" if near else f"it has {', '.join(sorted(self._names))}"
            raise RecordError(f"{self._event()}: the schema has no field {name!r}; {hint}")
        if not _fits(record, self._schema):
            raise RecordError(self._misfit(record))
        out = io.BytesIO()
        try:
            fastavro.schemaless_writer(out, self._schema, record)
        except _MISFITS as error:
            raise RecordError(f"{self._event()}: {error}") from error
        key = str(record[self._fields.id]).encode()
        if not key:
            raise RecordError(f"{self._event()}: field {self._fields.id!r} is empty")
        if self._fields.format is Format.JSON:
            return key, orjson.dumps(dict(record))
        return key, self._header + out.getvalue()

    def _misfit(self, record: Mapping[str, Any]) -> str:
        """Which field it is."""
        for field in self._schema["fields"]:
            name = field["name"]
            alone = {"type": "record", "name": self._schema["name"], "fields": [field]}
            if _fits(record, alone):
                continue
            if name not in record:
                return f"{self._event()}: field {name!r} is missing; it is {_described(field)}"
            value = record[name]
            return (
                f"{self._event()}: field {name!r} is {value!r:.100} "
                f"({type(value).__name__}); it must be {_described(field)}"
            )
        return f"{self._event()} does not fit its schema"

    def _event(self) -> str:
        return f"event of model {self._model.name!r}"


def encode_label(
    model: Declaration, event_id: str, label: float | str, observed_at: int, wire: Wire
) -> tuple[bytes, bytes]:
    """Key and value. ``label`` may be a class's name. Raises :class:`RecordError`."""
    where = f"label of model {model.name!r}"
    if not isinstance(event_id, str) or not event_id:
        raise RecordError(f"{where}: event_id is {event_id!r:.100}; it must be the event's id")
    number = _label(model, label, f"{where}: label is {label!r:.100}")
    if model.labels.format is Format.AVRO:
        value = codec(Label).encode(Label(event_id, number, observed_at), wire)
    else:
        names = model.labels
        value = orjson.dumps({names.id: event_id, names.label: number, names.time: observed_at})
    return event_id.encode(), value


def _label(model: Declaration, label: float | str, wrong: str) -> float:
    """As it is on the wire."""
    match model.task:
        case Task.BINARY:
            if not isinstance(label, bool | int | float) or label not in (0, 1):
                raise RecordError(f"{wrong}; of a binary model it is 0 or 1")
        case Task.MULTICLASS:
            classes = model.classes
            if isinstance(label, str) and label in classes:
                return float(classes.index(label))
            if isinstance(label, bool | str) or label not in range(len(classes)):
                near = nearest(label, classes)
                hint = f"did you mean {near!r}?" if near else f"it is one of {', '.join(classes)}"
                raise RecordError(f"{wrong}; {hint} (or its place, from 0)")
        case Task.REGRESSION:
            if not isinstance(label, int | float) or isinstance(label, bool):
                raise RecordError(f"{wrong}; it must be a number")
            if not math.isfinite(label):
                raise RecordError(f"{wrong}; it must be finite")
    return float(label)


def milliseconds(moment: datetime.datetime | int, name: str) -> int:
    """Since the epoch. Raises :class:`RecordError` for a datetime without a time zone."""
    if isinstance(moment, int):
        return moment
    if moment.tzinfo is None:
        raise RecordError(
            f"{name} is {moment.isoformat()} without a time zone; give it one, such as "
            "datetime.UTC, or give milliseconds since the epoch"
        )
    return (moment - _EPOCH) // datetime.timedelta(milliseconds=1)


def _fits(record: Mapping[str, Any], schema: Any) -> bool:
    # The writer alone takes "9.5" for a double.
    try:
        return bool(fastavro.validate(record, schema, raise_errors=False))
    except _MISFITS:
        return False


def _described(field: Mapping[str, Any]) -> str:
    node = field["type"]
    if isinstance(node, list):
        return " or ".join(_named(branch) for branch in node)
    return _named(node)


def _named(node: Any) -> str:
    if isinstance(node, dict):
        return str(node.get("name") or _named(node["type"]))
    return str(node)
