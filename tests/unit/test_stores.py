"""Sections of a store: each by itself; a table's entries by partition."""

from __future__ import annotations

import pytest

from driftloop.adapters.faust.entries import TableEntries
from driftloop.kernel.errors import NoRoomError
from driftloop.kernel.stores import MemoryStore, Section
from full_store import FullStore


def test_sections_of_a_store_know_nothing_of_each_other() -> None:
    store = MemoryStore()
    one, other = Section(store, b"one/"), Section(store, b"other/")
    one.write({b"a": b"1", b"b": b"2", b"c": b"3"})
    other.write({b"a": b"4"})
    other.write({b"b": None})
    assert one.get_many([b"a", b"x", b"b"]) == [b"1", None, b"2"]
    assert list(one.scan(b"a", b"c")) == [(b"a", b"1"), (b"b", b"2")]
    assert list(other.scan(b"", b"\xff")) == [(b"a", b"4")]


def test_a_tables_entries_are_read_by_partition_as_often_as_wanted() -> None:
    entries = TableEntries(MemoryStore())
    entries.write(1, {b"b": b"2", b"a": b"1"})
    entries.write(11, {b"a": b"3"})
    entries.write(1, {b"b": None, b"c": b"4"})
    read = entries.of(1)
    assert list(read) == list(read) == [(b"a", b"1"), (b"c", b"4")]
    assert list(entries.of(2)) == []


def test_entries_of_partitions_that_left_are_deleted() -> None:
    store = MemoryStore()
    entries = TableEntries(store)
    for partition in (1, 2, 3):
        entries.write(partition, {b"%d" % key: b"x" for key in range(3)})
    entries.keep({2, 4})
    assert len(list(store.scan(b"", b"\xff"))) == len(list(entries.of(2))) == 3
    entries.keep(set())
    assert list(store.scan(b"", b"\xff")) == []


def test_what_cannot_be_stored_while_a_changelog_is_read_is_told_once() -> None:
    store = FullStore()
    entries = TableEntries(store)
    entries.check()
    for _ in range(3):
        entries.restore(0, {b"a": b"1"})
    assert store.asked == 1
    with pytest.raises(NoRoomError, match="no room"):
        entries.check()
