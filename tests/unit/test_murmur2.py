"""The partitioner against the vectors of Kafka's own tests (``UtilsTest.testMurmur2``)."""

from __future__ import annotations

import pytest

from driftloop.kernel.codec.murmur2 import murmur2, partition_of, partitions_of

VECTORS = [
    (b"21", -973932308),
    (b"foobar", -790332482),
    (b"a-little-bit-long-string", -985981536),
    (b"a-little-bit-longer-string", -1486304829),
    (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    (b"abc", 479470107),
]


@pytest.mark.parametrize(("key", "signed"), VECTORS)
def test_hash_is_kafkas(key: bytes, signed: int) -> None:
    assert murmur2(key) == signed % 2**32


@pytest.mark.parametrize(("key", "signed"), VECTORS)
def test_partition_drops_the_sign_bit(key: bytes, signed: int) -> None:
    assert partition_of(key, 1000) == (signed & 0x7FFFFFFF) % 1000


def test_many_keys_go_where_each_alone_goes() -> None:
    keys = [bytes(range(length)) for length in range(40)] + [b"\xff" * n for n in range(9)]
    assert partitions_of(keys, 7).tolist() == [partition_of(key, 7) for key in keys]


def test_no_keys_give_no_partitions() -> None:
    assert partitions_of([], 3).tolist() == []


def test_a_topic_without_partitions_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        partitions_of([b"a"], 0)
