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
from driftloop.kernel.declaration import Task
from driftloop.kernel.ports import RecordBatch
from driftloop.kernel.processor import Outputs
from driftloop.kernel.records import Deployment, Load, Prediction, Stage
from driftloop.kernel.topics import ModelTopics
from driftloop.models.constant import ConstantModel
from http_builders import MODEL
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

    def deploy(
        self, sequence: int, champion: int, shadow: int = -1, stage: Stage = Stage.STEADY
    ) -> None:
        self.catalog.deploy(
            Deployment("m", sequence, stage, champion, shadow, 0, "promoted", 0, 0.0, 0.0, 0, ())
        )

    def share(self) -> None:
        """From now on the model shares its topics."""
        topics = ModelTopics.of("shop", shared=True)
        self.catalog.declare(replace(MODEL, topics=topics))

    def spoil(self, *numbers: int) -> None:
        for number in numbers:
            self.arrays_of(number).write_bytes(b"")

    def evict(self) -> None:
        """All versions leave memory."""
        self.loader._memory_bytes = 0
        self.loader.make_room()
        assert self.core.installed("m") is None

    def predicts(self) -> tuple[int, int, float]:
        """Version, shadow and score of an event's prediction."""
        event = b'{"id": "a", "time": 5, "x": 0.5, "y": 2.0, "kind": "a"}'
        events = self.catalog.models["m"].topics.events
        batch = RecordBatch(events, 0, [1], [1000], [b"k"], [event])
        outputs = self.core.process(replace(batch, model="m"))
        (made,) = [codec(Prediction).decode(v or b"") for s in outputs.sends for v in s.values]
        return made.version, made.shadow_version, made.scores[0]

    def served(self, stalled: Callable[[], bool] = lambda: False) -> Served:
        """What HTTP sees."""
        demanded = Demanded(self.loader.fetch, self.executor, self.clock, self.meter, 1000)
        loader = self.loader
        return Served(
            self.catalog, self.core, demanded, lambda: True, loader.blocked, loader.want, stalled
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


@pytest.mark.parametrize("champion", [1, 0])
def test_after_a_restart_the_champion_answers_without_a_shadow_that_is_bad(
    bench: Bench, champion: int, caplog: pytest.LogCaptureFixture
) -> None:
    good = bench.arrays_of(2).read_bytes()
    bench.arrays_of(2).write_bytes(b"")
    bench.deploy(1, champion, 2)
    bench.turn()
    assert bench.serves() == (champion, -1)
    assert not bench.loader.blocked("m")
    assert bench.loader.failed() == ["m"]
    assert "answers without a shadow" in caplog.text
    bench.arrays_of(2).write_bytes(good)
    bench.clock.advance(RETRY_MS)
    bench.turn()
    assert bench.serves() == (champion, 2)
    assert bench.loader.failed() == []


def test_what_answers_without_its_shadow_does_not_leave_memory_for_shared_models(
    bench: Bench,
) -> None:
    good = bench.arrays_of(2).read_bytes()
    bench.arrays_of(2).write_bytes(b"")
    bench.deploy(1, 1, 2)
    bench.turn()
    bench.arrays_of(2).write_bytes(good)
    bench.clock.advance(RETRY_MS)
    bench.turn()
    bench.loader._memory_bytes = 0
    bench.loader.make_room()
    assert bench.serves() == (1, 2)


def test_version_0_serves_on_where_the_next_champion_is_bad_too(bench: Bench) -> None:
    bench.arrays_of(1).unlink()
    bench.arrays_of(2).unlink()
    bench.deploy(1, 0, 1)
    bench.turn()
    bench.deploy(2, 2)
    bench.turn()
    assert bench.serves() == (0, -1)
    assert not bench.loader.blocked("m")


def test_after_a_restart_no_older_version_answers_in_the_place_of_a_bad_champion(
    bench: Bench,
) -> None:
    bench.arrays_of(2).unlink()
    bench.deploy(3, 2, 1)
    bench.turn()
    assert bench.serves() == (0, -1)
    assert bench.loader.blocked("m")


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


def test_nothing_is_left_of_a_model_that_was_taken_out(bench: Bench) -> None:
    bench.deploy(1, 1)
    bench.turn()
    bench.spoil(2)
    bench.deploy(2, 2)
    bench.turn()
    bench.loader.want("m")
    assert (bench.loader.failed(), bench.core.resident()) == (["m"], ["m"])
    models = bench.catalog.topics.models
    bench.catalog.apply(RecordBatch(models, 0, [0], [0], [b"m"], [None]))
    bench.turn()
    assert (bench.loader.failed(), bench.core.resident()) == ([], [])
    assert bench.meter.values[metrics.NOT_LOADED.name, "m"] == 0
    assert not bench.loader._sizes
    assert not bench.loader._asked


def test_a_version_of_other_features_is_not_loaded(bench: Bench) -> None:
    known = bench.catalog.versions["m", 2]
    x, y, score = known.profile.numeric
    swapped = replace(known.profile, numeric=(y, x, score))
    bench.catalog.versions["m", 2] = replace(known, profile=swapped)
    bench.deploy(1, 1)
    bench.turn()
    bench.deploy(2, 2)
    bench.turn()
    assert bench.serves() == (1, -1)
    sends = bench.reports.outputs(0).sends
    (told,) = [codec(Load).decode(value) for send in sends for value in send.values]
    assert told.failed == 2
    assert "made for the features [['y', 'x'], ['kind']]" in told.error


SWAPPED = replace(MODEL, numeric=(MODEL.numeric[1], MODEL.numeric[0]))


def test_what_serves_does_not_serve_on_where_the_model_is_declared_with_other_features(
    bench: Bench,
) -> None:
    bench.deploy(1, 1)
    bench.turn()
    (deployment,) = bench.catalog.deployments.values()
    bench.catalog.apply(RecordBatch(bench.catalog.topics.models, 0, [0], [0], [b"m"], [None]))
    bench.catalog.declare(SWAPPED)
    bench.catalog.deploy(deployment)
    bench.turn()
    assert bench.serves() == (0, -1)
    assert bench.loader.failed() == ["m"]


def test_the_prior_of_a_task_that_is_declared_no_more_does_not_answer(bench: Bench) -> None:
    bench.catalog.declare(MODEL)
    assert bench.predicts() == (0, -1, MODEL.prior)
    bench.catalog.apply(RecordBatch(bench.catalog.topics.models, 0, [0], [0], [b"m"], [None]))
    shares = (0.5, 0.25, 0.25)
    declared = replace(MODEL, task=Task.MULTICLASS, classes=tuple("abc"), prior=shares)
    bench.catalog.declare(declared)
    bench.turn()
    assert bench.core.serving(declared).champion_model == ConstantModel(shares)


def test_a_load_that_ends_after_its_model_was_taken_out_counts_for_nothing(bench: Bench) -> None:
    bench.share()
    bench.deploy(1, 1)
    bench.loader.want("m")
    bench.loader.update()
    bench.catalog.apply(RecordBatch(bench.catalog.topics.models, 0, [0], [0], [b"m"], [None]))
    bench.loader.update()
    assert bench.executor.work() == 1
    bench.loader.update()
    assert bench.loader._bytes == {}


@pytest.mark.parametrize("looked", [False, True], ids=["at_once", "after_a_step"])
def test_what_was_loaded_for_features_that_changed_meanwhile_is_not_installed(
    bench: Bench, looked: bool
) -> None:
    """The model was taken out, and declared anew, while its version was being loaded."""
    bench.deploy(1, 1)
    bench.loader.update()
    (deployment,) = bench.catalog.deployments.values()
    bench.catalog.apply(RecordBatch(bench.catalog.topics.models, 0, [0], [0], [b"m"], [None]))
    if looked:
        bench.loader.update()
    bench.catalog.declare(SWAPPED)
    bench.catalog.deploy(deployment)
    assert bench.executor.work() == 1
    bench.turn()
    bench.turn()
    assert bench.serves() == (0, -1)
    assert bench.loader.failed() == ["m"]


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
    served = bench.served()
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


PRIOR = (0, -1, 0.5)


@pytest.fixture
def shared(bench: Bench) -> Bench:
    """Versions 1 to 4 of a model that shares its topics."""
    bench.share()
    for number in (3, 4):
        bench.publish(number, number / 10)
    return bench


def test_the_models_that_one_poll_needs_stay_within_the_bound(bench: Bench) -> None:
    names = [f"m{number}" for number in range(12)]
    topics = ModelTopics.of("shop", shared=True)
    for name in names:
        bench.catalog.declare(replace(MODEL, name=name, topics=topics))
        bench.catalog.versions[name, 1] = replace(bench.catalog.versions["m", 1], model=name)
        bench.catalog.deploy(
            Deployment(name, 1, Stage.STEADY, 1, -1, 0, "promoted", 0, 0.0, 0.0, 0, ())
        )
    beats: list[int] = []
    bench.loader._beat = lambda: beats.append(len(bench.core.resident()))
    _, size = bench.loader.fetch(bench.catalog.models["m0"], 1)
    bench.loader._memory_bytes = 3 * size
    for name in names:
        assert bench.core.serving(bench.catalog.models[name]).champion == 1
    assert bench.core.resident() == names[-3:]
    assert len(beats) == len(names)
    assert max(beats) <= 3


def test_without_kafka_a_model_that_shares_topics_is_loaded_for_requests(bench: Bench) -> None:
    """No step ends, between two of which it would be."""
    bench.share()
    bench.deploy(1, champion=1, shadow=2)
    stalled = False
    served = bench.served(lambda: stalled)
    model = bench.catalog.models["m"]
    with pytest.raises(LoadingError):
        served.serving(model)
    bench.executor.work()
    with pytest.raises(LoadingError):
        served.serving(model)
    stalled = True
    with pytest.raises(LoadingError):
        served.serving(model)
    bench.executor.work()
    found = served.serving(model)
    assert found is not None
    assert (found.champion, found.shadow) == (1, -1)
    stalled = False
    bench.turn()
    found = served.serving(model)
    assert found is not None
    assert (found.champion, found.shadow) == (1, 2)


def test_out_of_memory_and_with_a_bad_version_the_one_before_answers_and_the_log_says_so(
    shared: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    shared.deploy(1, 1)
    shared.turn()
    assert shared.predicts() == (1, -1, 0.1)
    shared.evict()
    shared.spoil(4)
    # Versions 2 and 3 were published, and never served.
    shared.deploy(2, 4)
    shared.turn()
    assert shared.predicts() == (1, -1, 0.1)
    assert "version 1 answers in its place" in caplog.text
    assert shared.loader.failed() == ["m"]
    assert loads(shared.reports.outputs(0)) == [(2, 4)]
    assert shared.meter.values[metrics.SERVED_VERSION.name, "m", "champion"] == 1
    assert not shared.loader.behind()
    shared.clock.advance(RETRY_MS)
    shared.turn()
    assert "version 1 serves on" in caplog.text
    shared.publish(4, 0.4)
    shared.clock.advance(RETRY_MS)
    shared.turn()
    assert shared.predicts() == (4, -1, 0.4)
    assert shared.loader.failed() == []


def test_a_restarted_process_falls_back_to_the_newest_older_version_that_can_be_loaded(
    shared: Bench,
) -> None:
    shared.deploy(9, 4)
    shared.spoil(4, 3)
    shared.turn()
    assert shared.predicts() == (2, -1, 0.2)


def test_what_is_newer_than_the_champion_does_not_answer_in_its_place(shared: Bench) -> None:
    shared.deploy(9, 2, 3, Stage.SHADOW)
    shared.spoil(2)
    assert shared.predicts() == (1, -1, 0.1)


def test_the_champion_under_guard_is_replaced_by_the_one_before_it(shared: Bench) -> None:
    shared.deploy(9, 4, 2, Stage.GUARD)
    shared.spoil(4)
    assert shared.predicts() == (2, -1, 0.2)


def test_out_of_memory_and_with_a_bad_shadow_the_champion_answers_alone(
    shared: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    shared.deploy(9, 3, 4, Stage.SHADOW)
    shared.spoil(4)
    assert shared.predicts() == (3, -1, 0.3)
    assert "version 3 answers without a shadow" in caplog.text
    shared.publish(4, 0.4)
    shared.clock.advance(RETRY_MS)
    shared.turn()
    assert shared.predicts() == (3, 4, 0.3)


def test_the_prior_answers_events_and_requests_where_no_version_can_be_loaded(
    shared: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    shared.deploy(9, 4)
    shared.spoil(1, 2, 3, 4)
    shared.turn()
    served = shared.served()
    with pytest.raises(LoadingError):
        chosen(served, shared.catalog.models["m"], NEWEST)
    shared.turn()
    assert chosen(served, shared.catalog.models["m"], NEWEST).champion == 0
    assert shared.predicts() == PRIOR
    assert caplog.text.count("can be loaded: version 0, the declared prior, answers") == 1
    assert served.ready()
    # One after the other comes back.
    for number in (2, 4):
        shared.publish(number, number / 10)
        shared.clock.advance(RETRY_MS)
        shared.turn()
        assert shared.predicts() == (number, -1, number / 10)


def test_where_the_prior_served_before_it_answers(shared: Bench) -> None:
    shared.deploy(1, 0, 3, Stage.SHADOW)
    shared.turn()
    shared.deploy(2, 3)
    shared.spoil(3)
    assert shared.predicts() == PRIOR


def test_a_request_is_answered_in_the_place_of_what_cannot_be_loaded(shared: Bench) -> None:
    model, served = shared.catalog.models["m"], shared.served()
    shared.deploy(9, 4)
    shared.spoil(4)
    for _ in range(2):
        with pytest.raises(LoadingError):
            chosen(served, model, NEWEST)
        shared.turn()
        assert chosen(served, model, NEWEST).champion == 3
        # Out of memory again it is looked for at once, though version 4 was tried just now.
        shared.evict()
        shared.turn()
        assert shared.executor.waiting == []


def test_what_the_first_event_loaded_is_not_replaced_by_what_a_request_began(
    shared: Bench,
) -> None:
    shared.deploy(1, 1)
    shared.loader.want("m")
    shared.loader.update()
    shared.spoil(1)
    shared.executor.work()
    shared.publish(1, 0.1)
    shared.deploy(2, 2)
    assert shared.predicts() == (2, -1, 0.2)
    shared.loader.update()
    assert shared.predicts() == (2, -1, 0.2)
    assert shared.loader.failed() == []


def test_a_model_with_its_own_topics_waits_for_its_first_version_and_the_log_says_so(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.deploy(1, 2)
    bench.spoil(2)
    bench.turn()
    assert bench.loader.blocked("m")
    assert not bench.served().ready()
    assert "nothing answers for it until that can be loaded" in caplog.text
    bench.deploy(2, 1)
    bench.clock.advance(RETRY_MS)
    bench.turn()
    bench.deploy(3, 2)
    bench.turn()
    assert not bench.loader.blocked("m")
    assert "version 1 serves on" in caplog.text
