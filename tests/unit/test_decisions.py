"""What the deciding cores share: entries, used windows, ranges, what is sent."""

from __future__ import annotations

import math

from decision_builders import HOUR, MODEL, TOPICS, batch, predictions
from driftloop.kernel.decisions import Outgoing, UsedWindows, merge_ranges, read_records
from driftloop.kernel.entries import Entries
from driftloop.kernel.ports import RecordBatch
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import OffsetRange, Window


def test_entries_give_floats_back_bit_for_bit() -> None:
    values = [0.1, math.pi, 5e-324, -1.7976931348623157e308, 1e22]
    entries = Entries()
    entries.put("m/a", values)
    assert dict(entries.read("m")) == {"a": values}


def test_an_entry_put_unchanged_is_no_change() -> None:
    entries = Entries()
    entries.put("m/a", 1)
    entries.changes()
    entries.put("m/a", 1)
    assert entries.changes() == {}


def test_a_deleted_entry_is_a_change_to_nothing() -> None:
    entries = Entries()
    entries.load({"m/a": b"1"})
    entries.delete("m/a")
    entries.delete("m/b")
    assert entries.changes() == {"m/a": None}


def test_forgetting_one_model_keeps_the_changes_of_another() -> None:
    entries = Entries()
    entries.put("m/a", 1)
    entries.put("n/a", 1)
    entries.forget(lambda model: model == "m")
    assert entries.changes() == {"n/a": b"1"}


def test_a_window_older_than_the_horizon_counts_as_used() -> None:
    used = UsedWindows(Entries(), MODEL, "predictions")
    assert used.claim(predictions(10), 3 * HOUR)
    assert used.claim(predictions(7), 3 * HOUR)
    assert not used.claim(predictions(6), 3 * HOUR)


def test_windows_beyond_the_horizon_leave_the_state() -> None:
    entries = Entries()
    used = UsedWindows(entries, MODEL, "predictions")
    for hour in range(50):
        used.claim(predictions(hour), 3 * HOUR)
    assert len(list(entries.read(MODEL))) == 4


def test_ranges_merge_per_partition_to_what_covers_them() -> None:
    parts = [OffsetRange("t", 1, 5, 9), OffsetRange("t", 0, 3, 4), OffsetRange("t", 1, 2, 6)]
    assert merge_ranges(parts) == (OffsetRange("t", 0, 3, 4), OffsetRange("t", 1, 2, 9))


def test_neighbours_bound_for_one_partition_travel_together_in_order() -> None:
    outgoing = Outgoing()
    for topic, key in (("a", "1"), ("a", "2"), ("b", "3"), ("a", "4")):
        outgoing.add(topic, 0, key, b"")
    sends = outgoing.outputs().sends
    assert [(s.topic, list(s.keys)) for s in sends] == [
        ("a", [b"1", b"2"]),
        ("b", [b"3"]),
        ("a", [b"4"]),
    ]


def test_a_record_outside_its_models_partition_is_a_dead_letter() -> None:
    right = batch(TOPICS.windows, predictions(0))
    elsewhere = (right.partition + 1) % TOPICS.partitions
    wrong = RecordBatch(
        right.topic, elsewhere, right.offsets, right.timestamps, right.keys, right.values
    )
    found, letters = read_records("drift", Window, wrong, TOPICS)
    assert not found
    assert [letter.reason for letter in letters] == [Reason.WRONG_PARTITION]
