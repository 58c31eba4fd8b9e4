"""What JSON values a field of an Avro type may have, as Avro's own decoder of JSON has it: a
whole-numbered double, such as 3.0, is an int or a long; a boolean is no number and no number a
boolean; of an enum there are its symbols."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from driftloop.kernel.codec.plan import Want
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.reasons import Reason

_NONE = type(None)
_NUMBERS = frozenset({float, int, _NONE})
_SHOWN = 80
"""Characters of a value in an error message."""
_TYPES: Mapping[str, frozenset[type]] = {
    "boolean": frozenset({bool}),
    "int": frozenset({int, float}),
    "long": frozenset({int, float}),
    "float": frozenset({int, float}),
    "double": frozenset({int, float}),
    "string": frozenset({str}),
    "enum": frozenset({str}),
    "array": frozenset({list}),
}
_FLOAT = float(np.nextafter(2.0**128 - 2.0**103, 0))
"""The largest double that rounds to a finite float."""
_BITS = {"int": 32, "long": 64}
_LIMITS: Mapping[str, tuple[float, float]] = {
    "int": (-(2**31), 2**31 - 1),
    "long": (-(2**63), 2**63 - 1),
    "float": (-_FLOAT, _FLOAT),
}


@dataclass(frozen=True, slots=True)
class JsonField:
    """A field that is read; ``want`` is NUMBER, INTEGER, TEXT or NUMBERS."""

    name: str
    want: Want
    optional: bool
    """Whether an object without it is as one where it is null; otherwise it is rejected."""
    booleans: bool = True
    """Whether true and false are accepted, where there is no ``kind``."""
    words: Mapping[str, float] = field(default_factory=dict)
    """Of a NUMBER: texts that are accepted, and the numbers they stand for."""
    kind: str = ""
    """The Avro type, null left out; empty: whatever ``want`` can hold is accepted."""
    symbols: tuple[str, ...] = ()
    """Of an enum."""
    items: str = ""
    """Of NUMBERS: the Avro type of an entry."""

    @property
    def types(self) -> frozenset[type]:
        """The Python types that are accepted."""
        if self.kind:
            # NaN is a value of float and double, and null is how JSON writes it.
            null = self.optional or self.kind in ("float", "double")
            return _TYPES[self.kind] | {_NONE} if null else _TYPES[self.kind]
        if self.want is Want.NUMBERS:
            return frozenset({_NONE, list})
        allowed: set[type] = {_NONE, int}
        if self.booleans:
            allowed.add(bool)
        if self.want is Want.NUMBER:
            allowed.add(float)
        if self.want is Want.TEXT or self.words:
            allowed.add(str)
        return frozenset(allowed)

    @property
    def called(self) -> str:
        """What is wanted, of a message."""
        return _TYPE_CALLED[self.kind] if self.kind else _CALLED[self.want]


@dataclass(frozen=True, slots=True)
class Rule:
    """What a whole column is looked at for, made ready: a lone event has many columns of one."""

    part: JsonField
    types: frozenset[type]
    symbols: frozenset[str | None]
    limits: tuple[float, float] | None
    plain: bool
    """Whether ``types`` say it all."""

    @classmethod
    def of(cls, part: JsonField) -> Rule:
        """That of a field."""
        symbols = frozenset({*part.symbols, None}) if part.symbols else frozenset[str | None]()
        limits = _LIMITS.get(part.kind) or (_LIMITS["long"] if part.want is Want.INTEGER else None)
        plain = not (symbols or limits or part.words or part.want is Want.NUMBERS)
        return cls(part, part.types, symbols, limits, plain)

    def is_met(self, column: Sequence[Any]) -> bool:
        """Whether all values can be filled in as they are."""
        found = set(map(type, column))
        if not found <= self.types:
            return False
        if self.plain:
            return True
        if self.symbols:
            return self.symbols.issuperset(column)
        if self.limits is not None:
            if float in found and self.part.kind != "float":
                return self.part.want is Want.NUMBER and _are_whole(self.part.kind, column)
            return _are_within(self.limits, column)
        if self.part.words:
            return not any(_unknown(self.part, value) for value in column)
        return all(_strange(self.part, value) is None for value in column)


def fitted(rule: Rule, column: Sequence[Any]) -> tuple[Sequence[Any], dict[int, DecodeError]]:
    """The values as they are filled in, and what is wrong of which; None in their place."""
    fixed: list[Any] = []
    wrong: dict[int, DecodeError] = {}
    for index, value in enumerate(column):
        try:
            fixed.append(_fit(rule, value))
        except DecodeError as error:
            fixed.append(None)
            wrong[index] = error
    return fixed, wrong


def _fit(rule: Rule, value: Any) -> Any:
    """The value as it is filled in. Raises :class:`DecodeError`."""
    part = rule.part
    where = f"field {part.name!r}"
    if value is None and _NONE not in rule.types:
        raise DecodeError(
            Reason.MISSING_FIELD, f"{where} is null, which the schema does not let it be"
        )
    if type(value) not in rule.types:
        raise DecodeError(Reason.WRONG_TYPE, f"{where} is {shown(value)}, {part.called} is wanted")
    if value is None:
        return None
    if part.symbols and value not in part.symbols:
        raise DecodeError(Reason.OUT_OF_LIMITS, _no_choice(where, value, part.symbols))
    if part.words and _unknown(part, value):
        raise DecodeError(Reason.OUT_OF_LIMITS, _no_choice(where, value, part.words))
    if part.want is Want.NUMBERS and (place := _strange(part, value)) is not None:
        where = f"{where}, entry {place},"
        raise _number_misfit(part.items, where, value[place]) or DecodeError(
            Reason.WRONG_TYPE, f"{where} is {shown(value[place])}, a number is wanted"
        )
    if rule.limits is not None:
        kind = part.kind or "long"
        error = _number_misfit(kind, where, value)
        if error is not None:
            raise error
        return value if kind == "float" else int(value)
    return value


def _number_misfit(kind: str, where: str, value: Any) -> DecodeError | None:
    """What is wrong of an int or float as a number of an Avro type; None: nothing."""
    if type(value) not in (int, float) or kind not in _LIMITS:
        return None
    if kind in _BITS and value % 1:
        called = _TYPE_CALLED[kind]
        return DecodeError(Reason.WRONG_TYPE, f"{where} is {value!r}, {called} is wanted")
    low, high = _LIMITS[kind]
    # Longer integers are doubles by now, of which -2^63 may stand for one below it.
    if low <= value <= high and not (type(value) is float and value == -(2**63)):
        return None
    most = f"{_BITS[kind]} bits" if kind in _BITS else "a float can be"
    return DecodeError(Reason.OUT_OF_LIMITS, f"{where} is {value!r}, more than {most}")


def _no_choice(where: str, value: str, choices: Iterable[str]) -> str:
    return f"{where} is {shown(value)}, not one of {shown(', '.join(choices))}"


def _unknown(part: JsonField, value: Any) -> bool:
    return type(value) is str and value not in part.words


def _strange(part: JsonField, values: Any) -> int | None:
    """Place of the first entry that is neither null, a missing number, nor a number of its type."""
    if values is None:
        return None
    if set(map(type, values)) <= _NUMBERS and not (
        part.items in _LIMITS and any(_number_misfit(part.items, "", item) for item in values)
    ):
        return None
    return next(
        place
        for place, item in enumerate(values)
        if type(item) not in _NUMBERS or _number_misfit(part.items, "", item)
    )


def _are_within(limits: tuple[float, float], column: Sequence[Any]) -> bool:
    low, high = limits
    # Of most columns no value is null: two looks in C are quicker than one that leaves nulls out.
    try:
        return not column or bool(min(column) >= low and max(column) <= high)
    except TypeError:
        found = [value for value in column if value is not None]
        return not found or bool(min(found) >= low and max(found) <= high)


def _are_whole(kind: str, column: Sequence[Any]) -> bool:
    """Doubles, maybe among integers; False also where only a closer look can tell."""
    numbers = np.array(column, np.float64)
    outside = (np.abs(numbers) >= _LIMITS[kind][1]) | (numbers % 1 > 0)
    return not outside.any()


def shown(value: Any) -> str:
    """A value of an error message, cut to length; of one that nests only the outer levels, for JSON
    may nest deeper than ``repr`` can follow."""
    text = repr(value[:_SHOWN]) if type(value) is str else reprlib.repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


_TYPE_CALLED = {
    "boolean": "true or false",
    "int": "an int",
    "long": "a long",
    "float": "a number",
    "double": "a number",
    "string": "a string",
    "enum": "a symbol",
    "array": "an array of numbers",
}
_CALLED = {
    Want.NUMBER: "a number",
    Want.INTEGER: "an integer",
    Want.TEXT: "a string",
    Want.NUMBERS: "an array of numbers",
}
