"""HTTP/1.1 on an event loop: httptools parses (Node's llhttp), the rest is here and small.

One object per connection and no task per request. docs/decisions/http.md has why: per request it
costs a third of what aiohttp's server does.
"""

from __future__ import annotations

import asyncio
import http
import logging
import time
from collections import deque
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import cast

import httptools
import orjson
from typing_extensions import override

from driftloop.adapters.http.exchange import JSON, Exchange, Handler, origin_form
from driftloop.adapters.http.upgrades import TUNNEL, head_without_upgrade

_log = logging.getLogger(__name__)

HEADER_BYTES = 32 * 1024
"""Most bytes of a request's line, headers and trailers together."""
_FRAMING = 3
"""Fewest bytes around the name and value of a header: a colon and the end of the line."""
PIPELINED = 64
"""Requests of one connection that may wait for their answers; more are not read until then."""
IDLE_S = 75.0
"""An open connection that says nothing for so long, or takes nothing of its answers, is closed."""
CONNECTIONS = 4096
"""Connections at once; one more is told 503."""
REFUSED = 1024
"""Beyond them, those that have been told so and are not closed yet; one more is closed unheard."""
LINGER_S = 10.0
"""A connection whose last answer is taken may stay open for so long; when the server stops, it may
take nothing of its answers for so long."""
BODIES = 32
"""Bodies of the largest size that all connections together may send and wait with; what comes
beyond is told 503."""
_SWEEP_S = 1.0
_REASONS = {status.value: status.phrase.encode() for status in http.HTTPStatus}
_LINES = {code: b"HTTP/1.1 %d %s\r\n" % (code, phrase) for code, phrase in _REASONS.items()}


