"""The gateway on an HTTP server: paths, headers, and when the gateway runs."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from typing import NamedTuple
from urllib.parse import unquote

from driftloop.adapters.http import JSON, Exchange
from driftloop.inference.gateway import Gateway
from driftloop.inference.heads import Heads
from driftloop.inference.jobs import Job
from driftloop.inference.protocol import (
    Answer,
    encode_error,
    model_document,
    parse_request,
    server_document,
)
from driftloop.inference.rows import RowReader
from driftloop.inference.tensors import ProtocolError
from driftloop.inference.versions import NEWEST, LoadingError, Models, chosen, no_version
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.ports import Clock

_HEADER = b"inference-header-content-length"
_BYTES = b"application/octet-stream"
_PATH = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(?:/(infer|ready))?/?")
_ROUTES_KEPT = 4096
_ROUTE_BYTES = 256
"""A longer path is read each time: what is kept must not be as large as a request may be. The name
of a model has at most 63."""
_SETTLE_S = 0.02
_SETTLE_SOON_S = 0.002
"""Between two looks at what is to be written and what Kafka has acknowledged; where somebody waits
for it, the latter."""
_CLOSE_S = 5.0


class _Route(NamedTuple):
    name: str
    version: str | None
    verb: str | None
    """``infer``, ``ready``, or None: the metadata."""


class InferenceEndpoint:
    """See :class:`driftloop.adapters.http.Application`. ``ready``: the service's readiness."""

    def __init__(
        self,
        models: Models,
        gateway: Gateway,
        clock: Clock,
        most_rows: int,
        ready: Callable[[], bool],
        new_id: Callable[[], str] | None = None,
    ) -> None:
        self._models = models
        self._gateway = gateway
        self._clock = clock
        self._most_rows = most_rows
        self._ready = ready
        self._new_id = new_id or random_uuid
        self._readers: dict[str, RowReader] = {}
        self._routes: dict[bytes, _Route] = {}
        self._heads = Heads()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._run_due = False
        self._settle_due = False

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def handle(self, exchange: Exchange) -> None:
        model = None
        try:
            # Most have no query, and need not be looked through for one.
            route = self._routes.get(exchange.target) or self._route(exchange)
            if route is None:
                return
            model = self._models.declaration(route.name)
            if model is None:
                raise ProtocolError(404, self._no_model(route.name))
            version = _version(route.version)
            if route.verb == "infer":
                self._infer(exchange, model, version)
                return
            _check_method(exchange, b"GET", b"HEAD")
            self._describe(exchange, route, model, version)
        except ProtocolError as error:
            _refuse(exchange, error)
            if exchange.method == b"POST":
                seconds = self._clock.monotonic() - exchange.began
                self._gateway.count(model, error.status, [seconds])

    async def close(self) -> None:
        self._gateway.close(_CLOSE_S)

    def _infer(self, exchange: Exchange, model: Declaration, version: int) -> None:
        _check_method(exchange, b"POST")
        if exchange.headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise ProtocolError(415, "send the body without Content-Encoding")
        request = parse_request(exchange.body, exchange.headers.get(_HEADER), self._heads)
        reader = self._reader(model)
        rows = reader.read(request)
        now = self._clock.now()
        if rows.times is None:
            rows.times = now
            reader.check_times(now, now, "the server's clock")
        else:
            reader.check_times(rows.times, now, "as given")
        # Who names a version that does not answer hears so before he waits in the queue.
        if version != NEWEST:
            with suppress(LoadingError):
                chosen(self._models, model, version)

        def reply(status: int, answer: Answer, retry_after_s: int) -> None:
            if status == 200 and answer.json_length < 0:
                exchange.answer(200, answer.body)
            elif answer.json_length >= 0:
                length = b"%d" % answer.json_length
                name = b"Inference-Header-Content-Length"
                exchange.answer(status, answer.body, _BYTES, ((name, length),))
            else:
                exchange.answer(status, answer.body, JSON, _retry(retry_after_s))

        self._gateway.submit(
            Job(
                reader,
                version,
                request,
                rows,
                request.id or self._new_id(),
                exchange.began,
                reply,
                lambda: exchange.gone,
            )
        )
        self._run_soon()

    def _run_soon(self) -> None:
        if not self._run_due:
            self._run_due = True
            assert self._loop is not None
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        """What has been read from all connections by now is one batch. Connections that became
        readable meanwhile are read before the next turn."""
        assert self._loop is not None
        self._run_due = self._gateway.run()
        if self._run_due:
            self._loop.call_soon(self._run)
        if not self._settle_due and self._gateway.unsettled:
            self._settle_later()

    def _settle(self) -> None:
        self._settle_due = False
        self._gateway.settle()
        if self._gateway.queued:
            self._run_soon()
        if self._gateway.unsettled:
            self._settle_later()

    def _settle_later(self) -> None:
        assert self._loop is not None
        self._settle_due = True
        seconds = _SETTLE_SOON_S if self._gateway.holding else _SETTLE_S
        self._loop.call_later(seconds, self._settle)

    def _reader(self, model: Declaration) -> RowReader:
        known = self._readers.get(model.name)
        if known is None or known.declaration is not model:
            known = self._readers[model.name] = RowReader(model, self._most_rows)
        return known

    def _route(self, exchange: Exchange) -> _Route | None:
        """None: it was answered, being about the server."""
        asked = exchange.target.partition(b"?")[0]
        known = self._routes.get(asked)
        if known is not None:
            return known
        try:
            path = unquote(asked.decode("ascii"), errors="strict")
        except UnicodeDecodeError:
            raise ProtocolError(400, "the path is not UTF-8") from None
        found = _PATH.fullmatch(path)
        if found is not None:
            route = _Route(found[1], found[2], found[3])
            self._keep(asked, route)
            return route
        match path.rstrip("/"):
            case "/v2":
                _check_method(exchange, b"GET", b"HEAD")
                exchange.answer(200, server_document(metadata.version("driftloop")))
            case "/v2/health/live":
                _check_method(exchange, b"GET", b"HEAD")
                exchange.answer(200, b'{"live":true}')
            case "/v2/health/ready":
                _check_method(exchange, b"GET", b"HEAD")
                ready = self._ready()
                # The protocol wants a 4xx where a server or model is not ready.
                body = b'{"ready":true}' if ready else b'{"ready":false}'
                exchange.answer(200 if ready else 400, body)
            case _:
                raise ProtocolError(404, "there is no such path; see GET /v2 and /v2/models/NAME")
        return None

    def _keep(self, path: bytes, route: _Route) -> None:
        if len(path) > _ROUTE_BYTES:
            return
        if len(self._routes) >= _ROUTES_KEPT:
            self._routes.clear()
        self._routes[path] = route

    def _describe(
        self, exchange: Exchange, route: _Route, model: Declaration, version: int
    ) -> None:
        if route.verb == "ready":
            try:
                chosen(self._models, model, version, load=False)
            except LoadingError:
                why = f"what should answer for model {model.name!r} is loaded when it is asked"
                raise ProtocolError(400, why) from None
            except ProtocolError as error:
                if error.status == 404:
                    raise
                raise ProtocolError(400, error.message) from error
            exchange.answer(200, b'{"name":"%s","ready":true}' % model.name.encode())
            return
        known = self._models.versions(model.name)
        if version != NEWEST and version not in known:
            try:
                chosen(self._models, model, version, load=False)
            except LoadingError:
                if not self._models.published(model.name, version):
                    raise no_version(self._models, model.name, version) from None
        exchange.answer(200, model_document(model, known if version == NEWEST else [version]))

    def _no_model(self, name: str) -> str:
        names = sorted(self._models.names())
        there = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
        return f"there is no model {name[:100]!r}; there are: {there or 'none yet'}"


def random_uuid() -> str:
    """As ``str(uuid.uuid4())``, at a fifth of its cost; seeded by the system when the process
    starts. Ids are told apart by it, nothing is kept secret."""
    bits = random.getrandbits(128) & ~(0xF << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _version(text: str | None) -> int:
    if text is None:
        return NEWEST
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ProtocolError(404, f"version {text[:40]!r} is no number")
    return int(text)


def _check_method(exchange: Exchange, *allowed: bytes) -> None:
    if exchange.method not in allowed:
        names = b", ".join(allowed).decode()
        raise ProtocolError(405, f"this path takes {names}")


def _refuse(exchange: Exchange, error: ProtocolError) -> None:
    headers = _retry(error.retry_after_s)
    if error.status == 405:
        headers = ((b"Allow", error.message.removeprefix("this path takes ").encode()),)
    exchange.answer(error.status, encode_error(error.message), JSON, headers)


def _retry(seconds: int) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"Retry-After", b"%d" % seconds),) if seconds else ()
