"""Many windows recomputed in one pass: the same as one by one, and nothing slips through."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from driftloop.adapters.clock import ManualClock
from driftloop.adapters.memory import MemoryLog
from driftloop.cli.verifying import Verification, evenly, verify_windows
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.records import codec
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.declaration_toml import declaration_of
from driftloop.kernel.ports import Send, TopicPartition
from driftloop.kernel.records import (
    ModelRecord,
    OffsetRange,
    Outcome,
    Prediction,
    Stream,
    Window,
)
from driftloop.kernel.statistics.merge import statistics_digest
from driftloop.kernel.topics import ControlTopics
from driftloop.kernel.verification import recompute_window

HOUR = 3_600_000
PARTITIONS = 2
PER_PARTITION = 120
TOML = """
[model]
name = "m"
partitions = 2
[events]
schema = "m.avsc"
id = "id"
time = "at"
earliest = 1969-12-31
[[features]]
name = "x"
kind = "numeric"
limits = [-1000, 1000]
[[features]]
name = "c"
kind = "categorical"
[windows]
size = "1h"
"""
SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "M",
        "fields": [
            {"name": "id", "type": "string"},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "x", "type": "double"},
            {"name": "c", "type": "string"},
        ],
    }
)


def prediction(partition: int, row: int, x: float) -> Prediction:
    # Out of order within the hour, and every tenth row an hour late.
    late = HOUR if row % 10 == 9 else 0
    at = row // 30 * HOUR + (row * 7919) % HOUR - late
    return Prediction(
        event_id=f"{partition}-{row}",
        event_time=at,
        version=0,
        scores=(0.25 + 0.001 * row,),
        numeric=(x,),
        categories=("even" if row % 2 == 0 else None,),
        shadow_version=-1,
        shadow_scores=(),
        source_partition=partition,
        source_offset=row,
    )


def outcome(partition: int, row: int, x: float) -> Outcome:
    made = prediction(partition, row, x)
    shadow = row >= PER_PARTITION // 2
    return Outcome(
        event_id=made.event_id,
        event_time=made.event_time,
        outcome_time=made.event_time + HOUR // 2,
        version=0,
        scores=made.scores,
        numeric=made.numeric,
        categories=made.categories,
        shadow_version=0 if shadow else -1,
        shadow_scores=(0.5,) if shadow else (),
        label=float(row % 3 == 0),
        label_delay=HOUR // 2,
        prediction_partition=partition,
        prediction_offset=row,
        label_partition=partition,
        label_offset=row,
    )


class World:
    """A log with predictions and outcomes, and every window of them."""

    def __init__(self) -> None:
        self.log = MemoryLog(ManualClock())
        self.catalog = Catalog(ControlTopics(), declaration_of)
        record = ModelRecord("m", TOML, SCHEMA, "me", 0)
        self.model: Declaration = declaration_of(record)
        self.catalog.declare(self.model)
        self.log.ensure_topics(self.model.topics.specs(PARTITIONS))
        producer = self.log.producer("test")
        for partition in range(PARTITIONS):
            for topic, build in (
                (self.model.topics.predictions, prediction),
                (self.model.topics.outcomes, outcome),
            ):
                rows = [build(partition, row, row * 0.1) for row in range(PER_PARTITION)]
                producer.send(
                    Send(
                        topic,
                        [row.event_id.encode() for row in rows],
                        [codec(type(row)).encode(row) for row in rows],
                        partition,
                    )
                )
        self.windows = [
            *self._windows(Stream.PREDICTIONS, self.model.topics.predictions),
            *self._windows(Stream.OUTCOMES, self.model.topics.outcomes),
        ]

    def _windows(self, stream: Stream, topic: str) -> list[Window]:
        ranges: dict[tuple[int, int], dict[int, tuple[int, int]]] = {}
        kind = Prediction if stream is Stream.PREDICTIONS else Outcome
        for partition in range(PARTITIONS):
            for batch in self.log.read(TopicPartition(topic, partition), 0, PER_PARTITION):
                for offset, value in zip(batch.offsets, batch.values, strict=True):
                    row = codec(kind).decode(value)
                    at = row.outcome_time if isinstance(row, Outcome) else row.event_time
                    shadow = row.shadow_version if isinstance(row, Outcome) else -1
                    parts = ranges.setdefault((at // HOUR * HOUR, shadow), {})
                    first = parts.get(partition, (offset, 0))[0]
                    parts[partition] = (first, offset + 1)
        return [self._window(stream, topic, key, parts) for key, parts in sorted(ranges.items())]

    def _window(
        self,
        stream: Stream,
        topic: str,
        key: tuple[int, int],
        parts: dict[int, tuple[int, int]],
    ) -> Window:
        start, shadow = key
        draft = Window(
            model="m",
            stream=stream,
            start=start,
            end=start + HOUR,
            version=0,
            shadow=shadow,
            revision=0,
            rows=0,
            late=0,
            sources=tuple(OffsetRange(topic, p, *span) for p, span in sorted(parts.items())),
            watermark=0,
            statistics=None,  # type: ignore[arg-type]
            digest="",
        )
        found = recompute_window(self.log, self.model, None, draft)
        return dataclasses.replace(
            draft, statistics=found, rows=found.rows, digest=statistics_digest(found)
        )

    def verify(self, windows: Sequence[Window] | None = None) -> Verification:
        return verify_windows(self.log, self.catalog, self.windows if windows is None else windows)

    def tamper(self, topic: str, partition: int, offset: int, value: bytes) -> None:
        self.log._storage.partition(TopicPartition(topic, partition)).values[offset] = value


@pytest.fixture
def world() -> World:
    return World()


def test_every_window_of_an_untouched_log_is_verified(world: World) -> None:
    found = world.verify()
    assert found == Verification(len(world.windows), len(world.windows), 0, 0, (), ())
    assert found.ok
    assert {w.stream for w in world.windows} == set(Stream)
    assert sum(w.rows for w in world.windows) == 2 * PARTITIONS * PER_PARTITION
    assert any(w.shadow == 0 for w in world.windows)


def test_windows_of_times_that_are_declared_no_more_are_verified(world: World) -> None:
    first = world.windows[len(world.windows) // 3].start
    for events in (
        replace(world.model.events, earliest=first),
        replace(world.model.events, latest=first - world.model.labels.horizon),
    ):
        world.catalog.declare(replace(world.model, events=events))
        assert world.verify().ok


def test_a_changed_row_is_found_in_its_window_and_no_other(world: World) -> None:
    topic = world.model.topics.predictions
    changed = prediction(1, 44, x=999.0)
    world.tamper(topic, 1, 44, codec(Prediction).encode(changed))
    found = world.verify()
    assert (found.verified, found.mismatched) == (len(world.windows) - 1, 1)
    assert not found.ok
    (detail,) = found.details
    assert f"window m/predictions/{changed.event_time // HOUR * HOUR}/0/-" in detail
    assert "numeric[x]" in detail


def test_a_changed_label_is_found(world: World) -> None:
    topic = world.model.topics.outcomes
    row = outcome(0, 5, x=0.5)
    flipped = dataclasses.replace(row, label=1.0 - row.label)
    world.tamper(topic, 0, 5, codec(Outcome).encode(flipped))
    found = world.verify()
    assert found.mismatched == 1
    assert "loss" in found.details[0]


def test_a_row_that_is_gone_is_found_by_its_absence(world: World) -> None:
    world.tamper(world.model.topics.predictions, 0, 3, b"no record at all")
    found = world.verify()
    assert found.mismatched == 1
    window = next(w for w in world.windows if w.start == 0 and w.stream is Stream.PREDICTIONS)
    assert f"it says {window.rows} rows, the log gives {window.rows - 1}" in found.details[0]


def test_rows_outside_a_windows_offsets_do_not_count(world: World) -> None:
    """Late rows that came after a revision belong to the next one."""
    window = next(w for w in world.windows if w.stream is Stream.PREDICTIONS and w.start == 0)
    ranges = tuple(dataclasses.replace(s, end=s.end - 1) for s in window.sources)
    shorter = dataclasses.replace(window, sources=ranges)
    found = recompute_window(world.log, world.model, None, shorter)
    assert found.rows < window.rows
    shorter = dataclasses.replace(
        shorter, statistics=found, rows=found.rows, digest=statistics_digest(found)
    )
    assert world.verify([shorter]).ok


def test_only_the_newest_revision_of_a_window_is_compared(world: World) -> None:
    right = dataclasses.replace(world.windows[0], revision=1)
    wrong = dataclasses.replace(world.windows[0], rows=1)
    assert world.verify([right, wrong]) == Verification(1, 1, 0, 0, (), ())
    assert world.verify([wrong, right]) == Verification(1, 1, 0, 0, (), ())


def test_a_window_with_another_digest_is_a_mismatch(world: World) -> None:
    wrong = dataclasses.replace(world.windows[0], digest="0" * 64)
    found = world.verify([wrong])
    assert found.mismatched == 1
    assert "digest" in found.details[0]


def test_statistics_that_do_not_have_their_digest_are_a_mismatch(world: World) -> None:
    window = world.windows[0]
    other = dataclasses.replace(window, statistics=world.windows[1].statistics)
    assert world.verify([other]).mismatched == 1


def test_offsets_that_the_log_does_not_hold_any_more_are_unverifiable(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = {TopicPartition(world.model.topics.predictions, p): 10 * p for p in range(PARTITIONS)}
    monkeypatch.setattr(world.log, "start_offsets", lambda topics: starts)
    window = world.windows[0]
    assert [source.start for source in window.sources] == [9, 9]
    found = world.verify([window])
    assert (found.unverifiable, found.mismatched) == (1, 0)
    assert f"m.predictions/1 offsets [9, {window.sources[1].end})" in found.details[0]
    assert "begins with 10" in found.details[0]


def test_windows_of_a_topic_that_is_gone_are_unverifiable(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.log, "start_offsets", lambda topics: {})
    monkeypatch.setattr(world.log, "end_offsets", lambda topics: {})
    found = world.verify()
    assert found.unverifiable == len(world.windows)
    assert "there is no m.predictions/0" in found.details[0]


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ((), "names no offsets"),
        ((OffsetRange("m.predictions", 0, 5, 5),), "[5, 5)"),
        ((OffsetRange("m.predictions", 0, -1, 30),), "[-1, 30)"),
        ((OffsetRange("m.predictions", 0, 0, PER_PARTITION + 1),), "come only to 120"),
        ((OffsetRange("m.predictions", PARTITIONS, 0, 30),), "no such partition"),
        ((OffsetRange("m.predictions", 0, 0, 30),) * 2, "m.predictions/0 twice"),
        ((OffsetRange("m.outcomes", 0, 0, 30),), "names m.outcomes/0"),
        ((OffsetRange("elsewhere", 0, 0, 30),), "names elsewhere/0"),
    ],
)
@pytest.mark.parametrize("own", [False, True])
def test_a_window_that_names_what_it_cannot_be_made_from_is_a_mismatch(
    world: World, sources: tuple[OffsetRange, ...], said: str, own: bool
) -> None:
    """Whatever is right of it beside."""
    window = world.windows[0]
    statistics = window if own else world.windows[1]
    forged = dataclasses.replace(
        window,
        sources=sources,
        rows=statistics.rows,
        statistics=statistics.statistics,
        digest=statistics.digest,
    )
    found = world.verify([forged, world.windows[1]])
    assert (found.verified, found.mismatched, found.unverifiable) == (1, 1, 0)
    (detail,) = found.mismatches
    assert window.id in detail
    assert said in detail


def test_a_range_without_a_row_of_the_window_is_a_mismatch(world: World) -> None:
    window = world.windows[1]
    first, second = window.sources
    past = dataclasses.replace(second, start=PER_PARTITION - 5, end=PER_PARTITION)
    for sources in ((first, past), (past,)):
        found = world.verify([dataclasses.replace(window, sources=sources)])
        assert found.mismatched == 1
    draft = dataclasses.replace(window, sources=(first,))
    statistics = recompute_window(world.log, world.model, None, draft)
    right = dataclasses.replace(
        draft, statistics=statistics, rows=statistics.rows, digest=statistics_digest(statistics)
    )
    assert world.verify([right]).ok
    found = world.verify([dataclasses.replace(right, sources=(first, past))])
    assert f"[{past.start}, {past.end}): no row of it lies there" in found.mismatches[0]


def test_no_topic_is_asked_for_that_a_record_merely_names(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    held = world.log.start_offsets
    monkeypatch.setattr(
        world.log, "start_offsets", lambda topics: asked.extend(topics) or held(topics)
    )
    forged = dataclasses.replace(world.windows[0], sources=(OffsetRange("elsewhere", 0, 0, 1),))
    assert world.verify([forged]).mismatched == 1
    assert asked == ["m.predictions"]


def test_a_model_that_is_not_declared_any_more_makes_its_windows_unverifiable(
    world: World,
) -> None:
    world.catalog.models.clear()
    found = world.verify()
    assert found.unverifiable == len(world.windows)
    assert not found.ok


def test_a_version_that_is_unknown_makes_its_windows_unverifiable(world: World) -> None:
    found = world.verify([dataclasses.replace(world.windows[0], version=7)])
    assert found.unverifiable == 1
    assert "version 7" in found.details[0]


def test_no_windows_are_all_verified(world: World) -> None:
    assert world.verify([]) == Verification(0, 0, 0, 0, (), ())


def test_a_sample_is_spread_over_all_windows(world: World) -> None:
    assert evenly(world.windows, 0) == world.windows
    chosen = evenly(world.windows, 3)
    assert len(chosen) == 3
    assert chosen[0] == world.windows[0]
    assert world.verify(chosen).verified == 3
