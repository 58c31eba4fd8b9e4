"""A request's tensors to rows of a model's features, ids and times, checked. Pure.

What an event of the model may hold is what a request may: the same names, limits and missing
values.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np

from driftloop.inference import tensors
from driftloop.inference.columns import (
    TensorColumns,
    check_lengths,
    integers,
    matrix,
    next_bytes,
    texts,
)
from driftloop.inference.protocol import InferRequest
from driftloop.inference.tensors import BYTES, DATATYPES, ProtocolError, bad, shown
from driftloop.kernel.codec.avro_types import is_optional
from driftloop.kernel.codec.blocks import F64, I32, I64, Categories, Features
from driftloop.kernel.codec.faults import LONGEST_ID
from driftloop.kernel.codec.slice_kernels import first_outside
from driftloop.kernel.declaration import Declaration

EVENT_TIME = "event_time"
"""The request parameter with the event time of all its rows, ms."""
_NUMERIC, _CATEGORY, _ID, _TIME = range(4)
_UNKNOWN = (-1, object())
_FIELDS = itemgetter("name", "datatype", "shape", "data")
_BINARY_FIELDS = itemgetter("name", "datatype", "shape", "parameters")


@dataclass(slots=True)
class Rows:
    """What one request asks about."""

    count: int
    numeric: F64
    """Shape (n, F), limits not checked yet."""
    categories: list[list[str | None]]
    """K columns of n."""
    ids: list[str] | None
    """None: to be made of the request's id."""
    times: int | list[int] | None
    """One of all rows, or one of each; None: the server's clock."""


