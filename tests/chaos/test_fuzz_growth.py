"""The measure of growth itself: it finds what is kept, and nothing where nothing is."""

from __future__ import annotations

import mmap
import random
from collections.abc import Callable

import pytest
from harness.corpus import Source
from harness.fuzzing import ROUNDS, fuzz
from harness.growth import PAGES, GrowthError

from driftloop.kernel.ports import RecordBatch

_RNG = random.Random(5)
SOURCE = Source("topic", [_RNG.randbytes(60) for _ in range(100)], [""] * 100)


def kept_values(kept: list[object]) -> Callable[[RecordBatch], None]:
    """The least that could be kept of a record: its value."""
    return lambda batch: kept.extend(batch.values)


def kept_offsets(kept: list[object]) -> Callable[[RecordBatch], None]:
    """An entry per record."""
    return lambda batch: kept.extend({"offset": offset} for offset in batch.offsets)


def kept_pages(kept: list[object]) -> Callable[[RecordBatch], None]:
    """Memory that Python has not counted, as compiled code takes it."""

    def take(batch: RecordBatch) -> None:
        pages = mmap.mmap(-1, 1 + 4 * PAGES // ROUNDS)
        pages.write(b"x" * len(pages))
        kept.append(pages)

    return take


@pytest.mark.parametrize("leak", [kept_values, kept_offsets, kept_pages])
def test_what_is_kept_of_every_batch_is_found(
    leak: Callable[[list[object]], Callable[[RecordBatch], None]],
) -> None:
    kept: list[object] = []
    with pytest.raises(GrowthError):
        fuzz(SOURCE, 0, ROUNDS, leak(kept))


def test_a_leak_below_an_earlier_peak_is_found() -> None:
    """Which the most there ever was would not show."""
    peak = bytearray(4 * PAGES)
    del peak
    with pytest.raises(GrowthError):
        fuzz(SOURCE, 0, ROUNDS, kept_values([]))


def test_what_is_let_go_of_is_no_growth() -> None:
    newest: list[object] = []

    def take(batch: RecordBatch) -> None:
        newest[:] = batch.values

    fuzz(SOURCE, 0, ROUNDS, take)
