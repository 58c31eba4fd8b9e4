"""Byte strings side by side in one buffer: a column of keys or values without an object per row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar, overload

import numpy as np
import numpy.typing as npt
from typing_extensions import override

I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
B = TypeVar("B", bytes, "bytes | None", covariant=True)


class Slices(Sequence[B]):
    """A sequence of byte strings: entry i is ``data[at[i]:at[i] + length[i]]``, None where the
    length is -1. Entries become objects only where someone asks for one."""

    __slots__ = ("_bytes", "at", "data", "length")

    def __init__(self, data: U8, at: I64, length: I64) -> None:
        """``data`` is C-contiguous and is not changed any more; ``at`` and ``length`` have one
        entry per row and lie within it."""
        if data.flags.writeable:
            # Compiled loops take read-only buffers, as those of bytes objects are.
            data = data.view()
            data.flags.writeable = False
        self.data = data
        self.at = at
        self.length = length
        self._bytes: bytes | None = None
        """The buffer, where it was made of it."""

    @classmethod
    def of(cls, values: Sequence[B]) -> Slices[B]:
        """The same entries side by side; slices stay what they are."""
        if isinstance(values, Slices):
            return values
        present: Sequence[Any] = values
        try:
            joined = b"".join(present)
        except TypeError:  # a None, which is rare: cheaper than looking at every entry
            length = np.fromiter((-1 if v is None else len(v) for v in values), np.int64)
            joined = b"".join(v for v in values if v is not None)
            ends = np.cumsum(np.maximum(length, 0))
        else:
            length = np.fromiter(map(len, present), np.int64, len(present))
            ends = np.cumsum(length)
        made = cls(np.frombuffer(joined, np.uint8), ends - np.maximum(length, 0), length)
        made._bytes = joined
        return made

    def take(self, rows: I64) -> Slices[B]:
        """The entries of these rows, over the same buffer."""
        taken = Slices[B](self.data, self.at[rows], self.length[rows])
        taken._bytes = self._bytes
        return taken

    def packed(self, behind: bytes = b"") -> tuple[U8, I64]:
        """The entries one after the other in a buffer of their own, ``behind`` behind them, and
        where each begins."""
        from driftloop.kernel.codec.slice_kernels import pack_slices

        total = self.total()
        out = np.empty(total + len(behind), np.uint8)
        at = np.empty(len(self), np.int64)
        pack_slices(self.data, self.at, self.length, out, at)
        out[total:] = np.frombuffer(behind, np.uint8)
        out.flags.writeable = False
        return out, at

    def owned(self) -> Slices[B]:
        """The same entries in a buffer of their own."""
        data, at = self.packed()
        return Slices(data, at, self.length.copy())

    def total(self) -> int:
        """Bytes of all entries."""
        return int(np.maximum(self.length, 0).sum())

    @override
    def __len__(self) -> int:
        return len(self.at)

    @overload
    def __getitem__(self, index: int) -> B: ...

    @overload
    def __getitem__(self, index: slice) -> Slices[B]: ...

    @override
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            taken = Slices[B](self.data, self.at[index], self.length[index])
            taken._bytes = self._bytes
            return taken
        length = int(self.length[index])
        if length < 0:
            return None
        start = int(self.at[index])
        return self.data[start : start + length].tobytes()

    @override
    def __iter__(self) -> Iterator[B]:
        data, at = self._bytes, self.at
        if data is None:
            # The buffer may be that of a whole poll, of which these are a few of one model.
            packed, at = self.packed()
            data = packed.tobytes()
        for start, length in zip(at.tolist(), self.length.tolist(), strict=True):
            entry: Any = None if length < 0 else data[start : start + length]
            yield entry

    @override
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(other) != len(self):
            return NotImplemented if not isinstance(other, Sequence) else False
        return all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    @override
    def __repr__(self) -> str:
        return f"Slices({len(self)} entries, {len(self.data)} bytes)"


def concat(parts: Sequence[Sequence[B]]) -> Slices[B]:
    """The entries of one part after the other, in a new buffer of their own; at least one part."""
    columns: list[Slices[B]] = [Slices.of(part) for part in parts]
    packed: list[tuple[U8, I64]] = [column.packed() for column in columns]
    starts = np.cumsum([0, *(len(data) for data, _ in packed)]).tolist()
    return Slices(
        np.concatenate([data for data, _ in packed]),
        np.concatenate([at + start for (_, at), start in zip(packed, starts, strict=False)]),
        np.concatenate([column.length for column in columns]),
    )
