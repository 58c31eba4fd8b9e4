"""Text from records, made safe to look at.

Names of categories come from events, and so from anybody: a terminal would obey an escape sequence
in one, and a line break would make a line of its own. They are shown as Python writes them.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

T = TypeVar("T")


def printable(text: str) -> str:
    """One line: what Python does not print as itself (controls, line breaks, the direction of what
    follows, joiners, spaces other than the usual one, halves of characters) as ``\\x1b``."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def printable_lines(text: str) -> str:
    """The same of each line."""
    return "\n".join(map(printable, text.split("\n")))


def printable_record(record: T) -> T:
    """A dataclass with :func:`printable` text in it, however deep."""
    found: T = _printable(record)
    return found


def _printable(value: Any) -> Any:
    if type(value) is str:
        return printable(value)
    if isinstance(value, list | tuple):
        return type(value)(map(_printable, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return dataclasses.replace(value, **{name: _printable(v) for name, v in fields.items()})
    return value
