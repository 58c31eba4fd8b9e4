"""Statistics that no rows could give are rejected, and so are two that are not of one window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from driftloop.kernel.errors import DecodeError
from driftloop.kernel.records import NumericStatistics, Stream, WindowStatistics
from driftloop.kernel.statistics.checks import check_statistics, shape_of
from driftloop.kernel.statistics.sketch import Sketch
from window_builders import declaration, outcomes, profile


def statistics(*, shadow: int = -1, with_profile: bool = True) -> WindowStatistics:
    sketch = Sketch(
        declaration(), profile() if with_profile else None, Stream.OUTCOMES, shadow=shadow >= 0
    )
    sketch.update_outcomes(outcomes([1] * 20, shadows=shadow), np.arange(20))
    return sketch.statistics()


def with_first(**values: object) -> WindowStatistics:
    good = statistics()
    first: NumericStatistics = replace(good.numeric[0], **values)  # type: ignore[arg-type]
    return replace(good, numeric=(first, *good.numeric[1:]))


def test_what_a_sketch_gives_is_accepted() -> None:
    check_statistics(statistics())
    check_statistics(statistics(shadow=2))
    assert shape_of(statistics()) == shape_of(statistics())


@pytest.mark.parametrize(
    "bad",
    [
        lambda: replace(statistics(), rows=-1),
        lambda: replace(statistics(), rows=1 << 60),
        lambda: with_first(count=-5),
        lambda: with_first(bins=(1, -1)),
        lambda: with_first(outside=-1),
        lambda: with_first(outside=21),
        lambda: with_first(sum=b"\x01"),
        lambda: with_first(squares=b"\xff" * 400),
        lambda: with_first(buckets=(1, 2), bucket_counts=(1,)),
        lambda: with_first(buckets=(2, 1), bucket_counts=(1, 1)),
    ],
)
def test_counts_and_sums_that_cannot_be_are_rejected(bad: Callable[[], WindowStatistics]) -> None:
    with pytest.raises(DecodeError):
        check_statistics(bad())


def test_statistics_of_another_reference_or_shadow_are_of_another_window() -> None:
    for other in (statistics(with_profile=False), statistics(shadow=2), with_first(name="z")):
        assert shape_of(statistics()) != shape_of(other)
