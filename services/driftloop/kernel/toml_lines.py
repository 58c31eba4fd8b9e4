"""Where the keys of a TOML document are. ``tomllib`` gives values without positions.

The text must be valid TOML (``tomllib`` has read it), so this scan needs no errors of its own.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

Path = tuple[str | int, ...]
"""Keys from the root; a number is an index into an array."""

_SPACE = " \t\r\n"


class TomlText:
    """A document's values, and the line of each key, table and element of an array."""

    def __init__(self, text: str) -> None:
        """Raises ``tomllib.TOMLDecodeError``."""
        self.values: Mapping[str, Any] = tomllib.loads(text)
        self._text = text
        self._found: dict[Path, int] | None = None

    def line(self, path: Path) -> int:
        """1-based line of a path, or of the nearest thing around it; 0 where there is nothing."""
        if self._found is None:
            # Only a problem asks where something is, and most documents have none.
            scan = _Scan(self._text.replace("\r\n", "\n"))
            scan.document()
            self._found = scan.lines
        while path and path not in self._found:
            path = path[:-1]
        return self._found.get(path, 0)


class _Scan:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.row = 1
        self.lines: dict[Path, int] = {}
        self._array_sizes: dict[Path, int] = {}

    def document(self) -> None:
        table: Path = ()
        while self._skip():
            if self._peek() == "[":
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> Path:
        row = self.row
        double = self.text.startswith("[[", self.at)
        self._advance(2 if double else 1)
        keys = self._keys("]")
        self._advance(2 if double else 1)
        path: Path = ()
        for index, key in enumerate(keys):
            path = (*path, key)
            self.lines.setdefault(path, row)
            last = index == len(keys) - 1
            if last and double:
                size = self._array_sizes.get(path, 0)
                self._array_sizes[path] = size + 1
                path = (*path, size)
            elif path in self._array_sizes:
                path = (*path, self._array_sizes[path] - 1)
        self.lines[path] = row
        return path

    def _pair(self, table: Path) -> None:
        row = self.row
        path = table
        for key in self._keys("="):
            path = (*path, key)
            self.lines.setdefault(path, row)
        self._advance(1)
        self._skip()
        self._value(path)

    def _value(self, path: Path) -> None:
        first = self._peek()
        if first in "\"'":
            self._string()
        elif first == "[":
            self._advance(1)
            index = 0
            while self._skip() and self._peek() != "]":
                element = (*path, index)
                self.lines[element] = self.row
                self._value(element)
                index += 1
                self._skip()
                if self._peek() == ",":
                    self._advance(1)
            self._advance(1)
        elif first == "{":
            self._advance(1)
            while self._skip() and self._peek() != "}":
                self._pair(path)
                self._skip()
                if self._peek() == ",":
                    self._advance(1)
            self._advance(1)
        else:
            while self.at < len(self.text) and self._peek() not in ",]}#\n":
                self._advance(1)

    def _keys(self, end: str) -> list[str]:
        """A dotted key, up to but without ``end``."""
        keys = []
        while True:
            self._skip()
            if self._peek() in "\"'":
                keys.append(self._string())
            else:
                start = self.at
                while self._peek() not in f"{_SPACE}.{end}":
                    self._advance(1)
                keys.append(self.text[start : self.at])
            self._skip()
            if self._peek() != ".":
                return keys
            self._advance(1)

    def _string(self) -> str:
        quote = self._peek()
        triple = self.text.startswith(quote * 3, self.at)
        close = quote * 3 if triple else quote
        start = self.at
        self._advance(len(close))
        while not self.text.startswith(close, self.at):
            self._advance(2 if quote == '"' and self._peek() == "\\" else 1)
        self._advance(len(close))
        # Up to two quotes may stand before the closing three.
        while triple and self.at < len(self.text) and self._peek() == quote:
            self._advance(1)
        value: str = tomllib.loads(f"v = {self.text[start : self.at]}")["v"]
        return value

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1] or "\n"

    def _advance(self, count: int) -> None:
        self.row += self.text.count("\n", self.at, self.at + count)
        self.at += count

    def _skip(self) -> bool:
        """Pass over space and comments; whether anything is left."""
        while self.at < len(self.text):
            if self._peek() == "#":
                while self.at < len(self.text) and self._peek() != "\n":
                    self._advance(1)
            elif self._peek() in _SPACE:
                self._advance(1)
            else:
                return True
        return False
