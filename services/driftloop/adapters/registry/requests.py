"""HTTP requests that a thread waits for: one session, on an event loop in a thread of its own, as
the caller's may run a loop already. Both begin with the first request."""

from __future__ import annotations

import asyncio
import ssl
import threading
import weakref
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
from yarl import URL

AT_ONCE = 16
"""Requests under way."""
_LONGEST = 4 << 20
"""Bytes of an answer."""
_CLOSING_S = 5.0

Answer = tuple[int, bytes]
"""Status and content."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """One of HTTP."""

    method: str
    url: str
    body: bytes | None = None

    def path(self, base: str) -> str:
        """What of the address comes after ``base``."""
        return self.url.removeprefix(base)


class Requests:
    """Safe to be used by several threads."""

    def __init__(
        self, headers: Mapping[str, str], context: ssl.SSLContext | bool, timeout_s: float
    ) -> None:
        """``context``: how a certificate is checked; True: as the machine has it. ``timeout_s`` is
        that of one request."""
        self._context = context
        timeout = aiohttp.ClientTimeout(total=timeout_s)

        def session() -> aiohttp.ClientSession:
            return aiohttp.ClientSession(
                timeout=timeout,
                headers=headers,
                trust_env=True,
                connector=aiohttp.TCPConnector(limit=AT_ONCE),
                # One request should not depend on those before.
                cookie_jar=aiohttp.DummyCookieJar(),
            )

        self._session = session
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._stop: Callable[[], Any] = _nothing

    def all(
        self, requests: Sequence[Request], within_s: float | None = None
    ) -> list[Answer | Exception | None]:
        """The answers, or what went wrong; None where time was up before. Connections that the
        other side closed meanwhile are opened anew."""
        with self._lock:
            running = self._running
            if running is None:
                running = self._running = _Running(self._session)
                # Also at the end of a process that closes nothing: aiohttp complains of a session
                # that is left open.
                self._stop = weakref.finalize(self, running.stop)
        try:
            return running.run(lambda session: self._all(session, requests, within_s))
        except CancelledError:
            return [aiohttp.ClientConnectionError("it was closed") for _ in requests]

    def close(self) -> None:
        """End what is under way, and let go of the connections. It may be used again."""
        with self._lock:
            stop, self._running, self._stop = self._stop, None, _nothing
        stop()

    async def _all(
        self, session: aiohttp.ClientSession, requests: Sequence[Request], within_s: float | None
    ) -> list[Answer | Exception | None]:
        tasks = [asyncio.create_task(self._one(session, request)) for request in requests]
        try:
            await asyncio.wait(tasks, timeout=within_s)
            return [task.result() if task.done() else None for task in tasks]
        finally:
            for task in tasks:
                task.cancel()

    async def _one(self, session: aiohttp.ClientSession, request: Request) -> Answer | Exception:
        try:
            return await self._answer(session, request)
        except aiohttp.ClientConnectorError as error:
            return error
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            # The other side closed a connection that stood open; every request may be made twice.
            pass
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return error
        try:
            return await self._answer(session, request)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return error

    async def _answer(self, session: aiohttp.ClientSession, request: Request) -> Answer:
        async with session.request(
            request.method,
            URL(request.url, encoded=True),
            data=request.body,
            ssl=self._context,
            # A redirect would carry the password elsewhere.
            allow_redirects=False,
        ) as response:
            content = bytearray()
            async for chunk in response.content.iter_any():
                content += chunk
                if len(content) > _LONGEST:
                    raise aiohttp.ClientPayloadError(f"an answer of more than {_LONGEST} bytes")
            return response.status, bytes(content)


class _Running:
    """A loop that runs in its thread, and its session."""

    def __init__(self, session: Callable[[], aiohttp.ClientSession]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="registry", daemon=True)
        self._thread.start()

        async def opened() -> aiohttp.ClientSession:
            return session()

        self._session = asyncio.run_coroutine_threadsafe(opened(), self._loop).result()

    def run(self, work: Callable[[aiohttp.ClientSession], Coroutine[Any, Any, T]]) -> T:
        """Waits for it. Raises CancelledError where the loop is stopped meanwhile."""
        return asyncio.run_coroutine_threadsafe(work(self._session), self._loop).result()

    def stop(self) -> None:
        """Cancels what is under way."""
        ended = asyncio.run_coroutine_threadsafe(self._end(), self._loop)
        if threading.current_thread() is self._thread:
            # The garbage collector found it here, where it cannot be waited for.
            ended.add_done_callback(lambda _: self._loop.stop())
            return
        with suppress(TimeoutError):
            ended.result(_CLOSING_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSING_S)
        if not self._thread.is_alive():
            self._loop.close()

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._session.close()


def _nothing() -> None:
    """Nothing runs that could be stopped."""
