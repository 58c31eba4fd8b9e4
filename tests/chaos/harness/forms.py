"""How a model's records are framed, and whether its topics are its own."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import fastavro
from typing_extensions import override

from driftloop.cli.applying import DeclaredModel
from driftloop.kernel.codec.framing import HEADER_LENGTH, ID_HEADER_LENGTH
from driftloop.kernel.codec.wire import Wire
from driftloop.kernel.schemas import parse_schema, record_schema
from driftloop.kernel.sharing import MODEL_HEADER
from registries import FakeRegistry

from . import model
from .model import Scale
from .mutation import FIRST_ID
from .traffic import Message

_JSON_EVENTS = ("[events]\n", '[events]\nformat = "json"\n')
_JSON_LABELS = ("[labels]\n", '[labels]\nformat = "json"\n')
_SHARED = model.shared("crowd")


@dataclass(frozen=True, slots=True)
class Form:
    """One way of having models on topics."""

    name: str
    models: Sequence[tuple[str, Sequence[tuple[str, str]]]] = ((model.NAME, ()),)
    """Names, and what is replaced in the usual declaration."""
    registry: bool = False
    decides: bool = False
    """Whether versions are trained and deployed: there are records of every topic then."""

    def declared(self, scale: Scale) -> list[DeclaredModel]:
        return [model.declared(scale, name, changes) for name, changes in self.models]

    def wire(self) -> Wire:
        """A new one, with driftloop's own records enrolled."""
        if not self.registry:
            return Wire()
        registry = HostileRegistry(first=FIRST_ID)
        registry.schemas.update(enumerate(_hostile_schemas(), 1))
        made = Wire(registry)
        made.enroll_records()
        return made

    def message(self, sent: Message, of_label: bool) -> Message:
        """What is sent of a message of the usual traffic: to one of the models, by event."""
        assert sent.key is not None
        name, changes = self.models[int(sent.key[1:]) % len(self.models)]
        headers = list(sent.headers or ())
        if _SHARED in changes:
            headers.append((MODEL_HEADER, name.encode()))
        value = sent.value
        if (_JSON_LABELS if of_label else _JSON_EVENTS) in changes:
            value = _as_json(value, of_label)
        return sent._replace(value=value, headers=headers)


class HostileRegistry(FakeRegistry):
    """Notes nothing down: what is asked is no leak. Some ids mean what no event is."""

    @override
    def texts_of(self, ids: Sequence[int], within_s: float) -> Iterator[tuple[int, str | None]]:
        return ((schema_id, self.schemas.get(schema_id)) for schema_id in ids)

    @override
    def register(self, subject: str, text: str) -> int:
        known = self.find(subject, text)
        if known is not None:
            return known
        same = [i for i, other in self.schemas.items() if i >= self.first and other == text]
        schema_id = same[0] if same else max(self.first - 1, *self.schemas) + 1
        self.schemas[schema_id] = text
        self.subjects.setdefault(subject, []).append(schema_id)
        return schema_id


def _hostile_schemas() -> list[str]:
    """Ones that can be read as an event's or a label's, ones that cannot, and what is none."""
    event = json.loads(model.SCHEMA)
    label = json.loads(record_schema("label").text)
    extra = {"name": "more", "type": {"type": "map", "values": ["null", "string"]}}
    nested: Any = "int"
    for _ in range(300):
        nested = {"type": "array", "items": nested}
    return [
        json.dumps(_with_fields(event, [*event["fields"], extra])),
        json.dumps(_with_fields(event, event["fields"][::-1])),
        json.dumps(_with_fields(event, event["fields"][:-1])),
        json.dumps(_with_fields(event, [f | {"type": "string"} for f in event["fields"]])),
        json.dumps(_with_fields(label, label["fields"][::-1])),
        json.dumps(_with_fields(label, label["fields"][:1])),
        json.dumps(_with_fields(event, [{"name": "id", "type": nested}])),
        json.dumps(_with_fields(event, [{"name": "again", "type": event["name"]}])),
        '"string"',
        "[]",
        "no schema at all",
        "[" * 5_000,
        '{"type": "record", "name": "\\ud800", "fields": []}',
    ]


def _with_fields(schema: Any, fields: list[Any]) -> Any:
    return schema | {"fields": fields}


def _as_json(value: bytes | None, of_label: bool) -> bytes | None:
    """The same record as an object; what is none stays what it is."""
    if value is None:
        return None
    schema = record_schema("label") if of_label else parse_schema(model.SCHEMA)
    frame = ID_HEADER_LENGTH if value[:1] == b"\0" else HEADER_LENGTH
    try:
        record = fastavro.schemaless_reader(io.BytesIO(value[frame:]), schema.parsed, None)
        return json.dumps(record).encode()
    except (EOFError, IndexError, ValueError, TypeError, UnicodeDecodeError):
        return value


PLAIN = Form("plain", decides=True)
CONFLUENT = Form("confluent", registry=True, decides=True)
JSON = Form("json", [(model.NAME, (_JSON_EVENTS, _JSON_LABELS))])
SHARED = Form(
    "shared",
    [
        ("wide", (_SHARED,)),
        ("narrow", (_SHARED, model.NARROW)),
        ("plain-text", (_SHARED, _JSON_EVENTS, _JSON_LABELS)),
    ],
)
SHARED_CONFLUENT = replace(SHARED, name="shared-confluent", registry=True)
FORMS = (PLAIN, CONFLUENT, JSON, SHARED, SHARED_CONFLUENT)
