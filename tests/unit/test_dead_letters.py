"""A dead letter holds all there was of a record."""

from __future__ import annotations

from driftloop.kernel.codec.records import codec
from driftloop.kernel.deadletters import dead_letter
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.ports import RecordBatch
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import DeadLetter, Header
from driftloop.kernel.topics import LARGEST_RECORD


def test_of_a_record_that_does_not_fit_it_says_where_that_is() -> None:
    error = DecodeError(Reason.OUT_OF_LIMITS, "why")
    for size, kept in ((LARGEST_RECORD - (128 << 10), True), (LARGEST_RECORD, False)):
        value, headers = b"x" * (size - 1000), (("h", b"x" * 1000),)
        batch = RecordBatch("t", 3, [7], [123], [b"k"], [value], [headers])
        letter = dead_letter("svc", batch, 0, error)
        assert len(codec(DeadLetter).encode(letter)) < LARGEST_RECORD - (32 << 10)
        assert (letter.value == value) is kept
        assert (letter.topic, letter.partition, letter.offset) == ("t", 3, 7)
        assert ("read the record at its offset" in letter.detail) is not kept


def test_null_and_repeated_headers_null_keys_and_any_bytes_are_kept() -> None:
    headers = (("a", b"\xff\x00"), ("a", None), ("b", b""))
    batch = RecordBatch("t", 3, [7], [123], [None], [b"\x00\xff"], [headers])
    letter = dead_letter("svc", batch, 0, DecodeError(Reason.NOT_AVRO, "why"))
    again = codec(DeadLetter).decode(codec(DeadLetter).encode(letter))
    assert again == letter
    assert again.headers == (Header("a", b"\xff\x00"), Header("a", None), Header("b", b""))
    assert (again.topic, again.partition, again.offset, again.timestamp) == ("t", 3, 7, 123)
    assert (again.key, again.value) == (None, b"\x00\xff")
