"""What is kept of requests' heads never changes what a head says."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
from hypothesis import example, given, settings
from hypothesis import strategies as st

from driftloop.inference.heads import Heads
from driftloop.kernel.codec.numbering import numbered
from driftloop.kernel.slices import Slices

INPUTS = b'"inputs":[{"name":"x"}]'
FRONTS = [
    b"{",
    b'{"id":"a",',
    b'{"id":"b", "parameters":{"n":1},',
    b'{"inputs":3,',
    b'{"inputs" : 3,"id":"c",',
    b'{"id":{',
    b'{"id":[{',
    b'{"id":"',
    b'{"id":"\\",',
    b"[{",
    b'[1,{"id":1,',
    b" {",
    b"{ ",
    b"",
    b"{{",
    b'{"id":"a"',
    b'{"id":"\xff",',
]
ENDS = [b"}", b"}}", b"}]", b"", b',"id":"last"}', b',"outputs":[]} ', b'}"', b"]}}"]


def read(parse: Any, head: bytes) -> Any:
    try:
        return parse(head)
    except orjson.JSONDecodeError:
        return "no JSON"


@given(st.lists(st.tuples(st.sampled_from(FRONTS), st.sampled_from(ENDS)), max_size=30))
@example([(b"{", b"}"), (b'{"id":"a",', b"}"), (b'{"id":{', b"}"), (b'{"id":{', b"}}")])
def test_heads_are_read_as_if_for_the_first_time(parts: list[tuple[bytes, bytes]]) -> None:
    heads = Heads()
    for front, end in parts:
        head = front + INPUTS + end
        assert read(lambda raw: heads.parse(raw)[0], head) == read(orjson.loads, head)


@given(st.lists(st.binary(max_size=60), max_size=10))
def test_heads_of_any_bytes(raws: list[bytes]) -> None:
    heads = Heads()
    heads.parse(b'{"id":"a",' + INPUTS + b"}")
    for raw in raws:
        for head in (raw, raw + INPUTS + b"}", b"{" + raw + INPUTS + b"}"):
            assert read(lambda body: heads.parse(body)[0], head) == read(orjson.loads, head)


def test_what_is_found_out_is_shared_by_heads_that_end_alike() -> None:
    heads = Heads()
    first = heads.parse(b'{"id":"a",' + INPUTS + b"}")[1]
    first["seen"] = True
    assert heads.parse(b'{"id":"b",' + INPUTS + b"}")[1] is first
    assert heads.parse(b'{"id":"b",' + INPUTS + b',"outputs":[]}')[1] == {}


def test_no_more_than_a_bound_is_kept() -> None:
    heads = Heads()
    for number in range(2000):
        heads.parse(b'{"inputs":[%d]}' % number)
    heads.parse(b'{"inputs":[' + b"1," * 20_000 + b"1]}")
    assert len(heads._tails) <= 256
    assert max(map(len, heads._tails)) <= 16 * 1024


# The first call compiles.
@settings(deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=12), st.integers(1, 130)), max_size=8))
def test_rows_are_numbered(stems: list[tuple[bytes, int]]) -> None:
    expected = []
    for stem, count in stems:
        numbers = [b"%s/%d" % (stem, row) for row in range(count)]
        expected += [stem] if count == 1 else numbers
    counts = np.array([count for _, count in stems], np.int64)
    found = numbered(Slices.of([stem for stem, _ in stems]), counts)
    assert list(found) == expected
