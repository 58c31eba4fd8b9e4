"""Versions that are neither champion nor shadow, loaded when somebody names them."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import NamedTuple

from driftloop.inference.tensors import ProtocolError
from driftloop.inference.versions import LoadingError
from driftloop.kernel import metrics
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.errors import DriftloopError
from driftloop.kernel.metrics import Meter
from driftloop.kernel.ports import Clock
from driftloop.models.ports import FrozenModel

_log = logging.getLogger(__name__)
_RETRY_S = 5
_AT_ONCE = 1
"""Loads under way, fewer than the executor's threads: who asks for many versions must not hold up
the loading of a new champion."""

Key = tuple[str, int]
Fetch = Callable[[Declaration, int], tuple[FrozenModel, int]]


class _Loaded(NamedTuple):
    declaration: Declaration
    """It was checked against."""
    model: FrozenModel
    bytes: int


class Demanded:
    """The least recently used leave memory within ``memory_bytes``; the newest always stays. Not
    for several threads."""

    def __init__(
        self, fetch: Fetch, executor: Executor, clock: Clock, meter: Meter, memory_bytes: int
    ) -> None:
        """``fetch`` gives a version and its size in bytes, on the executor. Raises
        :class:`DriftloopError`."""
        self._fetch = fetch
        self._executor = executor
        self._clock = clock
        self._meter = meter
        self._memory_bytes = memory_bytes
        self._loaded: OrderedDict[Key, _Loaded] = OrderedDict()
        self._loading: dict[Key, tuple[Declaration, Future[tuple[FrozenModel, int]]]] = {}
        self._failed: dict[Key, tuple[float, str]] = {}
        """When to try again, and what to say until then."""

    def get(self, model: Declaration, version: int, *, load: bool = True) -> FrozenModel:
        """Raises :class:`LoadingError` where it is not there yet, having begun to load it if
        ``load``, and :class:`ProtocolError` where it cannot be loaded."""
        key = (model.name, version)
        found = self._loaded.get(key)
        if found is not None and found.declaration is model:
            self._loaded.move_to_end(key)
            return found.model
        self._finish()
        found = self._loaded.get(key)
        if found is not None and found.declaration is model:
            return found.model
        failed = self._failed.get(key)
        if failed is not None:
            if self._clock.monotonic() < failed[0]:
                raise ProtocolError(503, failed[1], retry_after_s=_RETRY_S)
            del self._failed[key]
        if load and key not in self._loading and len(self._loading) < _AT_ONCE:
            self._loading[key] = (model, self._executor.submit(self._fetch, model, version))
        raise LoadingError

    def _finish(self) -> None:
        """Take in what has been loaded."""
        for key, (declaration, future) in list(self._loading.items()):
            if not future.done():
                continue
            del self._loading[key]
            try:
                model, size = future.result()
            except DriftloopError as error:
                name, version = key
                why = f"version {version} of model {name!r} cannot be loaded: {error}"
                _log.error("%s", why)
                self._meter.add(metrics.LOAD_FAILURES, 1, name)
                self._failed[key] = (self._clock.monotonic() + _RETRY_S, why)
                continue
            self._loaded[key] = _Loaded(declaration, model, size)
            self._loaded.move_to_end(key)
        total = sum(loaded.bytes for loaded in self._loaded.values())
        while total > self._memory_bytes and len(self._loaded) > 1:
            _, gone = self._loaded.popitem(last=False)
            total -= gone.bytes
            self._meter.add(metrics.EVICTED, 1)
