"""``/healthz``, ``/readyz``, ``/metrics`` and ``/status`` of one service, and what else it serves,
on a thread of their own: a busy service answers all the same."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Protocol

import orjson
import uvloop

from driftloop.adapters.http.exchange import JSON, TEXT, Exchange
from driftloop.adapters.http.wire import Connection, Site
from driftloop.adapters.prometheus import CONTENT_TYPE
from driftloop.kernel.ports import Clock
from driftloop.kernel.service import Status

_STEP_LIMIT_S = 120.0
"""A service that has not finished a step for so long is not healthy."""
_DRAIN_S = 10.0
"""A stopping server waits this long for answers that are due."""
_LOOK_EVERY_S = 0.01
_STARTING = b'{"error":"the service is starting"}'
BODY_BYTES = 1 << 16
READ_S = 30.0


class Application(Protocol):
    """What a server serves besides health and metrics. Called on the server's thread only."""

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Before the first request."""
        ...

    def handle(self, exchange: Exchange) -> None:
        """Answer, now or later. Must not block."""
        ...

    async def close(self) -> None:
        """All is answered and nothing more comes: finish what was begun, within seconds."""
        ...


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
        body_bytes: int = BODY_BYTES,
        read_s: float = READ_S,
        application_follows: bool = False,
    ) -> None:
        self.host = host
        self.port = port
        self._metrics = metrics
        self._status = status
        self._clock = clock
        self._beat = clock.monotonic()
        # A quarter less per request than asyncio's own; see docs/decisions/http.md.
        self._loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        self._site = Site(self._handle, self._loop, body_bytes, read_s)
        self._application: Application | None = None
        self._application_follows = application_follows
        """Until it is mounted, requests for it are told to come again."""
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._paths: Mapping[bytes, Callable[[Exchange], None]] = {
            b"/healthz": self._healthz,
            b"/readyz": self._readyz,
            b"/metrics": self._scrape,
            b"/status": self._show,
        }

    def start(self) -> None:
        """Raises OSError when the port cannot be had."""
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            raise self._failure

    def mount(self, application: Application) -> None:
        """Hand paths that begin with ``/v2`` to ``application`` from now on."""

        def put() -> None:
            application.attach(self._loop)
            self._application = application
            self._application_follows = True

        self._loop.call_soon_threadsafe(put)

    def beat(self) -> None:
        """The service has finished a step."""
        self._beat = self._clock.monotonic()

    def stop(self) -> None:
        """Answer what was asked, then stop serving; returns when the thread has ended."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        loop = self._loop
        try:
            listener = loop.run_until_complete(
                loop.create_server(lambda: Connection(self._site), self.host, self.port)
            )
            self.port = listener.sockets[0].getsockname()[1]
        except BaseException as error:
            self._failure = error
            loop.close()
            self._started.set()
            return
        self._site.start()
        self._started.set()
        try:
            loop.run_forever()
        finally:
            listener.close()
            loop.run_until_complete(self._drain())
            loop.close()

    async def _drain(self) -> None:
        self._site.stopping = True
        connections = self._site.connections
        for connection in list(connections):
            connection.finish()
        deadline = self._loop.time() + _DRAIN_S
        while connections and self._loop.time() < deadline:
            await asyncio.sleep(_LOOK_EVERY_S)
        for connection in list(connections):
            connection.abort()
        if self._application is not None:
            await self._application.close()

    def _handle(self, exchange: Exchange) -> None:
        application = self._application
        # The path of a request for a prediction is not looked for among the others.
        if exchange.target.startswith(b"/v2") and self._application_follows:
            if application is None:
                exchange.answer(503, _STARTING, JSON, ((b"Retry-After", b"1"),))
            else:
                application.handle(exchange)
            return
        path = exchange.target.partition(b"?")[0]
        found = self._paths.get(path)
        if found is None:
            exchange.answer(404, b"there is no such page\n", TEXT)
        elif exchange.method not in (b"GET", b"HEAD"):
            exchange.answer(405, b"only GET\n", TEXT, ((b"Allow", b"GET, HEAD"),))
        else:
            found(exchange)

    def _healthz(self, exchange: Exchange) -> None:
        silent = self._clock.monotonic() - self._beat
        if silent > _STEP_LIMIT_S:
            exchange.answer(503, f"no step finished for {silent:.0f} s\n".encode(), TEXT)
        else:
            exchange.answer(200, b"ok\n", TEXT)

    def _readyz(self, exchange: Exchange) -> None:
        status = self._status()
        if status is None or not status.ready:
            exchange.answer(503, b"not ready\n", TEXT)
        else:
            exchange.answer(200, b"ready\n", TEXT)

    def _scrape(self, exchange: Exchange) -> None:
        exchange.answer(200, self._metrics(), CONTENT_TYPE.encode())

    def _show(self, exchange: Exchange) -> None:
        status = self._status()
        if status is None:
            exchange.answer(503, b"starting\n", TEXT)
        else:
            exchange.answer(200, status_document(status), JSON)


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
