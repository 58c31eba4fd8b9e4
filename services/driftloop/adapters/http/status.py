"""The server of a service that says only how it is: aiohttp, on a thread of its own, so that a busy
service answers all the same."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from aiohttp import web

from driftloop.adapters.http.pages import StatusPages


class StatusServer:
    """Serves until :meth:`stop`. ``port`` 0 takes a free one; see :attr:`port` after start."""

    def __init__(self, host: str, port: int, pages: StatusPages) -> None:
        self.host = host
        self.port = port
        self._pages = pages
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

    def stop(self) -> None:
        """Stop serving; returns when the thread has ended."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
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

    async def _answer(self, request: web.Request) -> web.Response:
        page = self._pages.page(request.method, request.path)
        headers = {"Content-Type": page.content_type}
        if page.status == 405:
            headers["Allow"] = "GET, HEAD"
        return web.Response(status=page.status, body=page.body, headers=headers)