@dataclass(slots=True)
class Site:
    """What the connections of one server share."""

    handler: Handler
    loop: asyncio.AbstractEventLoop
    body_bytes: int
    """Largest body; a larger one is answered 413."""
    read_s: float
    """Longest time from a request's first byte to its last; then it is answered 408."""
    connections: set[Connection] = field(default_factory=set)
    body_bytes_held: int = 0
    """Of the bodies that arrive, and of requests that are not answered."""
    stopping: bool = False
    date: bytes = b""
    empty: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the last connection goes."""

    def left(self, connection: Connection) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        if not self.connections:
            self.empty.set()

    def sweep(self, now: float) -> None:
        """Once a second: the date of answers, and connections that have been silent too long."""
        self.date = b"Date: " + formatdate(usegmt=True).encode() + b"\r\n"
        for connection in list(self.connections):
            connection.look(now)

    def start(self) -> None:
        """Sweep now and every second."""
        self.sweep(time.monotonic())
        self.loop.call_later(_SWEEP_S, self.start)


class Connection(asyncio.Protocol):
    """Reads requests, hands them on, and writes the answers in the order of the requests."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Exchange] = deque()
        """Requests that were read and not answered, in order."""
        self._unhandled: deque[Exchange] = deque()
        """The last of them, which came in one piece with too many others."""
        self._handling = False
        self._closing = False
        """No further request is read; what is answered still goes out."""
        self._paused = False
        self._full = False
        """The client does not take what is written."""
        self._unsent = 0
        self._stands_since = 0.0
        """How many bytes it has left, and since when it is so many."""
        self._lingers = False
        self._last = time.monotonic()
        """When the client last sent something, or was answered."""
        self._body_bytes = 0
        self._reset()

    def _reset(self) -> None:
        self._began = 0.0
        self._target: list[bytes] = []
        self._headers: dict[bytes, bytes] = {}
        self._head_done = False
        self._head_bytes = 0
        """Of the line, headers and trailers that were parsed."""
        self._loose_bytes = 0
        """Came, and are no part of the body: what was parsed, and what may become a header."""
        self._go_ahead_due = False
        """Whether the client holds its body back until it is told to go on."""
        self._drop_body()

    def _drop_body(self) -> None:
        self._site.body_bytes_held -= self._body_bytes
        self._body: list[bytes] = []
        self._body_bytes = 0

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        site = self._site
        site.connections.add(self)
        if len(site.connections) > CONNECTIONS + REFUSED:
            self.abort()
        elif len(site.connections) > CONNECTIONS:
            self._refuse(503, "too many connections", ((b"Retry-After", b"1"),))

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._site.left(self)
        self._closing = True
        self._transport = None
        for exchange in self._waiting:
            exchange.gone = True
            self._let_go(exchange)
        self._waiting.clear()
        self._unhandled.clear()
        self._drop_body()

    @override
    def pause_writing(self) -> None:
        self._full = True
        self._throttle()

    @override
    def resume_writing(self) -> None:
        self._full = False
        self._throttle()
        self._handle()

    @override
    def eof_received(self) -> bool:
        # The client has no more to ask, but may still want its answers.
        self._closing = True
        return bool(self._waiting)

    @override
    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self._last = time.monotonic()
        self._loose_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserCallbackError:
            _log.exception("a request could not be handled")
            self._refuse(500, "the server failed")
        except httptools.HttpParserError as error:
            self._refuse(400, f"this is no HTTP request: {error}")
        else:
            # A header is parsed when it has ended; one that does not end is held all the same.
            self._check_head(self._loose_bytes)

    def _feed(self, data: bytes) -> None:
        while True:
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                if self._parser.get_method() == TUNNEL:
                    # It was answered as it is, and what follows is no HTTP.
                    self._end_after_answers()
                    return
                if self._closing:
                    return
                # The parser has left the request's body unread, so it gets the head once more.
                method, version = self._parser.get_method(), self._parser.get_http_version()
                target = b"".join(self._target)
                head = head_without_upgrade(method, target, version, self._headers)
                data = head + data[upgrade.args[0] :]
                began = self._began
                self._reset()
                self._began = began
                self._parser = httptools.HttpRequestParser(self)

    @property
    def _asks_for_an_upgrade(self) -> bool:
        """Whether what was read is to be read once more; see :meth:`_feed`."""
        return bool(self._parser.should_upgrade()) and self._parser.get_method() != TUNNEL

    # Called by the parser.

    def on_message_begin(self) -> None:
        if not self._began:
            self._began = self._last

    def on_url(self, url: bytes) -> None:
        self._head_bytes += len(url)
        self._check_head(self._head_bytes)
        if not self._closing:
            self._target.append(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + _FRAMING
        self._check_head(self._head_bytes)
        # A trailer comes after the body was taken for what the headers said of it: it is counted,
        # and not kept.
        if self._head_done or self._closing:
            return
        name = name.lower()
        if name == b"host" and name in self._headers:
            self._refuse(400, "a request has one Host header")
        self._headers[name] = value

    def on_headers_complete(self) -> None:
        self._head_done = True
        if self._closing or self._asks_for_an_upgrade:
            return
        length = self._headers.get(b"content-length", b"")
        coding = self._headers.get(b"transfer-encoding", b"chunked").strip().lower()
        if coding != b"chunked":
            self._refuse(501, "a body may be chunked, and in no other Transfer-Encoding")
        elif b"host" not in self._headers and self._parser.get_http_version() == "1.1":
            # RFC 9112, section 3.2: who forwards it may take it for another request.
            self._refuse(400, "a request of HTTP/1.1 has a Host header")
        elif length.isdigit() and int(length[:20]) > self._site.body_bytes:
            self._too_large()
        elif self._headers.get(b"expect", b"").lower() == b"100-continue":
            self._go_ahead_due = True
            self._go_ahead()

    def _go_ahead(self) -> None:
        """Say so where a client waits for it, after the answers to what it asked before."""
        if self._go_ahead_due and not self._waiting and not self._closing:
            self._go_ahead_due = False
            # Until now it could not send more.
            self._began = time.monotonic()
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        if self._go_ahead_due:
            # It did not wait to be told.
            self._go_ahead_due = False
            self._began = time.monotonic()
        # What came before a piece of the body was parsed, or is the framing of chunks.
        self._loose_bytes = self._head_bytes
        site = self._site
        self._body_bytes += len(body)
        site.body_bytes_held += len(body)
        if self._body_bytes > site.body_bytes:
            self._too_large()
        elif site.body_bytes_held > BODIES * site.body_bytes:
            self._refuse(503, "too many bodies arrive or wait at once", ((b"Retry-After", b"1"),))
        elif not self._closing:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._closing or self._asks_for_an_upgrade:
            return
        body = self._body
        exchange = Exchange(
            self._parser.get_method(),
            origin_form(self._target[0] if len(self._target) == 1 else b"".join(self._target)),
            self._headers,
            body[0] if len(body) == 1 else b"".join(body),
            self._answered,
            self._began,
            keep_alive=self._parser.should_keep_alive() and not self._site.stopping,
            told=self._parser.get_http_version() == "1.0",
        )
        self._body_bytes = 0  # From here on the exchange has them.
        self._reset()
        self._waiting.append(exchange)
        self._unhandled.append(exchange)
        if not exchange.keep_alive:
            self._closing = True
        if len(self._waiting) >= PIPELINED:
            self._throttle()
        self._handle()

    def _handle(self) -> None:
        """What was read, as long as few answers are waited for and the client takes them: a piece
        of the stream may hold thousands of requests."""
        if self._handling:
            return
        self._handling = True
        unhandled = self._unhandled
        while unhandled and not self._full and len(self._waiting) - len(unhandled) < PIPELINED:
            exchange = unhandled.popleft()
            try:
                self._site.handler(exchange)
            except Exception:
                _log.exception("%r could not be handled", exchange.target)
                exchange.answer(500, b'{"error":"the server failed; its log says why"}')
        self._handling = False

    # Answers.

    def _let_go(self, exchange: Exchange) -> None:
        """Its body is wanted no more."""
        self._site.body_bytes_held -= len(exchange.body)
        exchange.body = b""

    def _answered(self, exchange: Exchange) -> None:
        self._let_go(exchange)
        self._last = time.monotonic()
        waiting = self._waiting
        if not waiting or waiting[0] is not exchange:
            return  # An earlier request is answered first, or nobody is there any more.
        if len(waiting) == 1:
            waiting.clear()
            self._write(self._rendered(exchange))
        else:
            ready = []
            while waiting and waiting[0].response is not None:
                ready.append(self._rendered(waiting.popleft()))
            self._write(b"".join(ready))
        if self._paused:
            self._throttle()
        if self._unhandled:
            self._handle()
        self._go_ahead()
        if self._closing and not waiting:
            self._close()

    def _rendered(self, exchange: Exchange) -> bytes:
        assert exchange.response is not None
        status, body, content_type, headers = exchange.response
        further = b"".join([b"%s: %s\r\n" % pair for pair in headers]) if headers else b""
        if not exchange.keep_alive:
            further += b"Connection: close\r\n"
        elif exchange.told:
            further += b"Connection: keep-alive\r\n"
        return b"%s%sContent-Type: %s\r\nContent-Length: %d\r\n%s\r\n%s" % (
            _LINES[status],
            self._site.date,
            content_type,
            len(body),
            further,
            b"" if exchange.method == b"HEAD" else body,
        )

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _throttle(self) -> None:
        """Read on, or no more for now."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        pause = self._full or len(self._waiting) >= PIPELINED
        if pause and not self._paused:
            transport.pause_reading()
        elif self._paused and not pause:
            transport.resume_reading()
        self._paused = pause

    # Ends.

    def look(self, now: float) -> None:
        """Close what is idle, and refuse what takes too long to send its request."""
        unsent = 0 if self._transport is None else self._transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self._stands_since = unsent, now
        silent = now - max(self._last, self._stands_since)
        if unsent and now - self._stands_since > (LINGER_S if self._site.stopping else IDLE_S):
            self.abort()
        elif self._closing:
            if not (unsent or self._waiting) and silent > LINGER_S:
                self.abort()
        elif self._paused or self._go_ahead_due:
            pass  # It may not send, or waits to be told to go on.
        elif self._began and now - self._began > self._site.read_s:
            self._refuse(408, f"the request was not sent within {self._site.read_s:g} s")
        elif not (unsent or self._waiting) and silent > IDLE_S:
            self.abort()

    def finish(self) -> None:
        """The server stops: close once what was asked is answered."""
        self._lingers = False
        if not self._waiting:
            self._end_after_answers()
            return
        self._closing = True
        for exchange in self._waiting:
            exchange.keep_alive = False

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _check_head(self, size: int) -> None:
        if size > HEADER_BYTES:
            why = f"a request's line, headers and trailers take at most {HEADER_BYTES} bytes"
            self._refuse(431, why)

    def _too_large(self) -> None:
        limit = self._site.body_bytes
        self._refuse(413, f"a body has at most {limit} bytes; send fewer rows at once")

    def _refuse(self, status: int, why: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        """Answer what cannot be read, after the answers before it, and read no more."""
        if self._closing:
            return
        exchange = Exchange(b"GET", b"", {}, b"", self._answered, self._last, keep_alive=False)
        self._closing = self._lingers = True
        self._drop_body()
        self._waiting.append(exchange)
        exchange.answer(status, orjson.dumps({"error": why}), JSON, headers)

    def _close(self) -> None:
        if self._transport is None:
            return
        if self._lingers and self._transport.can_write_eof():
            # Closing on what the client still sends would reset the connection, and with it the
            # answer; so what comes is read and dropped until the client closes, or LINGER_S.
            self._transport.write_eof()
        else:
            self._transport.close()

    def _end_after_answers(self) -> None:
        self._closing = True
        if not self._waiting:
            self._close()
