"""Dataclasses to and from the plain values fastavro reads and writes."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import types
import typing
from functools import cache
from typing import Any

T = typing.TypeVar("T")

_ATOMS = (int, float, str, bytes)
_SIMPLE = frozenset({*_ATOMS, bool, type(None)})


def to_plain(value: Any) -> Any:
    """Dataclasses become dicts, tuples lists, enums their values; the rest stays."""
    kind: Any = type(value)
    if kind in _SIMPLE:
        return value
    if kind is tuple:
        if value and type(value[0]) in _ATOMS:  # so are the others; windows hold thousands
            return list(value)
        return [to_plain(item) for item in value]
    names = _names(kind)
    if names is not None:
        return {name: to_plain(getattr(value, name)) for name in names}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, collections.abc.Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    return value


def from_plain(kind: type[T], value: Any) -> T:
    """The dataclass ``kind`` from a dict. Raises KeyError, TypeError or ValueError on a misfit."""
    converted: T = _convert(kind, value)
    return converted


def _convert(kind: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(kind):
        fields = _fields(typing.cast(type, kind))
        # What an older release kept lacks the newer fields, which then have defaults.
        return typing.cast(type, kind)(
            **{n: _convert(t, value[n]) for n, t, needed in fields if needed or n in value}
        )
    origin = typing.get_origin(kind)
    if origin is tuple:
        (item,) = {a for a in typing.get_args(kind) if a is not Ellipsis}
        if item in (int, float, str, bytes):
            return tuple(value)
        return tuple(_convert(item, part) for part in value)
    if origin is collections.abc.Mapping:
        return dict(value)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        (inner,) = [a for a in typing.get_args(kind) if a is not type(None)]
        return _convert(inner, value)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(value)
    return value


@cache
def _fields(kind: type) -> tuple[tuple[str, Any, bool], ...]:
    """Name, type, and whether there must be a value."""
    hints = typing.get_type_hints(kind)
    return tuple(
        (f.name, hints[f.name], f.default is dataclasses.MISSING) for f in dataclasses.fields(kind)
    )


@cache
def _names(kind: type) -> tuple[str, ...] | None:
    """The fields of a dataclass; None for any other type."""
    if not dataclasses.is_dataclass(kind):
        return None
    return tuple(field.name for field in dataclasses.fields(kind))
