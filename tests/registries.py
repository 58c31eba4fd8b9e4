"""Schema registries for tests: one in memory behind the port, one over HTTP in this process."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote

from aiohttp import web

from driftloop.kernel.errors import RegistryUnavailableError


@dataclass
class FakeRegistry:
    """Counts ids up from ``first``; ``down`` makes it silent, and ``patience`` is how many ids it
    answers on at a time."""

    first: int = 1
    schemas: dict[int, str] = field(default_factory=dict)
    subjects: dict[str, list[int]] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)
    calls: int = 0
    """How often it was asked about ids."""
    down: bool = False
    patience: int = 2**31

    def texts_of(self, ids: Sequence[int], within_s: float) -> Iterator[tuple[int, str | None]]:
        self._up()
        self.calls += 1
        for schema_id in ids[: self.patience]:
            self._up()
            yield schema_id, self.text_of(schema_id)

    def text_of(self, schema_id: int) -> str | None:
        self._up()
        self.asked.append(schema_id)
        return self.schemas.get(schema_id)

    def close(self) -> None:
        """It holds nothing."""

    def find(self, subject: str, text: str) -> int | None:
        wanted = json.loads(text)
        return next(
            (i for i in self.subjects.get(subject, ()) if json.loads(self.schemas[i]) == wanted),
            None,
        )

    def register(self, subject: str, text: str) -> int:
        self._up()
        known = self.find(subject, text)
        if known is not None:
            return known
        same = [i for i, other in self.schemas.items() if json.loads(other) == json.loads(text)]
        schema_id = same[0] if same else self.first + len(self.schemas)
        self.schemas[schema_id] = text
        self.subjects.setdefault(subject, []).append(schema_id)
        return schema_id

    def _up(self) -> None:
        if self.down:
            raise RegistryUnavailableError("the schema registry does not answer")


@dataclass
class Served:
    """A registry over HTTP. ``user`` is the one header of Authorization that lets in, ``status``
    what it answers instead. It hangs up on so many requests as ``drops``, and never answers on ids
    from ``silent_from`` on."""

    url: str
    registry: FakeRegistry
    requests: list[str] = field(default_factory=list)
    user: str = ""
    status: int = 0
    refuses: bool = False
    drops: int = 0
    silent_from: int = 2**31
    peers: set[object] = field(default_factory=set)
    """Of the connections there were."""


@contextmanager
def served_registry() -> Iterator[Served]:
    """Speaks the requests that Confluent's does, on a free loopback port."""
    served = Served("", FakeRegistry())
    started = threading.Event()
    loop = asyncio.new_event_loop()

    async def start() -> web.AppRunner:
        application = web.Application()

        async def answer(request: web.Request) -> web.Response:
            return await _answer(served, request)

        application.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        served.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    def run() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(start())
        started.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(10)
    try:
        yield served
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


async def _answer(served: Served, request: web.Request) -> web.Response:
    served.requests.append(f"{request.method} {request.path}")
    assert request.transport is not None
    served.peers.add(request.transport.get_extra_info("peername"))
    if served.drops:
        served.drops -= 1
        request.transport.abort()
    if served.user and request.headers.get("Authorization") != served.user:
        return _error(401, 401, "who are you?")
    if served.status:
        return web.Response(status=served.status, text="<html>")
    parts = [unquote(part) for part in request.raw_path.strip("/").split("/")]
    registry = served.registry
    match request.method, parts:
        case "GET", ["schemas", "ids", number] if int(number) >= served.silent_from:
            await asyncio.Event().wait()
            return web.Response()
        case "GET", ["schemas", "ids", number]:
            text = registry.text_of(int(number))
            if text is None:
                return _error(404, 40403, "Schema not found")
            return web.json_response({"schema": text})
        case "POST", ["subjects", subject]:
            found = registry.find(subject, (await request.json())["schema"])
            if found is None:
                return _error(404, 40403, "Schema not found")
            return web.json_response({"subject": subject, "id": found})
        case "POST", ["subjects", subject, "versions"]:
            if served.refuses:
                return _error(409, 409, "incompatible with an earlier schema")
            text = (await request.json())["schema"]
            return web.json_response({"id": registry.register(subject, text)})
        case _:
            return web.Response(status=404, text="<html>")


def _error(status: int, code: int, message: str) -> web.Response:
    return web.json_response({"error_code": code, "message": message}, status=status)
