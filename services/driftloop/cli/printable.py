"""Text from records, made safe to look at.

Names of categories come from events, and so from anybody: a terminal would obey an escape sequence
in one, and a line break would make a line of its own. They are shown as Python writes them.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any, TypeVar

T = TypeVar("T")

_CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # with escape, line breaks and the bell
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # the direction of what follows
    "\u2028\u2029"  # line breaks as well
    "\ud800-\udfff]"  # halves of characters, which cannot be encoded
)


def printable(text: str) -> str:
    """One line: control characters as ``\\x1b``."""
    return _CONTROLS.sub(lambda found: repr(found[0])[1:-1], text)


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
