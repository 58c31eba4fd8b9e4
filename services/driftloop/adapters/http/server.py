"""``/healthz``, ``/readyz``, ``/metrics`` and ``/status`` of one service, on a thread of their own:
a busy service answers all the same."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

from driftloop.adapters.prometheus import CONTENT_TYPE
from driftloop.kernel.ports import Clock
from driftloop.kernel.service import Status

_STEP_LIMIT_S = 120.0
"""A service that has not finished a step for so long is not healthy."""


class StatusServer:
    """Serves until :meth:`stop`. ``port`` 0 takes a free one; see :attr:`port` after start."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        metrics: Callable[[], bytes],
        status: Callable[[], Status | None],
        clock: Clock,
    ) -> None:
        self.host = host
        self.port = port
        self._metrics = metrics
        self._status = status
        self._clock = clock
        self._beat = clock.monotonic()
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def start(self) -> None:
        """Raises OSError when the port cannot be had."""
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            raise self._failure

    def beat(self) -> None:
        """The service has finished a step."""
        self._beat = self._clock.monotonic()

    def stop(self) -> None:
        """Stop serving; returns when the thread has ended."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._scrape),
                web.get("/status", self._show),
            ]
        )
        runner = web.AppRunner(app, access_log=None)
        try:
            self._loop.run_until_complete(runner.setup())
            site = web.TCPSite(runner, self.host, self.port)
            self._loop.run_until_complete(site.start())
            server: Any = site._server
            self.port = server.sockets[0].getsockname()[1]
        except BaseException as error:
            self._failure = error
            self._started.set()
            return
        self._started.set()
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(runner.cleanup())
            self._loop.close()

    async def _healthz(self, request: web.Request) -> web.Response:
        silent = self._clock.monotonic() - self._beat
        if silent > _STEP_LIMIT_S:
            return web.Response(status=503, text=f"no step finished for {silent:.0f} s\n")
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        status = self._status()
        if status is None or not status.ready:
            return web.Response(status=503, text="not ready\n")
        return web.Response(text="ready\n")

    async def _scrape(self, request: web.Request) -> web.Response:
        return web.Response(body=self._metrics(), headers={"Content-Type": CONTENT_TYPE})

    async def _show(self, request: web.Request) -> web.Response:
        status = self._status()
        if status is None:
            return web.Response(status=503, text="starting\n")
        return web.Response(body=status_document(status), content_type="application/json")


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
