"""Slices behave like the list of byte strings they stand for; the id filter never says no of an id
that was added."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.kernel.header_table import HeaderTable
from driftloop.kernel.slices import Slices, concat
from driftloop.outcomes.filter import IdFilter

UNTIMED = settings(deadline=None)  # the first example compiles
entries = st.lists(st.one_of(st.none(), st.binary(max_size=20)), max_size=30)
present = st.lists(st.binary(max_size=20), max_size=30)
names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
headers = st.lists(
    st.lists(st.tuples(names, st.none() | st.binary(max_size=8)), max_size=3).map(tuple),
    max_size=10,
)


@UNTIMED
@given(entries)
def test_entries_come_back_as_they_were(values: list[bytes | None]) -> None:
    slices = Slices.of(values)
    assert list(slices) == values
    assert [slices[i] for i in range(len(values))] == values
    assert slices == values
    assert slices.total() == sum(len(v) for v in values if v is not None)


@UNTIMED
@given(entries, st.data())
def test_rows_can_be_taken_in_any_order(values: list[bytes | None], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(values) - 1))) if values else []
    taken = Slices.of(values).take(np.array(rows, np.int64))
    assert list(taken) == [values[row] for row in rows]
    packed, at = taken.packed(b"behind")
    assert packed.tobytes().endswith(b"behind")
    assert list(Slices(packed, at, taken.length)) == list(taken)


@UNTIMED
@given(st.lists(present, min_size=1, max_size=4))
def test_parts_are_joined_in_their_order(parts: list[list[bytes]]) -> None:
    assert list(concat(parts)) == [value for part in parts for value in part]


@UNTIMED
@given(headers, st.integers(0, 10), st.integers(0, 10))
def test_a_header_table_is_the_sequence_of_its_rows(
    rows: list[tuple[tuple[str, bytes | None], ...]], low: int, high: int
) -> None:
    table = HeaderTable.of(rows)
    assert list(table) == rows
    assert list(table[low:high]) == rows[low:high]
    for name in {name for row in rows for name, _ in row}:
        last = [next((v for n, v in reversed(row) if n == name), None) for row in rows]
        assert list(table.last(name)) == last


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=8))
def test_the_filter_knows_every_id_until_its_time_is_over(sizes: list[int]) -> None:
    known = IdFilter()
    added = []
    for group, size in enumerate(sizes):
        ids = Slices.of([b"%d/%d" % (group, k) for k in range(size)])
        known.add(ids, until=group)
        added.append(ids)
    for passed, ids in enumerate(added):
        known.forget(passed)
        assert known.may_contain(ids).all()


def test_the_filter_rarely_asks_for_an_id_in_vain() -> None:
    known = IdFilter()
    known.add(Slices.of([b"in-%d" % k for k in range(50_000)]), until=1)
    others = Slices.of([b"out-%d" % k for k in range(50_000)])
    assert known.may_contain(others).mean() < 0.01


def test_a_full_filter_lets_everything_through() -> None:
    known = IdFilter()
    known.add(Slices.of([b"a"]), until=1)
    known.complete = False
    assert known.may_contain(Slices.of([b"b"])).all()
