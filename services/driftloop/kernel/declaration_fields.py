"""The part of a declaration that speaks of the events' fields, checked against their schema."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from driftloop.kernel.codec.avro_types import check_schema
from driftloop.kernel.declaration import (
    CategoricalFeature,
    EventFields,
    Format,
    LabelFields,
    NumericFeature,
    Task,
    VectorFeature,
)
from driftloop.kernel.declaration_reader import Problems, Section
from driftloop.kernel.declaration_wording import as_number, nearest
from driftloop.kernel.errors import SchemaError
from driftloop.kernel.event_schema import (
    CATEGORICAL_TYPES,
    NUMERIC_TYPES,
    VECTOR_TYPES,
    EventField,
    event_fields,
)
from driftloop.kernel.schemas import Schema, parse_schema
from driftloop.kernel.statistics.layout import PREDICTED, SCORE

LONGEST_VECTOR = 1024
"""Numbers of one vector: each is a feature that is watched, and has its statistics in windows."""
MOST_FEATURES = 1024
"""With vectors' numbers. A prediction carries them all, a window some 13 kB of each number at the
most, and they must fit into a record."""

_FORMATS = [form.value for form in Format]
_FEATURE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_OUTPUT = "the model's output"
_ANY = 1 << 62
"""Ahead of every time there is."""
_LABEL_FIELDS = {"id": "event_id", "label": "label", "time": "observed_at"}


class EventParser:
    """Reads events, then labels, then features; each against the events' schema."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._fields: Mapping[str, EventField] | None = None
        self._taken: dict[str, str] = {}

    def events(self, section: Section, schema_text: str) -> EventFields | None:
        """None when the schema cannot be used; the problem is noted."""
        path = section.text("schema")
        form = Format(section.choice("format", _FORMATS, Format.AVRO.value))
        schema = self._schema(section, path, schema_text)
        identity, time = section.text("id"), section.text("time")
        earliest = section.moment("earliest", "2000-01-01")
        latest = section.moment("latest", "2100-01-01")
        if not {"earliest", "latest"} & section.failed and earliest >= latest:
            section.problem("latest", "latest in [events] must be after earliest")
        ahead = section.duration("ahead", "1d", least="0s", words={"any": _ANY})
        section.finish()
        self._field(section, "id", identity, ("string",))
        self._field(section, "time", time, ("long",))
        found = (self._fields or {}).get(time)
        if found is not None and found.logical not in ("", "timestamp-millis"):
            section.problem(
                "time",
                f'time in [events]: "{time}" is a {found}, but times are milliseconds; make it a '
                "long with logicalType timestamp-millis",
            )
        if identity and identity == time:
            section.problem("time", f'time in [events]: "{time}" is the id already')
        self._taken = {identity: "the events' id", time: "the events' time"}
        if schema is None:
            return None
        return EventFields(form, schema, identity, time, earliest, latest, ahead)

    def labels(self, section: Section) -> LabelFields:
        form = Format(section.choice("format", _FORMATS, Format.AVRO.value))
        names = {key: section.text(key, usual) for key, usual in _LABEL_FIELDS.items()}
        horizon = section.duration("horizon", "30d", least="1s")
        section.finish()
        for key, usual in _LABEL_FIELDS.items():
            if form is Format.AVRO and key not in section.failed and names[key] != usual:
                section.problem(
                    key,
                    f'{section.name(key)}: Avro labels are Label records, where it is "{usual}"; '
                    'leave it out, or set format = "json"',
                )
        if len(set(names.values())) < len(names) and not section.failed:
            section.problem("label", "id, label and time in [labels] must be different fields")
        return LabelFields(form, names["id"], names["label"], names["time"], horizon)

    def features(
        self, entries: Any, task: Task
    ) -> tuple[
        tuple[NumericFeature, ...], tuple[CategoricalFeature, ...], tuple[VectorFeature, ...]
    ]:
        """``entries``: the value of ``features``, whatever it is. The numbers of vectors are among
        the numeric features. No feature may have a name that statistics give to the output of a
        model of this ``task``."""
        for name in (SCORE, PREDICTED) if task is Task.MULTICLASS else (SCORE,):
            self._taken.setdefault(name, _OUTPUT)
        if not isinstance(entries, list) or not entries:
            self._problems.add(
                ("features",),
                "there must be at least one feature; write each as [[features]] with "
                'name = "FIELD" and kind = "numeric", "vector" or "categorical"',
            )
            return (), (), ()
        numeric: list[NumericFeature] = []
        categorical: list[CategoricalFeature] = []
        vectors: list[VectorFeature] = []
        for index, entry in enumerate(entries):
            found = self._feature(("features", index), entry)
            if found is None:
                continue
            name, kind, limits, length = found
            if kind == "categorical":
                categorical.append(CategoricalFeature(name))
            elif kind == "numeric":
                numeric.append(NumericFeature(name, *limits))
            else:
                vectors.append(VectorFeature(name, length, len(numeric)))
                names = [VectorFeature.element(name, place) for place in range(length)]
                numeric += [NumericFeature(element, *limits) for element in names]
        if len(numeric) + len(categorical) > MOST_FEATURES:
            self._problems.add(
                ("features",),
                f"there are {len(numeric) + len(categorical)} features, a vector's numbers counted "
                f"one by one; at most {MOST_FEATURES} go into one record",
            )
        return tuple(numeric), tuple(categorical), tuple(vectors)

    def _feature(
        self, path: tuple[str, int], entry: Any
    ) -> tuple[str, str, tuple[float, float], int] | None:
        """Name, kind, limits, and the length of a vector (else 0)."""
        if not isinstance(entry, Mapping):
            self._problems.add(path, "a feature is a table; write it as [[features]]")
            return None
        section = Section(self._problems, path, entry, "[[features]]", there=True)
        name = section.text("name")
        kind = section.choice("kind", tuple(_TYPES))
        limits = self._limits(section, kind != "categorical")
        length = 0
        if kind == "vector":
            length = section.whole("length", least=1, most=LONGEST_VECTOR)
        elif section.has("length"):
            section.expect(["length"])
            where = section.name("length")
            section.problem("length", f"{where}: only a vector has a length; leave it out")
        section.finish()
        if "name" not in section.failed:
            self._feature_name(section, name)
        if not section.failed:
            self._field(section, "name", name, _TYPES[kind])
        if section.failed:
            return None
        return name, kind, limits, length

    def _feature_name(self, section: Section, name: str) -> None:
        where = section.name("name")
        if not _FEATURE_NAME.fullmatch(name):
            section.problem("name", f'{where}: "{name}" is no name of an Avro field')
        elif self._taken.get(name) == _OUTPUT:
            section.problem(
                "name", f'{where}: "{name}" is kept for the model\'s output; rename the field'
            )
        elif name in self._taken:
            section.problem("name", f'{where}: "{name}" is {self._taken[name]} already')
        else:
            self._taken[name] = "a feature"

    def _limits(self, section: Section, numeric: bool) -> tuple[float, float]:
        section.expect(["limits"])
        every = (-sys.float_info.max, sys.float_info.max)
        if not section.has("limits"):
            return every
        value = section.values["limits"]
        where = section.name("limits")
        if not numeric:
            section.problem(
                "limits", f"{where}: only a numeric feature or a vector has limits; leave them out"
            )
            return every
        try:
            if not isinstance(value, list) or len(value) != 2:
                raise ValueError("write them as limits = [LOWEST, HIGHEST]")
            lowest, highest = (as_number(item) for item in value)
            if lowest >= highest:
                raise ValueError(
                    f"the lowest value comes first: limits = [{highest:g}, {lowest:g}]"
                    if lowest > highest
                    else f"the highest value must be above the lowest, {lowest:g}"
                )
        except ValueError as error:
            section.problem("limits", f"{where}: {error}")
            return every
        return lowest, highest

    def _schema(self, section: Section, path: str, text: str) -> Schema | None:
        if "schema" in section.failed:
            return None
        try:
            schema = parse_schema(text, source=path)
        except SchemaError as error:
            section.problem("schema", f"schema in [events]: {error}")
            return None
        self._fields = event_fields(text)
        if self._fields is None:
            section.problem("schema", f"schema in [events]: {path} must be an Avro record")
            return None
        try:
            check_schema(schema, ())
        except SchemaError as error:
            section.problem("schema", f"schema in [events]: {path}: {error}")
            return None
        return schema

    def _field(self, section: Section, key: str, name: str, types: Sequence[str]) -> None:
        """Note a problem unless the events have this field, with one of these types."""
        if self._fields is None or key in section.failed:
            return
        where = section.name(key)
        found = self._fields.get(name)
        if found is None:
            near = nearest(name, self._fields)
            hint = f'did you mean "{near}"?' if near else f"they have {', '.join(self._fields)}"
            section.problem(key, f'{where}: the events have no field "{name}"; {hint}')
        elif found.type not in types:
            section.problem(
                key, f'{where}: "{name}" is a {found} in the schema, but must be {_either(types)}'
            )
        elif found.nullable and key != "name":
            section.problem(key, f'{where}: "{name}" must not be nullable')


_TYPES = {"numeric": NUMERIC_TYPES, "categorical": CATEGORICAL_TYPES, "vector": VECTOR_TYPES}


def _either(types: Sequence[str]) -> str:
    return types[0] if len(types) == 1 else f"{', '.join(types[:-1])} or {types[-1]}"
