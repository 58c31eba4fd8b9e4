"""Loads what should be served off the hot path, and swaps it in between two batches."""

from __future__ import annotations

import logging
from concurrent.futures import Executor, Future

import numpy as np

from driftloop.inference.core import InferenceCore, Serving
from driftloop.kernel import metrics
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.blocks import Categories, Features
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.errors import ArtifactError
from driftloop.kernel.metrics import Meter
from driftloop.kernel.ports import Clock
from driftloop.kernel.records import Deployment
from driftloop.models.constant import ConstantModel
from driftloop.models.ports import ArtifactStore, FrozenModel
from driftloop.models.registry import load

_log = logging.getLogger(__name__)
_RETRY_MS = 5_000


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
    ) -> None:
        self._core = core
        self._catalog = catalog
        self._store = store
        self._executor = executor
        self._clock = clock
        self._meter = meter
        self._loading: dict[str, Future[Serving]] = {}
        self._retry_at: dict[str, int] = {}

    def update(self, *, wait: bool = False) -> None:
        """Start loading what is newly wanted, and install what is loaded.

        With ``wait`` it returns when everything wanted is installed or has failed: before a
        restarted service reads its first event.
        """
        for name, deployment in self._catalog.deployments.items():
            model = self._catalog.models.get(name)
            if model is None:
                continue
            if name not in self._loading and self._wanted(model, deployment):
                self._loading[name] = self._executor.submit(self._load, model, deployment)
            future = self._loading.get(name)
            if future is not None and (wait or future.done()):
                del self._loading[name]
                self._install(name, future)

    def behind(self) -> bool:
        """Whether a deployment is wanted that is not served yet (and did not fail to load)."""
        return any(
            name in self._catalog.models
            and name not in self._retry_at
            and self._core.serving(self._catalog.models[name]).sequence < deployment.sequence
            for name, deployment in self._catalog.deployments.items()
        )

    def blocked(self, name: str) -> bool:
        """Whether a model has a deployment, and none of its versions could be loaded since this
        process started: answering with version 0 would answer with less than before."""
        model = self._catalog.models.get(name)
        return (
            model is not None and name in self._retry_at and self._core.serving(model).sequence < 0
        )

    def failed(self) -> list[str]:
        """Models whose newest deployment could not be loaded; the old version serves on."""
        return sorted(self._retry_at)

    def _wanted(self, model: Declaration, deployment: Deployment) -> bool:
        if self._core.serving(model).sequence >= deployment.sequence:
            return False
        retry_at = self._retry_at.get(model.name)
        if retry_at is not None and self._clock.now() < retry_at:
            return False
        return all(
            version <= 0 or (model.name, version) in self._catalog.versions
            for version in (deployment.champion, deployment.shadow)
        )

    def _install(self, name: str, future: Future[Serving]) -> None:
        try:
            serving = future.result()
        except ArtifactError as error:
            _log.error("%s: %s; the version before serves on", name, error)
            self._meter.add(metrics.LOAD_FAILURES, 1, name)
            self._retry_at[name] = self._clock.now() + _RETRY_MS
            return
        self._retry_at.pop(name, None)
        self._core.install(name, serving)
        _log.info("%s: serving version %d, shadow %d", name, serving.champion, serving.shadow)

    def _load(self, model: Declaration, deployment: Deployment) -> Serving:
        started = self._clock.monotonic()
        current = self._core.serving(model)
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

    def _fetch(self, model: Declaration, version: int) -> FrozenModel:
        if version == 0:
            return ConstantModel(model.prior)
        record = self._catalog.version(model.name, version)
        frozen = load(*self._store.get(record.artifact, record.digest))
        self._warm(model, frozen)
        return frozen

    @staticmethod
    def _warm(model: Declaration, frozen: FrozenModel) -> None:
        """The first batch must not pay for page faults and compilation; and a model that cannot
        score the declared shape must fail here."""
        rows = 16
        missing = Features(
            np.full((rows, len(model.numeric)), np.nan),
            Categories(
                np.full((rows, len(model.categorical)), -1, dtype=np.int32),
                tuple(() for _ in model.categorical),
            ),
        )
        scores = frozen.score(missing)
        if scores.shape != (rows, model.scores) or not np.isfinite(scores).all():
            raise ArtifactError(
                f"the version of {model.name!r} gives scores of shape {scores.shape}, "
                f"not finite ones of shape {(rows, model.scores)}"
            )