class RowReader:
    """Reads the requests for one declared model."""

    def __init__(self, declaration: Declaration, most_rows: int) -> None:
        self.declaration = declaration
        self._most_rows = most_rows
        events = declaration.events
        self._places: dict[str, tuple[int, int]] = {events.id: (_ID, 0), events.time: (_TIME, 0)}
        for index, number in enumerate(declaration.numeric):
            self._places[number.name] = (_NUMERIC, index)
        for index, category in enumerate(declaration.categorical):
            self._places[category.name] = (_CATEGORY, index)
        numbers, width = enumerate(declaration.numeric), len(declaration.numeric)
        self._slots = {feature.name: (index, "FP64") for index, feature in numbers}
        for index, category in enumerate(declaration.categorical):
            self._slots[category.name] = (width + index, BYTES)
        self._usual: tuple[Any, Any] | None = None
        self._usual_places: list[int] = []
        most = sys.float_info.max
        self._lowest = np.array([max(f.lowest, -most) for f in declaration.numeric], np.float64)
        self._highest = np.array([min(f.highest, most) for f in declaration.numeric], np.float64)
        fields = dict(
            zip((f.name for f in declaration.numeric), declaration.numeric_fields, strict=True)
        )
        fields |= {feature.name: feature.name for feature in declaration.categorical}
        self._optional: Mapping[str, bool] = {
            name: is_optional(events.schema, field) for name, field in fields.items()
        }

    def read(self, request: InferRequest) -> Rows:
        """Raises :class:`ProtocolError` naming tensor and row."""
        rows = self._read(request)
        if rows.count > 1 and rows.ids is None:
            longest = LONGEST_ID - len(f"/{rows.count - 1}")
            if len(request.id.encode()) > longest:
                raise ProtocolError(
                    400,
                    f'"id" has more than {longest} bytes; those of {rows.count} rows are ID/0 to '
                    f"ID/{rows.count - 1}, of at most {LONGEST_ID}",
                )
        return rows

    def _read(self, request: InferRequest) -> Rows:
        columns, n = self._plain(request)
        width = len(self.declaration.numeric)
        if columns is not None:
            numeric = matrix(self.declaration, columns[:width], n)
            categories = columns[width:]
            for feature, column in zip(self.declaration.categorical, categories, strict=True):
                check_lengths(feature.name, tensors.json_texts(feature.name, column))
            return Rows(n, numeric, categories, None, _time(request))
        dense = self._dense(request)
        if dense is not None:
            return Rows(len(dense), dense, [], None, _time(request))
        found, n = self._any(request)
        times = _time(request) if found.times is None else found.times
        return Rows(n, found.matrix(self.declaration, n), found.categories, found.ids, times)

    def _plain(self, request: InferRequest) -> tuple[list[Any] | None, int]:
        """The columns of the usual request, quickly: every feature once, FP64 and BYTES in JSON,
        nothing else. None for any other, right or wrong."""
        count = len(self._slots)
        if request.binary is not None or len(request.inputs) != count:
            return None, 0
        try:
            names, kinds, shapes, columns = zip(*map(_FIELDS, request.inputs), strict=True)
            n = self._rows_of(shapes)
            if not n or set(map(type, columns)) != {list} or set(map(len, columns)) != {n}:
                return None, 0
            places = self._places_of(names, kinds)
        except (KeyError, TypeError, IndexError, ValueError):
            return None, 0
        return (None, 0) if places is None else ([columns[at] for at in places], n)

    def _rows_of(self, shapes: Sequence[Any]) -> int:
        """How many, where all shapes are the same [n]; else 0. Anything may be raised."""
        shape = shapes[0]
        n: int = shape[0]
        if shapes.count(shape) != len(shapes) or len(shape) != 1 or type(n) is not int:
            return 0
        return n if 0 < n <= self._most_rows else 0

    def _places_of(self, names: tuple[Any, ...], kinds: tuple[Any, ...]) -> list[int] | None:
        """Where each feature stands among tensors of these names and kinds; None where they are not
        the features, each once, FP64 and BYTES. Clients send them in one order: it is kept."""
        if (names, kinds) == self._usual:
            return self._usual_places
        wanted = [self._slots.get(name, _UNKNOWN) for name in names]
        if any(kind != own for (_, kind), own in zip(wanted, kinds, strict=True)):
            return None
        places = [-1] * len(self._slots)
        for at, (slot, _) in enumerate(wanted):
            places[slot] = at
        if -1 in places:
            return None
        self._usual, self._usual_places = (names, kinds), places
        return places

    def _dense(self, request: InferRequest) -> F64 | None:
        """The matrix, shape (n, F), of a request that has all features as FP64 in bytes. None for
        any other, right or wrong."""
        binary, count = request.binary, len(self._slots)
        if binary is None or len(request.inputs) != count or self.declaration.categorical:
            return None
        known = request.known.get(self)
        if known is None:
            known = request.known[self] = self._dense_layout(request.inputs)
        n, places = known
        if not n or len(binary) != 8 * n * count:
            return None
        flat = np.frombuffer(binary, "<f8").reshape(count, n)
        return flat.T if places is None else flat[places].T

    def _dense_layout(self, inputs: Sequence[Any]) -> tuple[int, list[int] | None]:
        """Rows, 0 where some tensor is not FP64 in bytes; and where each feature stands, None for
        the order in which they are declared."""
        try:
            names, kinds, shapes, parameters = zip(*map(_BINARY_FIELDS, inputs), strict=True)
            n = self._rows_of(shapes)
            if {part["binary_data_size"] for part in parameters} != {8 * n}:
                return 0, None
            places = self._places_of(names, kinds)
        except (KeyError, TypeError, IndexError, ValueError):
            return 0, None
        if places is None or any("data" in tensor for tensor in inputs):
            return 0, None
        return n, None if places == sorted(places) else places

    def _any(self, request: InferRequest) -> tuple[TensorColumns, int]:
        found = TensorColumns(len(self.declaration.numeric), len(self.declaration.categorical))
        places = self._places
        shape: Any = ()  # no JSON is that
        n = at = 0
        for tensor in request.inputs:
            try:
                name, kind, own_shape = tensor["name"], tensor["datatype"], tensor["shape"]
                place, index = places[name]
            except (KeyError, TypeError):
                self._explain(tensor)
            if own_shape != shape:
                n = self._rows(name, own_shape, n)
                shape = own_shape
            data = tensor.get("data")
            if data is None:
                data, at = next_bytes(name, tensor, request.binary, at)
            elif type(data) is not list or len(data) != n or len(shape) == 2:
                data = tensors.flat(name, data, shape)
            if place == _NUMERIC:
                found.number(name, index, kind, data, n)
            elif place == _CATEGORY:
                found.category(name, index, kind, data, n)
            elif (found.ids if place == _ID else found.times) is not None:
                bad(name, "it is there twice")
            elif place == _ID:
                found.ids = self._ids(name, kind, data, n)
            else:
                found.times = self._times(name, kind, data, n)
        if request.binary is not None and at != len(request.binary):
            left = len(request.binary) - at
            raise ProtocolError(400, f"{left} bytes of the body belong to no input")
        self._fill(found, n)
        return found, n

    def outside(self, numeric: F64) -> I64 | None:
        """Per row the first number outside its limits, or -1; None when all are inside."""
        column = np.empty(len(numeric), np.int64)
        found = first_outside(numeric, self._lowest, self._highest, column)
        return column if found else None

    def limits_error(self, row: int, column: int, value: float) -> ProtocolError:
        """What :meth:`outside` has found."""
        feature = self.declaration.numeric[column]
        return ProtocolError(
            400,
            f"input {feature.name!r}: row {row} is {value!r}, outside "
            f"[{feature.lowest!r}, {feature.highest!r}]; null is a missing value",
        )

    def check_times(self, times: int | Sequence[int], now: int, source: str) -> None:
        """Raises :class:`ProtocolError`. ``now``: the server's time; ``source`` says where they are
        from."""
        events = self.declaration.events
        times = (times,) if isinstance(times, int) else times
        # Times are 64 bits wide on the topic, whatever was declared.
        latest = min(events.latest, 1 << 63, now + events.ahead + 1)
        if times and events.earliest <= min(times) and max(times) < latest:
            return
        what = "" if latest == events.latest else f"; that is {events.ahead} ms ahead of now"
        for row, time in enumerate(times):
            if not events.earliest <= time < latest:
                raise ProtocolError(
                    400,
                    f"row {row} has the event time {time} ({source}), outside "
                    f"[{events.earliest}, {latest}) ms{what}; give it as parameter "
                    f"{EVENT_TIME!r} or input {events.time!r}",
                )

    def _rows(self, name: str, shape: Any, n: int) -> int:
        if (
            type(shape) is not list
            or len(shape) not in (1, 2)
            or not all(type(size) is int for size in shape)
            or (len(shape) == 2 and shape[1] != 1)
            or shape[0] < 0
        ):
            bad(name, f"shape is {shape if type(shape) is list else shown(shape)}; it is [ROWS]")
        rows: int = shape[0]
        if rows == 0:
            bad(name, "there are no rows; ask about at least one")
        if rows > self._most_rows:
            bad(name, f"{rows} rows; at most {self._most_rows} go into one request")
        if n and rows != n:
            bad(name, f"it has {rows} rows, the inputs before it {n}")
        return rows

    def _explain(self, tensor: Any) -> Any:
        if type(tensor) is not dict:
            raise ProtocolError(400, f"an input is {shown(tensor)}; it is an object")
        name = tensor.get("name")
        if type(name) is not str:
            raise ProtocolError(400, f"an input's name is {shown(name)}; it is a string")
        if name not in self._places:
            near = difflib.get_close_matches(name[:200], list(self._places), n=1)
            hint = f"did you mean {near[0]!r}?" if near else "see the model's metadata"
            bad(name, f"model {self.declaration.name!r} has no such input; {hint}")
        for key in ("datatype", "shape"):
            if key not in tensor:
                bad(name, f"it has no {key}")
        raise AssertionError(tensor)

    def _fill(self, found: TensorColumns, n: int) -> None:
        """Inputs that were left out are missing values where events may leave them out."""
        for features, columns in (
            (self.declaration.numeric, found.numbers),
            (self.declaration.categorical, found.categories),
        ):
            for index, column in enumerate(columns):
                if column is not None:
                    continue
                name = features[index].name
                if not self._optional[name]:
                    raise ProtocolError(
                        400, f"input {name!r} is missing; send it, with null where it is unknown"
                    )
                columns[index] = [None] * n

    def _ids(self, name: str, kind: Any, data: Any, n: int) -> list[str]:
        if kind != BYTES:
            bad(name, f"the id has datatype {shown(kind)}; it is BYTES")
        ids = texts(name, data, n)
        for row, id in enumerate(ids):
            if not id:
                bad(name, f"row {row} has no id")
            if len(id.encode()) > LONGEST_ID:
                bad(name, f"the id of row {row} has more than {LONGEST_ID} bytes")
        return ids  # type: ignore[return-value]

    def _times(self, name: str, kind: Any, data: Any, n: int) -> list[int]:
        datatype = DATATYPES.get(kind) if type(kind) is str else None
        if datatype is None or not datatype.whole or datatype.name == tensors.BOOL:
            bad(name, f"the time has datatype {shown(kind)}; it is INT64, milliseconds")
        times = integers(name, datatype, data, n)
        if None in times:
            bad(name, f"row {times.index(None)} has no time")
        return times  # type: ignore[return-value]


def _time(request: InferRequest) -> int | None:
    """Of all rows."""
    given = request.parameters.get(EVENT_TIME)
    if given is not None and type(given) is not int:
        raise ProtocolError(400, f'parameter "{EVENT_TIME}" is {shown(given)}; it is milliseconds')
    return given


def join_features(rows: Sequence[Rows]) -> Features:
    """The features of several requests, one after the other."""
    numeric = np.ascontiguousarray(np.concatenate([part.numeric for part in rows]))
    n = len(numeric)
    width = len(rows[0].categories)
    codes: I32 = np.empty((n, width), np.int32)
    levels = []
    for column in range(width):
        known: dict[str | None, int] = {}
        number = known.setdefault
        codes[:, column] = [
            -1 if value is None else number(value, len(known))
            for part in rows
            for value in part.categories[column]
        ]
        levels.append(tuple(known))
    return Features(numeric, Categories(codes, tuple(levels)))  # type: ignore[arg-type]
