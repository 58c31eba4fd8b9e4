"""The server of a service that answers requests by the thousand, besides saying how it is: on a
thread of its own, without a framework between the socket and the answer."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Protocol

import uvloop

from driftloop.adapters.http.exchange import JSON, Exchange
from driftloop.adapters.http.pages import StatusPages
from driftloop.adapters.http.wire import Connection, Site

_DRAIN_S = 10.0
"""A stopping server waits this long for answers that are due."""
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


class ApplicationServer:
    """Serves until :meth:`stop`. ``port`` 0 takes a free one; see :attr:`port` after start."""

    def __init__(
        self,
        host: str,
        port: int,
        pages: StatusPages,
        *,
        body_bytes: int = BODY_BYTES,
        read_s: float = READ_S,
        application_follows: bool = False,
    ) -> None:
        self.host = host
        self.port = port
        self._pages = pages
        # A quarter less per request than asyncio's own; see docs/decisions/http.md.
        self._loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        self._site = Site(self._handle, self._loop, body_bytes, read_s)
        self._application: Application | None = None
        self._application_follows = application_follows
        """Until it is mounted, requests for it are told to come again."""
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

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
        if connections:
            self._site.empty.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._site.empty.wait(), _DRAIN_S)
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
        path = exchange.target.partition(b"?")[0].decode(errors="replace")
        page = self._pages.page(exchange.method.decode(errors="replace"), path)
        headers = ((b"Allow", b"GET, HEAD"),) if page.status == 405 else ()
        exchange.answer(page.status, page.body, page.content_type.encode(), headers)
