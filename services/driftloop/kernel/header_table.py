"""Headers of many records as columns: names and values side by side, without objects per record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np
from typing_extensions import override

from driftloop.kernel.slices import I64, Slices

Headers = tuple[tuple[str, bytes | None], ...]


class HeaderTable(Sequence[Headers]):
    """Record i has the headers [``starts[i]``, ``starts[i + 1]``) of ``names`` and ``values``."""

    __slots__ = ("names", "starts", "values")

    def __init__(self, starts: I64, names: Slices[bytes], values: Slices[bytes | None]) -> None:
        self.starts = starts
        self.names = names
        """Behind each name in its buffer lies a zero byte, so that C may read it in place."""
        self.values = values

    @classmethod
    def of(cls, headers: Sequence[Headers]) -> HeaderTable:
        """The same headers as columns; a table stays what it is."""
        if isinstance(headers, HeaderTable):
            return headers
        flat = [header for row in headers for header in row]
        names = Slices.of([name.encode() + b"\0" for name, _ in flat])
        return cls(
            np.cumsum([0, *(len(row) for row in headers)], dtype=np.int64),
            Slices(names.data, names.at, names.length - 1),
            Slices.of([value for _, value in flat]),
        )

    @classmethod
    def single(cls, name: str, values: Slices[bytes]) -> HeaderTable:
        """One header of this name per record."""
        raw = np.frombuffer(name.encode() + b"\0", np.uint8)
        n = len(values)
        names = Slices[bytes](raw, np.zeros(n, np.int64), np.full(n, len(raw) - 1, np.int64))
        return cls(
            np.arange(n + 1, dtype=np.int64), names, Slices(values.data, values.at, values.length)
        )

    def last(self, name: str) -> Slices[bytes | None]:
        """Per record the value of its last header of this name; None where it has none."""
        from driftloop.kernel.codec.slice_kernels import find_last

        wanted = np.frombuffer(name.encode(), np.uint8)
        found = np.empty(len(self), np.int64)
        find_last(self.starts, self.names.data, self.names.at, self.names.length, wanted, found)
        at = np.append(self.values.at, 0)[found]
        length = np.append(self.values.length, -1)[found]
        return Slices(self.values.data, at, length)

    def take(self, rows: I64) -> Sequence[Headers]:
        """The headers of these records, looked up when they are asked for."""
        return _Taken(self, rows)

    @override
    def __len__(self) -> int:
        return len(self.starts) - 1

    @overload
    def __getitem__(self, index: int) -> Headers: ...

    @overload
    def __getitem__(self, index: slice) -> HeaderTable: ...

    @override
    def __getitem__(self, index: int | slice) -> Headers | HeaderTable:
        if isinstance(index, slice):
            low, high, step = index.indices(len(self))
            if step != 1:
                return HeaderTable.of([self[i] for i in range(low, high, step)])
            return HeaderTable(self.starts[low : max(high, low) + 1], self.names, self.values)
        row = range(len(self))[index]
        found = range(int(self.starts[row]), int(self.starts[row + 1]))
        return tuple((self.names[k].decode(errors="replace"), self.values[k]) for k in found)


class _Taken(Sequence[Headers]):
    """Some records of a table."""

    def __init__(self, table: HeaderTable, rows: I64) -> None:
        self._table = table
        self._rows = rows

    @override
    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Headers: ...

    @overload
    def __getitem__(self, index: slice) -> _Taken: ...

    @override
    def __getitem__(self, index: int | slice) -> Headers | _Taken:
        if isinstance(index, slice):
            return _Taken(self._table, self._rows[index])
        return self._table[int(self._rows[index])]
