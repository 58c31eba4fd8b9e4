"""Kafka's default partitioner: which partition a key belongs to.

Murmur2 as in ``org.apache.kafka.common.utils.Utils`` (32 bits, seed 0x9747b28c), made positive by
dropping the sign bit, modulo the number of partitions. librdkafka's is called ``murmur2_random``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from driftloop.kernel.codec.blocks import I32
from driftloop.kernel.slices import Slices

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """The hash as an unsigned 32-bit number."""
    digest = _SEED ^ (len(data) & _MASK)
    whole = len(data) & ~3
    for pos in range(0, whole, 4):
        k = int.from_bytes(data[pos : pos + 4], "little") * _M & _MASK
        k = (k ^ k >> 24) * _M & _MASK
        digest = (digest * _M & _MASK) ^ k
    if whole < len(data):
        digest = (digest ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    digest = (digest ^ digest >> 13) * _M & _MASK
    return digest ^ digest >> 15


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of one key; ``partitions`` must be positive."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def partitions_of(keys: Sequence[bytes], partitions: int) -> I32:
    """The partition of every key. Raises ValueError unless ``partitions`` is positive."""
    if partitions < 1:
        raise ValueError(f"{partitions} partitions: a topic has at least one")
    # Here, so that who needs one key's partition need not load the compiler.
    from driftloop.kernel.codec.slice_kernels import partition_slices

    slices = Slices.of(keys)
    out = np.empty(len(keys), np.int32)
    partition_slices(slices.data, slices.at, slices.length, partitions, out)
    return out
