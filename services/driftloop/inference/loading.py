"""Loads what should be served off the hot path, and swaps it in between two batches."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import NamedTuple

from driftloop.inference.champions import Champions
from driftloop.inference.core import InferenceCore, Serving
from driftloop.inference.fitting import check_features, shape_of, warm
from driftloop.inference.reports import Reports
from driftloop.kernel import metrics
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.errors import ArtifactError
from driftloop.kernel.footprint import footprint
from driftloop.kernel.metrics import Meter
from driftloop.kernel.ports import Clock
from driftloop.kernel.records import Deployment, Version
from driftloop.models.constant import ConstantModel
from driftloop.models.ports import ArtifactStore, FrozenModel
from driftloop.models.registry import load

_log = logging.getLogger(__name__)
_RETRY_MS = 5_000


class _NotLoadedError(ArtifactError):
    """Says which version it was."""

    def __init__(self, version: int, why: str) -> None:
        self.version = version
        super().__init__(why)


class _Failure(NamedTuple):
    version: int
    why: str


class _Outcome(NamedTuple):
    """Of loading what a deployment asks for."""

    serving: Serving | None
    """What serves from now on. None: what serves already."""
    failure: _Failure | None = None


class _Loading(NamedTuple):
    """What is under way."""

    model: Declaration
    deployment: Deployment
    outcome: Future[_Outcome]


class Loader:
    """Follows the deployments in the catalog. Called between two steps of the runner."""

    def __init__(
        self,
        core: InferenceCore,
        catalog: Catalog,
        store: ArtifactStore,
        executor: Executor,
        clock: Clock,
        meter: Meter,
        reports: Reports,
        *,
        memory_bytes: int = 1 << 30,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """``memory_bytes``: of the versions of models that share topics. ``beat``: called when one
        of those has been loaded within a step."""
        core.find = self._find
        self._memory_bytes = memory_bytes
        self._beat = beat
        self._sizes: dict[tuple[str, int], int] = {}
        """Bytes of every version loaded so far."""
        self._bytes: dict[str, int] = {}
        """Of what is installed, per model that shares topics."""
        self._made_for: dict[str, Declaration] = {}
        """Of what answers, per model."""
        self._seen = -1
        """Revision of the catalog when nothing was left to load."""
        self._revision = -1
        """Of the catalog when it was last looked at."""
        self._core = core
        self._catalog = catalog
        self._store = store
        self._executor = executor
        self._clock = clock
        self._meter = meter
        self._reports = reports
        self._champions = Champions()
        self._loading: dict[str, _Loading] = {}
        self._retry_at: dict[str, int] = {}
        self._asked: set[str] = set()
        """Models that share topics, and are needed though no event of theirs has come."""

    def want(self, name: str) -> None:
        """Load what a model's deployment says though it would wait for the first event; from any
        thread."""
        self._asked.add(name)

    def update(self, *, wait: bool = False) -> None:
        """Start loading what is newly wanted, and install what is loaded.

        With ``wait`` it returns when everything wanted is installed or has failed: before a
        restarted service reads its first event. Versions of models that share topics are loaded
        when their first event comes, and swapped from then on.
        """
        revision = self._catalog.revision
        if revision == self._seen and not (self._loading or self._retry_at or self._asked):
            return
        if revision != self._revision:
            self._revision = revision
            self._forget_what_is_not_declared()
            self._forget_what_is_declared_anew()
        for name, deployment in self._catalog.deployments.items():
            model = self._catalog.models.get(name)
            if model is None:
                continue
            if model.topics.shared:
                self._champions.note(deployment)
            if not (self._concerns(model) or name in self._asked):
                continue
            if name not in self._loading and self._wanted(model, deployment):
                future = self._executor.submit(self._attempt, model, deployment)
                self._loading[name] = _Loading(model, deployment, future)
            loading = self._loading.get(name)
            if loading is not None and (wait or loading.outcome.done()):
                del self._loading[name]
                self._install(loading)
        self._seen = revision if not self._wanting() else -1

    def _forget_what_is_not_declared(self) -> None:
        """Of models that were taken out."""
        known = self._catalog.models.keys()
        # While another thread loads.
        for key in list(self._sizes):
            if key[0] not in known:
                self._sizes.pop(key, None)
        held = {*self._core.resident(), *self._retry_at, *self._loading, *list(self._asked)}
        for name in (held | self._bytes.keys() | self._made_for.keys()) - known:
            self._core.forget(name)
            self._loading.pop(name, None)
            self._bytes.pop(name, None)
            self._made_for.pop(name, None)
            self._asked.discard(name)
            if self._retry_at.pop(name, None) is not None:
                self._meter.set(metrics.NOT_LOADED, 0, name)

    def _forget_what_is_declared_anew(self) -> None:
        """Of models that were taken out and declared in another shape between two steps: what
        answers was made for the one they had."""
        for name, before in list(self._made_for.items()):
            model = self._catalog.models[name]
            if model is not before and shape_of(model) != shape_of(before):
                self._core.forget(name)
            self._made_for[name] = model

    def make_room(self) -> None:
        """Let go of the least recently used versions beyond the bound."""
        total = sum(self._bytes.values())
        if total <= self._memory_bytes:
            return
        for name in self._core.resident():
            if name in self._bytes and name not in self._loading:
                total -= self._bytes.pop(name)
                self._core.forget(name)
                if name in self._retry_at:
                    # Whoever needs it next must not wait for what answers in its place.
                    self._retry_at[name] = self._clock.now()
                self._meter.add(metrics.EVICTED, 1)
                if total <= self._memory_bytes:
                    return

    def _sequence(self, name: str) -> int:
        installed = self._core.installed(name)
        return -1 if installed is None else installed.sequence

    def _concerns(self, model: Declaration) -> bool:
        return not model.topics.shared or self._core.installed(model.name) is not None

    def _wanting(self) -> bool:
        """Whether something is to be loaded that is not under way."""
        return any(
            name in self._catalog.models
            and self._concerns(self._catalog.models[name])
            and self._sequence(name) < deployment.sequence
            for name, deployment in self._catalog.deployments.items()
        )

    def _find(self, model: Declaration) -> Serving | None:
        """For the first event of a model: what should serve it, now, if it shares its topics."""
        self._made_for[model.name] = model
        deployment = self._catalog.deployments.get(model.name)
        if deployment is None or not model.topics.shared:
            return None
        for version in (deployment.champion, deployment.shadow):
            if version > 0:
                self._catalog.version(model.name, version)
        outcome = self._attempt(model, deployment)
        self._tell(deployment, outcome)
        if outcome.serving is not None:
            self._count(model, outcome.serving)
        # One poll may ask for a thousand: what it is done with may go, and it does not stand still.
        self.make_room()
        self._beat()
        return outcome.serving

    def behind(self) -> bool:
        """Whether a deployment is wanted that is not served yet (and did not fail to load)."""
        return self._catalog.revision != self._seen and any(
            name in self._catalog.models
            and name not in self._retry_at
            and self._concerns(self._catalog.models[name])
            and self._sequence(name) < deployment.sequence
            for name, deployment in self._catalog.deployments.items()
        )

    def blocked(self, name: str) -> bool:
        """Whether a model has a deployment whose champion could not be loaded, nor any other one
        since this process started: answering with version 0 would answer with less than before.

        Never one that shares its topics, whose events cannot wait while those of others are
        answered: what answers for it is another version, or else version 0."""
        model = self._catalog.models.get(name)
        if model is None or model.topics.shared:
            return False
        installed = self._core.installed(name)
        return name in self._retry_at and (installed is None or not _is_answer(installed))

    def failed(self) -> list[str]:
        """Models whose newest deployment could not be loaded."""
        return sorted(self._retry_at)

    def _wanted(self, model: Declaration, deployment: Deployment) -> bool:
        if self._sequence(model.name) >= deployment.sequence:
            return False
        retry_at = self._retry_at.get(model.name)
        if retry_at is not None and self._clock.now() < retry_at:
            return False
        return all(
            version <= 0 or (model.name, version) in self._catalog.versions
            for version in (deployment.champion, deployment.shadow)
        )

    def _install(self, loading: _Loading) -> None:
        model, deployment, future = loading
        name = deployment.model
        outcome = future.result()
        if model != self._catalog.models[name]:
            # It was checked against what was declared before; the next update loads it anew.
            return
        if self._sequence(name) >= deployment.sequence:
            # Its first event came meanwhile, and loaded this deployment or a newer one.
            self._asked.discard(name)
            return
        self._tell(deployment, outcome)
        serving = outcome.serving
        if serving is None:
            return
        self._asked.discard(name)
        self._made_for[name] = model
        self._count(model, serving)
        self._core.install(name, serving)
        _log.info("%s: serving version %d, shadow %d", name, serving.champion, serving.shadow)

    def _count(self, model: Declaration, serving: Serving) -> None:
        """The bytes of what is installed now."""
        if model.topics.shared:
            versions = {serving.champion, serving.shadow}
            self._bytes[model.name] = sum(
                self._sizes.get((model.name, version), 0) for version in versions
            )

    def _tell(self, deployment: Deployment, outcome: _Outcome) -> None:
        if outcome.failure is not None:
            self._failed(deployment, outcome.failure, outcome.serving)
            return
        name = deployment.model
        if self._retry_at.pop(name, None) is not None:
            self._meter.set(metrics.NOT_LOADED, 0, name)
        self._reports.loaded(deployment)

    def _failed(self, deployment: Deployment, failure: _Failure, instead: Serving | None) -> None:
        name = deployment.model
        self._retry_at[name] = self._clock.now() + _RETRY_MS
        _log.error("%s: %s; %s", name, failure.why, self._who_answers(deployment, instead))
        self._meter.add(metrics.LOAD_FAILURES, 1, name)
        self._meter.set(metrics.NOT_LOADED, 1, name)
        self._reports.failed(deployment, failure.version, failure.why)

    def _who_answers(self, deployment: Deployment, instead: Serving | None) -> str:
        """Where the deployment could not be loaded."""
        if instead is None:
            installed = self._core.installed(deployment.model)
            if installed is None or self.blocked(deployment.model):
                return "nothing answers for it until that can be loaded"
            return f"{_named(installed.champion)} serves on"
        if instead.champion == deployment.champion:
            return f"{_named(instead.champion)} answers without a shadow"
        if instead.champion > 0:
            return f"{_named(instead.champion)} answers in its place"
        return f"no other version that may answer for it can be loaded: {_named(0)} answers"

    def _attempt(self, model: Declaration, deployment: Deployment) -> _Outcome:
        """Load it, or else what answers in its place."""
        try:
            return _Outcome(self._load(model, deployment))
        except _NotLoadedError as error:
            # Not the error itself, which holds on to what was being loaded.
            failure = _Failure(error.version, str(error))
        return _Outcome(self._instead(model, deployment, failure.version), failure)

    def _instead(self, model: Declaration, deployment: Deployment, failed: int) -> Serving | None:
        """Where nothing answers yet, the process having started, or the model having left memory:
        the champion without its shadow, or, of a model that shares its topics, whose events cannot
        wait, what is best in its place. None: what serves, serves on, or its events wait."""
        current = self._core.installed(model.name)
        if current is not None and _is_answer(current):
            return None
        if model.topics.shared:
            return self._best(model, deployment, failed)
        if failed == deployment.champion:
            return None
        with suppress(_NotLoadedError):
            frozen = self._fetch(model, deployment.champion)
            # Older than what is wanted, which is tried again.
            return Serving(deployment.sequence - 1, deployment.champion, frozen, -1, None)
        return None

    def _best(self, model: Declaration, deployment: Deployment, failed: int) -> Serving:
        """The best version that can be loaded, or the declared prior."""
        known = [version for name, version in list(self._catalog.versions) if name == model.name]
        for version in self._champions.instead(deployment, known):
            if version == failed:
                continue
            with suppress(_NotLoadedError):
                return Serving(-1, version, self._fetch(model, version), -1, None)
        return Serving(-1, 0, ConstantModel(model.prior), -1, None)

    def _load(self, model: Declaration, deployment: Deployment) -> Serving:
        started = self._clock.monotonic()
        current = self._core.installed(model.name)
        held: dict[int, FrozenModel | None] = {}
        if current is not None:
            held = {
                current.champion: current.champion_model,
                current.shadow: current.shadow_model,
            }
        champion = held.get(deployment.champion) or self._fetch(model, deployment.champion)
        shadow: FrozenModel | None = None
        if deployment.shadow >= 0:
            shadow = held.get(deployment.shadow) or self._fetch(model, deployment.shadow)
        self._meter.observe(metrics.LOAD_SECONDS, [self._clock.monotonic() - started])
        return Serving(
            deployment.sequence, deployment.champion, champion, deployment.shadow, shadow
        )

    def fetch(self, model: Declaration, version: int) -> tuple[FrozenModel, int]:
        """A published version and the bytes it takes; from any thread. Raises
        :class:`DriftloopError`."""
        started = self._clock.monotonic()
        found = self._fetch(model, version)
        self._meter.observe(metrics.LOAD_SECONDS, [self._clock.monotonic() - started])
        return found, self._sizes.get((model.name, version), 0)

    def _fetch(self, model: Declaration, version: int) -> FrozenModel:
        if version == 0:
            return ConstantModel(model.prior)
        record = self._catalog.version(model.name, version)
        try:
            return self._frozen(model, record)
        except ArtifactError as error:
            raise _NotLoadedError(version, str(error)) from error
        except Exception as error:
            # Memory that is short, a disk that fails, or a fault of ours: it is of this version,
            # must not end what serves the others, and is told like an artifact that is bad.
            _log.exception("%s: version %d failed to load", model.name, version)
            raise _NotLoadedError(
                version, f"version {version} failed to load: {error!r}"
            ) from error

    def _frozen(self, model: Declaration, record: Version) -> FrozenModel:
        check_features(model, record)
        family, arrays, attributes = self._store.get(record.artifact, record.digest)
        frozen = load(family, arrays, attributes)
        warm(model, frozen)
        # More than its arrays: a vocabulary takes twenty times the weights of its levels.
        self._sizes[model.name, record.version] = footprint(frozen)
        return frozen


def _named(version: int) -> str:
    return f"version {version}" if version else "version 0, the declared prior,"


def _is_answer(serving: Serving) -> bool:
    """Whether it is more than what a process answers with before anything is loaded."""
    return serving.sequence >= 0 or serving.champion > 0
