"""Dataclasses to and from the plain values fastavro reads and writes."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import types
import typing
from collections.abc import Callable
from functools import cache
from typing import Any

T = typing.TypeVar("T")

_ABSENT = object()

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
    known: Any = kind
    converted: T = _converter(known)(value)
    return converted


_Converter = Callable[[Any], Any]


@cache
def _converter(kind: Any) -> _Converter:
    """Made once per type: a window has hundreds of values."""
    if dataclasses.is_dataclass(kind):
        return _record(typing.cast(type, kind))
    origin = typing.get_origin(kind)
    if origin is tuple:
        (item,) = {a for a in typing.get_args(kind) if a is not Ellipsis}
        if item in _ATOMS:
            return tuple
        convert = _converter(item)
        return lambda value: tuple([convert(part) for part in value])
    if origin is collections.abc.Mapping:
        return dict
    if origin in (types.UnionType, typing.Union):
        (inner,) = [a for a in typing.get_args(kind) if a is not type(None)]
        optional = _converter(inner)
        return lambda value: None if value is None else optional(value)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind
    return _same


def _same(value: Any) -> Any:
    return value


def _record(kind: type) -> _Converter:
    hints = typing.get_type_hints(kind)
    # What an older release kept lacks the newer fields, which then have defaults.
    parts = [
        (f.name, _converter(hints[f.name]), f.default is dataclasses.MISSING)
        for f in dataclasses.fields(kind)
    ]

    def convert(value: Any) -> Any:
        return kind(
            **{
                name: part if made is _same else made(part)
                for name, made, needed in parts
                if (part := value[name] if needed else value.get(name, _ABSENT)) is not _ABSENT
            }
        )

    return convert


@cache
def _names(kind: type) -> tuple[str, ...] | None:
    """The fields of a dataclass; None for any other type."""
    if not dataclasses.is_dataclass(kind):
        return None
    return tuple(field.name for field in dataclasses.fields(kind))
