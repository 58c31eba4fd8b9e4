"""What is made of an accepted event fits into a record."""

from __future__ import annotations

import dataclasses
import math
import tracemalloc

import numpy as np
import orjson

from driftloop.drift.alerts import opened
from driftloop.drift.cases import Case, Member
from driftloop.kernel.codec.faults import LONGEST_CATEGORY, LONGEST_ID
from driftloop.kernel.codec.records import codec
from driftloop.kernel.declaration_fields import MOST_FEATURES
from driftloop.kernel.records import (
    Alert,
    AlertKind,
    CategoricalStatistics,
    Evidence,
    Finding,
    NumericProfile,
    OffsetRange,
    Outcome,
    Prediction,
    SegmentStatistics,
    Stream,
    Window,
    WindowStatistics,
)
from driftloop.kernel.records.alerts import MOST_FINDINGS
from driftloop.kernel.statistics.numeric_sketch import NumericSketch
from driftloop.kernel.statistics.segments import MOST_SEGMENTS
from driftloop.kernel.topics import LARGEST_RECORD
from driftloop.models.profile import MAX_LEVELS
from driftloop.models.references import MOST_COUNTS

ID = "i" * LONGEST_ID
LAST = 2**63 - 1
SCORES = (0.5,) * 1000


def test_the_largest_prediction_and_its_outcome_do() -> None:
    prediction = Prediction(
        event_id=ID,
        event_time=LAST,
        version=2**31 - 1,
        scores=SCORES,
        numeric=(math.pi,) * MOST_FEATURES,
        categories=("c" * LONGEST_CATEGORY,) * MOST_FEATURES,
        shadow_version=2**31 - 1,
        shadow_scores=SCORES,
        source_partition=2**31 - 1,
        source_offset=LAST,
    )
    outcome = Outcome(
        event_id=ID,
        event_time=LAST,
        outcome_time=LAST,
        version=2**31 - 1,
        scores=SCORES,
        numeric=prediction.numeric,
        categories=prediction.categories,
        shadow_version=2**31 - 1,
        shadow_scores=SCORES,
        label=math.pi,
        label_delay=LAST,
        prediction_partition=2**31 - 1,
        prediction_offset=LAST,
        label_partition=2**31 - 1,
        label_offset=LAST,
    )
    # The key is the id once more; a shared topic's headers name the model.
    for size in (len(codec(Prediction).encode(prediction)), len(codec(Outcome).encode(outcome))):
        assert size + LONGEST_ID < LARGEST_RECORD // 2


ROWS = 10**9
"""Of a window."""


def sketch_of_every_magnitude(name: str) -> NumericSketch:
    """Of both signs, in several batches."""
    magnitudes = np.outer(2.0 ** np.arange(-1022, 1024), 1 + np.arange(8) / 8).ravel()
    values = np.concatenate([magnitudes, -magnitudes])
    sketch = NumericSketch(
        [name], [NumericProfile(name, tuple(map(float, range(19))), (1,) * 20, 0, 0.0, 1.0)]
    )
    for rows in np.array_split(np.arange(len(values)), 50):
        sketch.update(values[:, None], rows, 0)
    return sketch


def test_the_largest_window_does() -> None:
    (seen,) = sketch_of_every_magnitude("n" * 200).statistics()
    each = ROWS // len(seen.buckets)
    column = dataclasses.replace(seen, bucket_counts=(each,) * len(seen.buckets), count=ROWS)
    level_counts = (ROWS // MAX_LEVELS,) * MAX_LEVELS
    segment_counts = (ROWS // MAX_LEVELS,) * (MOST_COUNTS // MOST_SEGMENTS)
    of_numbers = WindowStatistics(
        rows=ROWS,
        # The score's is one more.
        numeric=(column,) * (MOST_FEATURES + 1),
        categorical=(),
        loss=None,
        segments=(
            SegmentStatistics("s" * LONGEST_CATEGORY, ROWS, segment_counts),
        ) * MOST_SEGMENTS,
    )  # fmt: skip
    of_categories = dataclasses.replace(
        of_numbers,
        numeric=(column,),
        categorical=(CategoricalStatistics("c" * 200, ROWS, ROWS, level_counts, ROWS),)
        * MOST_FEATURES,
    )
    for statistics in (of_numbers, of_categories):
        window = Window(
            model="m" * 200,
            stream=Stream.PREDICTIONS,
            start=0,
            end=LAST,
            version=2**31 - 1,
            shadow=2**31 - 1,
            revision=1,
            rows=ROWS,
            late=ROWS,
            sources=(OffsetRange("t" * 249, 2**31 - 1, 0, LAST),) * 1000,
            watermark=LAST,
            statistics=statistics,
            digest="f" * 64,
        )
        assert len(codec(Window).encode(window)) < LARGEST_RECORD


def test_the_largest_alert_does_and_so_does_its_case() -> None:
    subject = "n" * 200
    named = f"{subject}[{'s' * LONGEST_CATEGORY}]"
    ranges = tuple(OffsetRange("t" * 249, p, 0, LAST) for p in range(1000))
    evidence = Evidence(
        statistic="shiryaev_roberts",
        e_value=math.pi,
        threshold=math.pi,
        effect=math.pi,
        effect_name="standardised_shift",
        effect_floor=math.pi,
        rows=LAST,
        windows=("w" * 300,) * 64,
        findings=(Finding(named, math.pi, math.pi, "standardised_shift"),) * MOST_FINDINGS,
    )
    alert = opened(
        "m" * 200,
        AlertKind.DATA_DRIFT,
        subject,
        2**31 - 1,
        LAST // 2**20,
        LAST // 2**20,
        ranges,
        evidence,
        segment="s" * LONGEST_CATEGORY,
    )
    assert len(codec(Alert).encode(alert)) < LARGEST_RECORD // 8
    # Every feature with all levels, and what references of segments may have beside them.
    bins = [*[MAX_LEVELS] * MOST_FEATURES, *[20] * (MOST_COUNTS // 20)]
    members = {
        ("two_sided", row, 0): Member(LAST, LAST, ROWS, [ROWS / 7] * count)
        for row, count in enumerate(bins)
    }
    case = Case(alert, math.pi, members).to_plain()
    assert len(orjson.dumps(case)) < LARGEST_RECORD


def test_what_a_column_holds_does_not_grow_with_the_magnitudes_it_sees() -> None:
    sketch_of_every_magnitude("x")  # what is compiled and imported with the first stays
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    sketch = sketch_of_every_magnitude("x")
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(sketch.statistics()[0].bucket_counts) == 2 * 8 * 2046
    assert held - before < 300_000
