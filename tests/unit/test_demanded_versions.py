"""Versions that somebody names: loaded off the thread that asks, kept within a bound."""

from __future__ import annotations

from dataclasses import replace

import pytest

from driftloop.adapters.clock import ManualClock
from driftloop.inference.demanded import Demanded
from driftloop.inference.tensors import ProtocolError
from driftloop.inference.versions import LoadingError
from driftloop.kernel import metrics
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.errors import ArtifactError
from driftloop.models.constant import ConstantModel
from driftloop.models.ports import FrozenModel
from later import Later
from window_builders import CountingMeter, declaration

MODEL = declaration()


class Bench:
    def __init__(self, memory_bytes: int = 1000) -> None:
        self.clock = ManualClock()
        self.meter = CountingMeter()
        self.executor = Later()
        self.fetched: list[int] = []
        self.broken: set[int] = set()
        self.demanded = Demanded(self.fetch, self.executor, self.clock, self.meter, memory_bytes)

    def fetch(self, model: Declaration, version: int) -> tuple[FrozenModel, int]:
        self.fetched.append(version)
        if version in self.broken:
            raise ArtifactError("its bytes are others")
        return ConstantModel(version / 10), 400

    def load(self, version: int) -> FrozenModel:
        with pytest.raises(LoadingError):
            self.demanded.get(MODEL, version)
        self.executor.work()
        return self.demanded.get(MODEL, version)


def test_a_version_is_loaded_once_and_kept() -> None:
    bench = Bench()
    assert bench.load(3) == ConstantModel(0.3)
    assert bench.demanded.get(MODEL, 3) == ConstantModel(0.3)
    assert bench.fetched == [3]


def test_asking_again_does_not_load_twice_and_looking_does_not_load() -> None:
    bench = Bench()
    with pytest.raises(LoadingError):
        bench.demanded.get(MODEL, 3, load=False)
    assert bench.executor.waiting == []
    for _ in range(3):
        with pytest.raises(LoadingError):
            bench.demanded.get(MODEL, 3)
    assert bench.executor.work() == 1


def test_one_is_loaded_at_once_and_the_others_after_it() -> None:
    bench = Bench()
    for version in (1, 2, 3):
        with pytest.raises(LoadingError):
            bench.demanded.get(MODEL, version)
    assert bench.executor.work() == 1
    assert bench.load(3) == ConstantModel(0.3)
    assert bench.load(2) == ConstantModel(0.2)
    assert sorted(bench.fetched) == [1, 2, 3]


def test_the_least_recently_used_leaves_memory() -> None:
    bench = Bench(memory_bytes=800)
    for version in (1, 2):
        bench.load(version)
    bench.demanded.get(MODEL, 1)
    bench.load(3)
    assert bench.meter.counts[metrics.EVICTED.name,] == 1
    bench.demanded.get(MODEL, 1)
    with pytest.raises(LoadingError):
        bench.demanded.get(MODEL, 2)


def test_one_larger_than_the_bound_serves_all_the_same() -> None:
    bench = Bench(memory_bytes=10)
    assert bench.load(1) == ConstantModel(0.1)
    assert bench.load(2) == ConstantModel(0.2)


def test_what_cannot_be_loaded_is_said_and_tried_again_later() -> None:
    bench = Bench()
    bench.broken.add(3)
    with pytest.raises(ProtocolError, match="its bytes are others") as refused:
        bench.load(3)
    assert (refused.value.status, refused.value.retry_after_s) == (503, 5)
    with pytest.raises(ProtocolError):
        bench.demanded.get(MODEL, 3)
    assert bench.fetched == [3]
    assert bench.meter.counts[metrics.LOAD_FAILURES.name, "m"] == 1
    bench.broken.clear()
    bench.clock.advance(5_001)
    assert bench.load(3) == ConstantModel(0.3)


def test_under_another_declaration_it_is_loaded_and_checked_anew() -> None:
    bench = Bench()
    bench.load(3)
    other = replace(MODEL, prior=0.7)
    with pytest.raises(LoadingError):
        bench.demanded.get(other, 3)
    bench.executor.work()
    assert bench.demanded.get(other, 3) == ConstantModel(0.3)
    assert bench.fetched == [3, 3]
