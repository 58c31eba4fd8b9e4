"""Exact sums against rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.kernel.errors import DecodeError
from driftloop.kernel.statistics.exact import (
    ADDS_PER_CARRY,
    ExactSums,
    add_sums,
    encode_sum,
    exact_sum,
)

encode_sum([1.0])  # compiles, which no example's deadline allows for

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def rounded(values: list[float]) -> float:
    total = sum(map(Fraction, values), Fraction(0))
    try:
        return total.numerator / total.denominator
    except OverflowError:
        return math.inf if total > 0 else -math.inf


@given(st.lists(FINITE, max_size=40))
def test_the_sum_is_correctly_rounded(values: list[float]) -> None:
    assert exact_sum(encode_sum(values)) == rounded(values)


@given(st.lists(FINITE, max_size=30), st.randoms(use_true_random=False))
def test_order_does_not_change_the_bytes(values: list[float], random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert encode_sum(shuffled) == encode_sum(values)


@given(st.lists(FINITE, max_size=15), st.lists(FINITE, max_size=15))
def test_equal_sums_have_equal_bytes_and_others_do_not(a: list[float], b: list[float]) -> None:
    equal = sum(map(Fraction, a), Fraction(0)) == sum(map(Fraction, b), Fraction(0))
    assert (encode_sum(a) == encode_sum(b)) == equal


@given(FINITE)
def test_a_value_and_its_negative_leave_nothing(value: float) -> None:
    assert encode_sum([value, -value]) == b""


@given(st.lists(FINITE, max_size=15), st.lists(FINITE, max_size=15))
def test_adding_sums_is_the_sum_of_all_values(a: list[float], b: list[float]) -> None:
    assert add_sums(encode_sum(a), encode_sum(b)) == encode_sum([*a, *b])


@given(st.lists(FINITE, max_size=15), st.lists(FINITE, max_size=15))
def test_a_loaded_sum_goes_on_where_it_stopped(a: list[float], b: list[float]) -> None:
    sums = ExactSums(2)
    sums.load(1, encode_sum(a))
    sums.add(np.array([[0.0, value] for value in b]).reshape(-1, 2))
    assert sums.encode() == (b"", encode_sum([*a, *b]))


@settings(max_examples=10, deadline=None)
@given(FINITE, st.integers(ADDS_PER_CARRY - 2, 3 * ADDS_PER_CARRY + 2))
def test_carries_survive_many_equal_values(value: float, n: int) -> None:
    sums = ExactSums(1)
    sums.add(np.full((n // 2, 1), value))
    sums.add(np.full((n - n // 2, 1), value))
    assert exact_sum(sums.encode()[0]) == rounded([value] * n)


@given(st.binary(min_size=1, max_size=300))
def test_arbitrary_bytes_are_a_number_or_an_error(data: bytes) -> None:
    try:
        assert not math.isnan(exact_sum(data))
    except DecodeError:
        with pytest.raises(DecodeError):
            ExactSums(1).load(0, data)
