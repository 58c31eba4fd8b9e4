"""Exact sums of doubles that do not depend on order (superaccumulators).

A sum is held as a fixed-point integer in 32-bit steps, each step in an int64 limb so that carries
can wait (R. M. Neal, Fast exact summation using small and large superaccumulators,
arXiv 1505.05571, section 3). Only finite values are added; adding never rounds, so any order and
any split give the same integer, and the integer has one canonical encoding: equal sums, equal
bytes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from driftloop.kernel.codec.blocks import F64, I64
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.reasons import Reason

LIMBS = 68
"""Limb i counts units of 2**(32 i - 1074). Doubles end below 2**1024, so at bit 2098; the rest is
headroom for the number of values and the sign."""

ADDS_PER_CARRY = 1024
"""Additions a limb takes before carries must move: each is below 2**52, a limb has 63 bits."""

_UNIT = 1 << 1074
_MAX_BYTES = LIMBS * 4
_HEAD = 2


@njit(cache=True, nogil=True, inline="always")
def add_bits(limbs, bits):  # type: ignore[no-untyped-def]
    """Add one finite double, given as its int64 bits, to ``limbs`` (int64, shape (LIMBS,))."""
    exponent = (bits >> 52) & 0x7FF
    mantissa = bits & 0xFFFFFFFFFFFFF
    if exponent != 0:
        mantissa |= 0x10000000000000
        exponent -= 1
    limb = exponent >> 5
    shift = exponent & 31
    # The mantissa's 53 bits, shifted by up to 31, split so that neither part overflows.
    low = (mantissa << shift) & 0xFFFFFFFF
    high = mantissa >> (32 - shift)
    if bits < 0:
        limbs[limb] -= low
        limbs[limb + 1] -= high
    else:
        limbs[limb] += low
        limbs[limb + 1] += high


@njit(cache=True, nogil=True)
def carry(limbs):  # type: ignore[no-untyped-def]
    """Move carries up: all limbs but the last end in [0, 2**32)."""
    moved = 0
    for i in range(LIMBS - 1):
        value = limbs[i] + moved
        limbs[i] = value & 0xFFFFFFFF
        moved = value >> 32
    limbs[LIMBS - 1] += moved


@njit(cache=True, nogil=True)
def _carry_all(limbs):  # type: ignore[no-untyped-def]
    for column in range(limbs.shape[0]):
        carry(limbs[column])


@njit(cache=True, nogil=True)
def _add_matrix(limbs, bits):  # type: ignore[no-untyped-def]
    for column in range(bits.shape[1]):
        sums = limbs[column]
        for row in range(bits.shape[0]):
            if row % ADDS_PER_CARRY == 0:
                carry(sums)
            add_bits(sums, bits[row, column])


class ExactSums:
    """K exact sums, side by side."""

    __slots__ = ("limbs",)

    def __init__(self, columns: int) -> None:
        self.limbs: I64 = np.zeros((columns, LIMBS), dtype=np.int64)

    def add(self, values: F64) -> None:
        """Add each column of ``values``, shape (n, K), all finite, to its sum."""
        _add_matrix(self.limbs, np.ascontiguousarray(values).view(np.int64))

    def load(self, column: int, data: bytes) -> None:
        """Set one sum from its canonical bytes. Raises :class:`DecodeError`."""
        total = _to_int(data)
        digits = np.frombuffer(total.to_bytes(_MAX_BYTES, "little", signed=True), dtype="<u4")
        self.limbs[column] = digits
        self.limbs[column, -1] = np.int64(digits[-1:].view("<i4")[0])

    def encode(self) -> tuple[bytes, ...]:
        """The canonical bytes of every sum."""
        _carry_all(self.limbs)
        digits = self.limbs.astype("<u4", casting="unsafe")
        return tuple(_trim(row.tobytes()) for row in digits)


def encode_sum(values: npt.ArrayLike) -> bytes:
    """The canonical bytes of the sum of finite ``values``."""
    sums = ExactSums(1)
    sums.add(np.asarray(values, dtype=np.float64).reshape(-1, 1))
    return sums.encode()[0]


def add_sums(a: bytes, b: bytes) -> bytes:
    """The canonical bytes of the sum of two sums. Raises :class:`DecodeError`."""
    if not a:
        return b
    if not b:
        return a
    total = _to_int(a) + _to_int(b)
    try:
        return _trim(total.to_bytes(_MAX_BYTES, "little", signed=True))
    except OverflowError as error:
        raise DecodeError(Reason.OUT_OF_LIMITS, "an exact sum beyond 2**1100") from error


def exact_sum(data: bytes) -> float:
    """The sum, correctly rounded (to nearest, ties to even); beyond the doubles it is infinite.

    Raises :class:`DecodeError` on bytes that are no canonical sum.
    """
    total = _to_int(data)
    try:
        return total / _UNIT
    except OverflowError:
        return float("inf") if total > 0 else float("-inf")


def check_sum(data: bytes) -> None:
    """Raises :class:`DecodeError` on bytes that are no sum."""
    _to_int(data)


def _trim(full: bytes) -> bytes:
    """Canonical: the number of trailing zero bytes (uint16) and the shortest two's complement of
    the rest, little-endian; nothing for zero."""
    body = full.lstrip(b"\0")
    if not body:
        return b""
    zeros = len(full) - len(body)
    if body[-1] == 0:
        short = body.rstrip(b"\0")
        body = short + b"\0" if short[-1] & 0x80 else short
    elif body[-1] == 0xFF:
        short = body.rstrip(b"\xff")
        body = short if short and short[-1] & 0x80 else short + b"\xff"
    return zeros.to_bytes(_HEAD, "little") + body


def _to_int(data: bytes) -> int:
    if not data:
        return 0
    zeros = int.from_bytes(data[:_HEAD], "little")
    if not _HEAD < len(data) <= _HEAD + _MAX_BYTES - zeros:
        raise DecodeError(Reason.MALFORMED, f"{len(data)} bytes are no exact sum")
    return int.from_bytes(data[_HEAD:], "little", signed=True) << (8 * zeros)
