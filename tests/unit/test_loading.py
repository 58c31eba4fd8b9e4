"""Versions loaded off the hot path: swapped in when they are whole, and otherwise not."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from typing_extensions import override

from driftloop.adapters.artifacts.directory import ARRAYS, DirectoryStore
from driftloop.adapters.clock import ManualClock
from driftloop.inference.core import InferenceCore
from driftloop.inference.demanded import Demanded
from driftloop.inference.loading import Loader
from driftloop.inference.reports import SAY_AGAIN_MS, Reports
from driftloop.inference.served import Served
from driftloop.inference.tensors import ProtocolError
from driftloop.inference.versions import NEWEST, LoadingError, chosen
from driftloop.kernel import metrics
from driftloop.kernel.codec.records import codec
from driftloop.kernel.processor import Outputs
from driftloop.kernel.records import Deployment, Load, Stage
from driftloop.kernel.topics import ModelTopics
from driftloop.models.constant import ConstantModel
from later import Later
from window_builders import CountingMeter, catalog, declaration, version

RETRY_MS = 5_000


class Bench:
    """A loader, its core, and versions 1 and 2: constants 0.1 and 0.2."""

    def __init__(self, directory: Path, store: DirectoryStore | None = None) -> None:
        self.clock = ManualClock()
        self.meter = CountingMeter()
        self.catalog = catalog()
        self.store = store or DirectoryStore(directory)
        self.directory = directory
        for number in (1, 2):
            self.publish(number, number / 10)
        self.core = InferenceCore(self.catalog, self.meter)
        self.executor = Later()
        self.reports = Reports(self.catalog.topics, "0")
        self.loader = Loader(
            self.core,
            self.catalog,
            self.store,
            self.executor,
            self.clock,
            self.meter,
            self.reports,
        )

    def publish(self, number: int, prior: float) -> None:
        arrays = {"prior": np.array([prior])}
        path, digest = self.store.put("m", str(number), "constant", arrays, {})
        made = replace(version(number), artifact=path, digest=digest)
        self.catalog.versions["m", number] = made

    def deploy(self, sequence: int, champion: int, shadow: int = -1) -> None:
        self.catalog.deploy(
            Deployment(
                "m", sequence, Stage.STEADY, champion, shadow, 0, "promoted", 0, 0.0, 0.0, 0, ()
            )
        )

    def arrays_of(self, number: int) -> Path:
        return self.directory / self.catalog.versions["m", number].artifact / ARRAYS

    def turn(self) -> None:
        """Between two steps, with time enough to load."""
        self.loader.update()
        self.executor.work()
        self.loader.update()

    def serves(self) -> tuple[int, int]:
        serving = self.core.serving(declaration())
        return serving.champion, serving.shadow


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_without_a_deployment_version_0_serves(bench: Bench) -> None:
    bench.turn()
    assert bench.serves() == (0, -1)
    assert not bench.loader.behind()


def test_champion_and_shadow_are_loaded_and_swapped_in_together(bench: Bench) -> None:
    bench.deploy(1, 1, 2)
    bench.turn()
    assert bench.serves() == (1, 2)
    serving = bench.core.serving(declaration())
    assert serving.champion_model == ConstantModel(0.1)
    assert serving.shadow_model == ConstantModel(0.2)


def test_the_old_version_serves_while_the_new_one_loads(bench: Bench) -> None:
    bench.deploy(1, 1)
    bench.loader.update()
    bench.loader.update()
    assert bench.serves() == (0, -1)
    assert bench.loader.behind()
    assert bench.executor.work() == 1
    bench.loader.update()
    assert bench.serves() == (1, -1)
    assert not bench.loader.behind()


def test_a_deployment_is_loaded_once(bench: Bench) -> None:
    bench.deploy(1, 1)
    bench.turn()
    bench.turn()
    assert bench.executor.waiting == []


def test_a_promoted_shadow_is_not_read_again(bench: Bench) -> None:
    bench.deploy(1, 1, 2)
    bench.turn()
    bench.arrays_of(2).unlink()
    bench.deploy(2, 2)
    bench.turn()
    assert bench.serves() == (2, -1)


def test_a_deployment_back_to_version_0_is_the_prior(bench: Bench) -> None:
    bench.deploy(1, 1)
    bench.turn()
    bench.deploy(2, 0)
    bench.turn()
    assert bench.serves() == (0, -1)
    assert bench.core.serving(declaration()).champion_model == ConstantModel(declaration().prior)


def test_a_deployment_whose_version_is_not_known_yet_waits_for_it(bench: Bench) -> None:
    bench.deploy(1, 3)
    bench.turn()
    assert bench.serves() == (0, -1)
    assert bench.loader.behind()
    bench.publish(3, 0.3)
    bench.turn()
    assert bench.serves() == (3, -1)


def test_a_corrupt_artifact_leaves_the_old_version_serving(bench: Bench) -> None:
    bench.deploy(1, 1)
    bench.turn()
    data = bytearray(bench.arrays_of(2).read_bytes())
    data[-1] ^= 1
    bench.arrays_of(2).write_bytes(data)
    bench.deploy(2, 2)
    bench.turn()
    assert bench.serves() == (1, -1)
    assert bench.loader.failed() == ["m"]
    assert bench.meter.counts[metrics.LOAD_FAILURES.name, "m"] == 1


def test_a_missing_artifact_leaves_the_old_version_serving(bench: Bench) -> None:
    bench.arrays_of(1).unlink()
    bench.deploy(1, 1)
    bench.turn()
    assert bench.serves() == (0, -1)
    assert bench.loader.failed() == ["m"]


def test_a_corrupt_shadow_does_not_take_the_champion_down(bench: Bench) -> None:
    bench.deploy(1, 1)
    bench.turn()
    bench.arrays_of(2).write_bytes(b"")
    bench.deploy(2, 1, 2)
    bench.turn()
    assert bench.serves() == (1, -1)


class FailingStore(DirectoryStore):
    """Fails with ``error``, while there is one, at the artifacts of version 2."""

    error: Exception | None = None

    @override
    def get(
        self, path: str, digest: str
    ) -> tuple[str, dict[str, npt.NDArray[Any]], dict[str, Any]]:
        if self.error is not None and path.startswith("m/2-"):
            raise self.error
        return super().get(path, digest)


ERRORS = [MemoryError(), OSError(5, "Input/output error"), ZeroDivisionError("a fault of ours")]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_whatever_ends_the_loading_of_a_version_is_told_and_leaves_the_old_one_serving(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    store = FailingStore(tmp_path)
    bench = Bench(tmp_path, store)
    bench.deploy(1, 1)
    bench.turn()
    store.error = error
    bench.deploy(2, 2)
    bench.turn()
    assert bench.serves() == (1, -1)
    assert bench.loader.failed() == ["m"]
    assert bench.meter.counts[metrics.LOAD_FAILURES.name, "m"] == 1
    (send,) = bench.reports.outputs(0).sends
    load = codec(Load).decode(send.values[0] or b"")
    assert (load.sequence, load.failed) == (2, 2)
    assert type(error).__name__ in load.error
    assert f"raise self.error\n{type(error).__name__}" in caplog.text
    store.error = None
    bench.clock.advance(RETRY_MS)
    bench.turn()
    assert bench.serves() == (2, -1)
    assert bench.loader.failed() == []


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_who_names_a_version_that_fails_to_load_is_told_so(
    tmp_path: Path, error: Exception
) -> None:
    store = FailingStore(tmp_path)
    bench = Bench(tmp_path, store)
    store.error = error
    demanded = Demanded(bench.loader.fetch, bench.executor, bench.clock, bench.meter, 1000)
    with pytest.raises(LoadingError):
        demanded.get(declaration(), 2)
    bench.executor.work()
    with pytest.raises(ProtocolError, match="version 2 failed to load") as refused:
        demanded.get(declaration(), 2)
    assert refused.value.status == 503


def test_what_could_not_be_loaded_is_tried_again_after_a_while(bench: Bench) -> None:
    good = bench.arrays_of(1).read_bytes()
    bench.arrays_of(1).write_bytes(b"")
    bench.deploy(1, 1)
    bench.turn()
    bench.arrays_of(1).write_bytes(good)
    bench.turn()
    assert bench.serves() == (0, -1)
    bench.clock.advance(RETRY_MS)
    bench.turn()
    assert bench.serves() == (1, -1)
    assert bench.loader.failed() == []


def test_a_restarted_service_loads_before_it_answers(bench: Bench) -> None:
    class AtOnce(Later):
        @override
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            future = super().submit(fn, *args, **kwargs)
            self.work()
            return future

    loader = Loader(
        bench.core,
        bench.catalog,
        bench.store,
        AtOnce(),
        bench.clock,
        bench.meter,
        Reports(bench.catalog.topics, "0"),
    )
    bench.deploy(1, 1)
    loader.update(wait=True)
    assert bench.serves() == (1, -1)


def test_a_model_that_is_not_declared_is_not_loaded(bench: Bench) -> None:
    bench.deploy(1, 1)
    bench.catalog.models.clear()
    bench.turn()
    assert bench.executor.waiting == []
    assert not bench.loader.behind()


def loads(outputs: Outputs) -> list[tuple[int, int]]:
    """Deployment and failed version of what is told."""
    found = [codec(Load).decode(value) for send in outputs.sends for value in send.values]
    return [(load.sequence, load.failed) for load in found]


def test_what_became_of_a_deployment_is_told_when_it_changes(bench: Bench) -> None:
    whole = bench.arrays_of(2).read_bytes()
    bench.arrays_of(2).unlink()
    told: list[tuple[int, int]] = []

    def turn() -> None:
        bench.clock.advance(RETRY_MS)
        bench.turn()
        outputs = bench.reports.outputs(bench.clock.now())
        told.extend(loads(outputs))
        if outputs.committed is not None:
            outputs.committed(bench.clock.now())

    bench.deploy(1, 1)
    turn()
    bench.deploy(2, 2)
    for _ in range(3):
        turn()
    assert bench.meter.values[metrics.NOT_LOADED.name, "m"] == 1
    bench.arrays_of(2).write_bytes(whole)
    for _ in range(2):
        turn()
    assert bench.meter.values[metrics.NOT_LOADED.name, "m"] == 0
    assert told == [(1, -1), (2, 2), (2, -1)]


def test_what_may_have_been_aborted_is_told_again_and_only_the_newest(bench: Bench) -> None:
    deployment = bench.catalog.deployments
    bench.deploy(1, 1)
    bench.reports.failed(deployment["m"], 1, "no such file")
    first = bench.reports.outputs(0)
    assert loads(first) == [(1, 1)]
    assert not bench.reports.outputs(SAY_AGAIN_MS - 1)
    assert loads(bench.reports.outputs(SAY_AGAIN_MS)) == [(1, 1)]
    bench.reports.loaded(deployment["m"])
    assert first.committed is not None
    first.committed(SAY_AGAIN_MS)
    again = bench.reports.outputs(SAY_AGAIN_MS)
    assert loads(again) == [(1, -1)]
    assert again.committed is not None
    again.committed(SAY_AGAIN_MS)
    assert not bench.reports.outputs(3 * SAY_AGAIN_MS)


def test_a_model_that_shares_topics_is_loaded_when_it_is_wanted(bench: Bench) -> None:
    shared = replace(declaration(), topics=ModelTopics.of("shop", shared=True))
    bench.catalog.declare(shared)
    bench.deploy(1, champion=1)
    bench.loader.update()
    assert bench.executor.waiting == []
    bench.loader.want("m")
    bench.loader.update()
    assert not bench.loader.behind()
    bench.executor.work()
    bench.loader.update()
    installed = bench.core.installed("m")
    assert installed is not None
    assert installed.champion == 1
    bench.loader.update()
    assert bench.executor.waiting == []


def test_http_waits_for_a_model_that_shares_topics_and_does_not_load_it_itself(
    bench: Bench,
) -> None:
    shared = replace(declaration(), topics=ModelTopics.of("shop", shared=True))
    bench.catalog.declare(shared)
    demanded = Demanded(bench.loader.fetch, bench.executor, bench.clock, bench.meter, 1000)
    served = Served(
        bench.catalog,
        bench.core,
        demanded,
        lambda: True,
        bench.loader.blocked,
        bench.loader.want,
    )
    assert chosen(served, shared, NEWEST).champion == 0
    bench.deploy(1, champion=1)
    with pytest.raises(LoadingError):
        chosen(served, shared, NEWEST, load=False)
    bench.loader.update()
    assert bench.executor.waiting == []
    with pytest.raises(LoadingError):
        chosen(served, shared, NEWEST)
    bench.loader.update()
    bench.executor.work()
    bench.loader.update()
    assert chosen(served, shared, NEWEST).champion == 1
    with pytest.raises(LoadingError):
        chosen(served, shared, 2)
    bench.executor.work()
    other = chosen(served, shared, 2)
    assert (other.champion, other.champion_model) == (2, ConstantModel(0.2))
    assert chosen(served, shared, 1).champion == 1
    assert list(served.versions("m")) == [0, 1, 2]
    with pytest.raises(ProtocolError, match="no version 9"):
        chosen(served, shared, 9)
