"""``/healthz``, ``/readyz``, ``/metrics`` and ``/status``: what a service says of itself, whichever
server hands it out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

import orjson

from driftloop.adapters.http import exchange
from driftloop.adapters.prometheus import CONTENT_TYPE
from driftloop.kernel.ports import Clock
from driftloop.kernel.service import Status

TEXT, JSON = exchange.TEXT.decode(), exchange.JSON.decode()
READY_LIMIT_S = 20.0
"""A service that has not finished a step for so long is not ready: what it waits for, for example
Kafka, may yet answer."""
_STEP_LIMIT_S = 120.0
"""One that has not for so long is not healthy: it will not answer any more."""


class Page(NamedTuple):
    """An answer."""

    status: int
    body: bytes
    content_type: str


class StatusPages:
    """May be asked from any thread."""

    def __init__(
        self,
        *,
        metrics: Callable[[], bytes],
        status: Callable[[], Status | None],
        clock: Clock,
    ) -> None:
        self._metrics = metrics
        self._status = status
        self._clock = clock
        self._beat = clock.monotonic()
        self._paths: Mapping[str, Callable[[], Page]] = {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._scrape,
            "/status": self._show,
        }

    def beat(self) -> None:
        """The service has finished a step."""
        self._beat = self._clock.monotonic()

    def step_age_s(self) -> float:
        """Since a step was finished."""
        return self._clock.monotonic() - self._beat

    def ready(self) -> bool:
        """Whether the service says so, and is alive to say otherwise."""
        status = self._status()
        return status is not None and status.ready and self.step_age_s() <= READY_LIMIT_S

    def page(self, method: str, path: str) -> Page:
        """What a request is answered."""
        found = self._paths.get(path)
        if found is None:
            return Page(404, b"there is no such page\n", TEXT)
        if method not in ("GET", "HEAD"):
            return Page(405, b"only GET\n", TEXT)
        return found()

    def _healthz(self) -> Page:
        silent = self.step_age_s()
        if silent > _STEP_LIMIT_S:
            return Page(503, f"no step finished for {silent:.0f} s\n".encode(), TEXT)
        return Page(200, b"ok\n", TEXT)

    def _readyz(self) -> Page:
        if self.ready():
            return Page(200, b"ready\n", TEXT)
        silent = self.step_age_s()
        if silent > READY_LIMIT_S:
            return Page(503, f"not ready: no step finished for {silent:.0f} s\n".encode(), TEXT)
        return Page(503, b"not ready\n", TEXT)

    def _scrape(self) -> Page:
        return Page(200, self._metrics(), CONTENT_TYPE)

    def _show(self) -> Page:
        status = self._status()
        if status is None:
            return Page(503, b"starting\n", TEXT)
        return Page(200, status_document(replace(status, ready=self.ready())), JSON)


def status_document(status: Status) -> bytes:
    """The status as JSON; positions as ``topic/partition``."""
    return orjson.dumps(
        {
            "service": status.service,
            "instance": status.instance,
            "ready": status.ready,
            "busy": status.busy,
            "lag": status.lag,
            "positions": {f"{s.topic}/{s.partition}": p for s, p in status.positions.items()},
            "details": status.details,
        },
        option=orjson.OPT_NON_STR_KEYS,
    )
