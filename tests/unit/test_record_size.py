"""What is made of an accepted event fits into a record."""

from __future__ import annotations

import math

from driftloop.kernel.codec.faults import LONGEST_CATEGORY, LONGEST_ID
from driftloop.kernel.codec.records import codec
from driftloop.kernel.declaration_fields import MOST_FEATURES
from driftloop.kernel.records import Outcome, Prediction
from driftloop.kernel.topics import LARGEST_RECORD

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
