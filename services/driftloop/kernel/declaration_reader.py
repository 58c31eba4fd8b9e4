"""Reads the tables of a declaration key by key, and notes every problem with its line.

A reading that fails notes a problem and returns a stand-in, so that one pass finds all of them.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from driftloop.kernel.declaration_wording import (
    as_number,
    bounds,
    listed,
    one_of,
    shown,
    suggestion,
)
from driftloop.kernel.quantities import parse_duration, parse_moment, parse_size
from driftloop.kernel.toml_lines import Path, TomlText

T = TypeVar("T")


class Problems:
    """What is wrong with a document, in the order of its lines."""

    def __init__(self, document: TomlText) -> None:
        self._document = document
        self._found: list[tuple[int, str]] = []

    def add(self, path: Path, message: str) -> None:
        """``message`` says what is wrong and what would be right."""
        problem = (self._document.line(path), message)
        if problem not in self._found:
            self._found.append(problem)

    def __bool__(self) -> bool:
        return bool(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def sorted(self) -> list[tuple[int, str]]:
        return sorted(self._found, key=lambda problem: problem[0])


class _Required:
    """The default of a key that has none."""


REQUIRED: Final = _Required()


class Section:
    """One table. Each reading method takes a key, and what it means when it is not there."""

    def __init__(
        self, problems: Problems, path: Path, values: Mapping[str, Any], title: str, *, there: bool
    ) -> None:
        self.problems = problems
        self.path = path
        self.values = values
        self.title = title
        self._there = there
        self._known: list[str] = []
        self._missing: list[str] = []
        self.failed: set[str] = set()
        """Keys that could not be read."""

    def problem(self, key: str, message: str) -> None:
        """Note that a key's value is wrong."""
        self.failed.add(key)
        self.problems.add((*self.path, key), message)

    def name(self, key: str) -> str:
        """How messages call a key."""
        return f"{key} in {self.title}"

    def has(self, key: str) -> bool:
        return key in self.values

    def expect(self, keys: Sequence[str]) -> None:
        """These keys are known, but read elsewhere."""
        self._known.extend(keys)

    def parameter(self, key: str) -> float:
        """A number or a boolean, which is 0 or 1."""

        def read(value: Any) -> float:
            return float(value) if isinstance(value, bool) else as_number(value)

        return self._read(key, REQUIRED, 0.0, read)

    def text(self, key: str, default: str | _Required = REQUIRED) -> str:
        def read(value: Any) -> str:
            if not isinstance(value, str) or not value:
                raise ValueError(f'{shown(value)} is no text; write it as {key} = "..."')
            return value

        return self._read(key, default, "", read)

    def choice(self, key: str, allowed: Sequence[str], default: str | _Required = REQUIRED) -> str:
        """One of a few words."""

        def read(value: Any) -> str:
            if value not in allowed:
                raise ValueError(f"{shown(value)} is not known; {one_of(value, allowed)}")
            return str(value)

        return self._read(key, default, allowed[0], read)

    def choices(self, key: str, allowed: Sequence[str], default: Sequence[str]) -> tuple[str, ...]:
        """A list of different words out of a few."""

        def read(value: Any) -> tuple[str, ...]:
            if not isinstance(value, list):
                raise ValueError(f'{shown(value)} is no list; write {key} = ["{allowed[0]}"]')
            for item in value:
                if item not in allowed:
                    raise ValueError(f"{shown(item)} is not known; {one_of(item, allowed)}")
            if len(set(value)) < len(value):
                raise ValueError("something is in it twice")
            return tuple(value)

        return self._read(key, tuple(default), (), read)

    def texts(
        self, key: str, default: tuple[str, ...], *, least: int, most: int
    ) -> tuple[str, ...]:
        """A list of different texts."""

        def read(value: Any) -> tuple[str, ...]:
            if not isinstance(value, list):
                raise ValueError(f'{shown(value)} is no list; write {key} = ["...", "..."]')
            for item in value:
                if not isinstance(item, str) or not item.strip():
                    raise ValueError(f'{shown(item)} in it is no text; write it as "..."')
            if not least <= len(value) <= most:
                raise ValueError(f"it has {len(value)} entries, not between {least} and {most}")
            twice = next((item for item in value if value.count(item) > 1), None)
            if twice is not None:
                raise ValueError(f"{shown(twice)} is in it twice")
            return tuple(value)

        return self._read(key, default, default, read)

    def numbers(self, key: str, default: tuple[float, ...]) -> tuple[float, ...]:
        """A list of finite numbers."""

        def read(value: Any) -> tuple[float, ...]:
            if not isinstance(value, list):
                raise ValueError(f"{shown(value)} is no list; write {key} = [NUMBER, NUMBER]")
            return tuple(map(as_number, value))

        return self._read(key, default, default, read)

    def flag(self, key: str, default: bool | _Required = REQUIRED) -> bool:
        def read(value: Any) -> bool:
            if not isinstance(value, bool):
                raise ValueError(f"{shown(value)} is neither true nor false")
            return value

        return self._read(key, default, False, read)

    def number(
        self,
        key: str,
        default: float | _Required = REQUIRED,
        *,
        above: float = -math.inf,
        least: float = -math.inf,
        below: float = math.inf,
        most: float = math.inf,
    ) -> float:
        def read(value: Any) -> float:
            number = as_number(value)
            if not (number > above and number >= least and number < below and number <= most):
                raise ValueError(f"{shown(value)} is not {bounds(above, least, below, most)}")
            return number

        return self._read(key, default, 0.5, read)

    def whole(self, key: str, default: int | _Required = REQUIRED, *, least: int, most: int) -> int:
        def read(value: Any) -> int:
            if isinstance(value, bool) or not isinstance(value, int):
                raise ValueError(f"{shown(value)} is no whole number")
            if not least <= value <= most:
                raise ValueError(f"{value} is not between {least} and {most}")
            return value

        return self._read(key, default, least, read)

    def duration(
        self,
        key: str,
        default: str,
        *,
        least: str = "1ms",
        words: Mapping[str, int] | None = None,
    ) -> int:
        """ms. ``words`` are other things that may be written, with their values."""
        meanings = words or {}

        def read(value: Any) -> int:
            if isinstance(value, str) and value in meanings:
                return meanings[value]
            if not isinstance(value, str):
                raise ValueError(f'{shown(value)} has no unit; write a duration such as "1d"')
            try:
                length = parse_duration(value)
            except ValueError as error:
                also = "".join(f', or "{word}"' for word in meanings)
                raise ValueError(f"{error}{also}") from error
            if length < parse_duration(least):
                raise ValueError(f'"{value}" is too short; it is at least "{least}"')
            return length

        fallback = meanings[default] if default in meanings else parse_duration(default)
        return self._read(key, fallback, fallback, read)

    def size(self, key: str, default: str, *, least: str) -> int:
        """Bytes."""

        def read(value: Any) -> int:
            if not isinstance(value, str):
                raise ValueError(f'{shown(value)} has no unit; write a size such as "2GiB"')
            length = parse_size(value)
            if length < parse_size(least):
                raise ValueError(f'"{value}" is too small; it is at least "{least}"')
            return length

        fallback = parse_size(default)
        return self._read(key, fallback, fallback, read)

    def moment(self, key: str, default: str) -> int:
        """ms since the epoch."""

        def read(value: Any) -> int:
            if not isinstance(value, str | datetime.date):
                raise ValueError(f"{shown(value)} is no date; write one such as 2013-01-31")
            return parse_moment(value)

        fallback = parse_moment(default)
        return self._read(key, fallback, fallback, read)

    def finish(self) -> None:
        """Note missing and unknown keys."""
        if self._missing:
            needs = listed(self._missing)
            if self._there:
                self.problems.add(self.path, f"{self.title} lacks {needs}")
            else:
                self.problems.add((), f"there is no {self.title} table; add one with {needs}")
        for key in self.values:
            if key not in self._known:
                hint = suggestion(key, self._known, self.title)
                self.problem(key, f"{self.title} has no key {key}; {hint}")

    def _read(self, key: str, default: T | _Required, stand_in: T, read: Callable[[Any], T]) -> T:
        self._known.append(key)
        if key in self.values:
            try:
                return read(self.values[key])
            except ValueError as error:
                self.problem(key, f"{self.name(key)}: {error}")
                return stand_in
        if isinstance(default, _Required):
            self._missing.append(key)
            self.failed.add(key)
            return stand_in
        return default
