"""A byte-level mutator over real records."""

from __future__ import annotations

import random
from collections.abc import Sequence

_INTERESTING = (
    b"\x00", b"\x01", b"\x7f", b"\x80", b"\xff", b"\xfe", b"\xc3\x01",
    b"\xff\xff\xff\xff\x0f", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x80" * 12, b"\x01\x00",
    b"\x00\x00\x00\x00\x00\x00\xf8\x7f", b"\x00\x00\x00\x00\x00\x00\xf0\x7f",
    b"\xff\xff\xff\xff\xff\xff\xef\xff", b"\xed\xa0\x80", b"\xf4\x90\x80\x80",
)  # fmt: skip
"""Ends of ranges: of varints, lengths, block counts and floats; and what is no UTF-8."""


def mutated(rng: random.Random, corpus: Sequence[bytes]) -> bytes | None:
    """One record with a few things done to it; now and then none at all."""
    if rng.random() < 0.01:
        return None
    data = bytearray(rng.choice(corpus))
    # Mostly few: many changes end at the first check.
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(data) + 1)
        # The header is 10 bytes: nobody would get past it if it were hit as often as the rest.
        if len(data) > 11 and rng.random() < 0.9:
            at = rng.randrange(10, len(data) + 1)
        match rng.randrange(8):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(data):
                data[at] = rng.randrange(256)
            case 2:
                some = rng.choice(_INTERESTING)
                data[at : at + len(some)] = some
            case 3:
                data[at:at] = rng.choice(_INTERESTING)
            case 4:
                del data[at : at + rng.choice((1, 1, 2, 8, 64))]
            case 5:
                data[at:at] = data[at : at + rng.randrange(1, 40)]
            case 6:
                other = rng.choice(corpus)
                data[at:] = other[rng.randrange(len(other) + 1) :]
            case 7:
                data[at:at] = rng.randbytes(rng.choice((1, 3, 17, 300)))
    return bytes(data)
