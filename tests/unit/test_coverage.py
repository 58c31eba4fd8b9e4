"""What a reference tells of values that it has not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from decision_builders import profile
from driftloop.kernel.codec.blocks import I64
from driftloop.kernel.records import CategoricalProfile, Profile, Stream
from driftloop.kernel.statistics.coverage import effective_sizes, leave_one_out
from driftloop.kernel.statistics.layout import Layout


def layout(counts: tuple[int, ...], left_out: int = 0, missing: int = 0) -> Layout:
    """Of a profile whose column of categories has these counts, and rows of other levels."""
    names = tuple(f"l{i}" for i in range(len(counts)))
    column = CategoricalProfile("c", names, counts, missing)
    rows = sum(counts) + left_out + missing
    whole: Profile = replace(profile(), rows=rows, categorical=(column,))
    return Layout(whole, Stream.PREDICTIONS)


def column(counts: np.ndarray, of: Layout) -> list[float]:
    """Of the categories: levels, then new, then missing."""
    place = of.places[-1]
    return [round(float(count), 9) for count in counts[place.bins.start : place.missing + 1]]


def test_a_row_that_alone_has_its_level_is_new_without_itself() -> None:
    of = layout((10, 5, 1, 1), missing=3)
    # Two rows of seventeen; of four levels each gives up half a row.
    assert column(leave_one_out(of, of.reference()), of) == [9.5, 4.5, 0.5, 0.5, 2.0, 3.0]


def test_without_rare_levels_a_reference_is_as_it_was() -> None:
    of = layout((10, 5, 3))
    np.testing.assert_array_equal(leave_one_out(of, of.reference()), of.reference())
    levels, new = effective_sizes(of, of.reference())
    assert (levels == 1.0).all()
    assert (new == 1.0).all()


def test_where_levels_were_left_out_the_rarest_kept_were_kept_by_a_row() -> None:
    of = layout((20, 7, 5, 4), left_out=30)
    # Without one of its rows, that of 4 would be left out, and that of 5 as well may be.
    assert leave_one_out(of, of.reference())[of.places[-1].other] == pytest.approx(30 + 9)


def test_a_slot_has_its_own_rows_of_rare_levels() -> None:
    of = layout((10, 5, 1, 1))
    part: I64 = np.zeros(of.length, dtype=np.int64)
    part[of.places[-1].bins] = (4, 0, 1, 0)
    found = leave_one_out(of, part)
    assert found[of.places[-1].other] == pytest.approx(1.0)
    assert found.sum() == pytest.approx(part.sum())


def test_levels_that_occur_twice_make_the_share_of_new_values_unsure() -> None:
    of = layout((91, 2, 2, 2, 1, 1, 1))
    levels, new = effective_sizes(of, of.reference())
    assert levels[-1] == pytest.approx(97 / (97 + 6))
    assert new[-1] == pytest.approx(4 * 0.97 / (4 * 0.97 + 6))


def test_outcomes_and_a_column_without_values_have_no_tail() -> None:
    for of in (layout(()), Layout(layout((2, 1)).profile, Stream.OUTCOMES)):
        np.testing.assert_array_equal(leave_one_out(of, of.reference()), of.reference())
