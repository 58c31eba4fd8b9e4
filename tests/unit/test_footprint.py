"""What is counted as held is what takes memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import orjson
import pytest

from driftloop.kernel.footprint import footprint
from driftloop.models import linear


@dataclass(frozen=True, slots=True)
class _Slotted:
    values: np.ndarray
    names: dict[str, int]


def _linear() -> object:
    columns, levels = 4, 2048
    text = orjson.dumps([[f"level-{c}-{i:06d}" for i in range(levels)] for c in range(columns)])
    arrays = {
        "mean": np.zeros(5),
        "scale": np.ones(5),
        "weights": np.ones(5),
        "level_weights": np.zeros(columns * levels),
        "bias": np.zeros(1),
    }
    attributes = {"vocabularies": orjson.loads(text), "link": "logistic", "classes": 1}
    return linear.load(arrays, attributes)


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.zeros(100_000),
        lambda: [f"text {i}" for i in range(10_000)],
        lambda: {f"key {i}": float(i) for i in range(10_000)},
        lambda: _Slotted(np.arange(50_000), {f"name {i}": i + 1000 for i in range(5_000)}),
        _linear,
    ],
)
def test_it_is_what_was_allocated(make: Callable[[], object]) -> None:
    make()  # imports and caches
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    made = make()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert footprint(made) == pytest.approx(after - before, rel=0.25)


def test_what_is_held_twice_counts_once() -> None:
    array = np.zeros(10_000)
    both: list[object] = [array, array]
    both.append(both)
    assert footprint(both) < 1.1 * array.nbytes
