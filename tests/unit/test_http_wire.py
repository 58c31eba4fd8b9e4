"""HTTP/1.1 itself: connections kept open, pipelining, limits, and what is no HTTP."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from driftloop.adapters.clock import ManualClock
from driftloop.adapters.http import ApplicationServer, Exchange, StatusPages, wire
from driftloop.adapters.http.wire import BODIES

BODY_BYTES = 1000
LARGE = 200_000


class Held:
    """An application that answers with what it was sent; what goes to /v2/later waits."""

    def __init__(self) -> None:
        self.later: list[Exchange] = []
        self.large = 0
        self.came = threading.Semaphore(0)
        self.closed = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def handle(self, exchange: Exchange) -> None:
        if exchange.target == b"/v2/broken":
            raise ZeroDivisionError
        if exchange.target == b"/v2/later":
            self.later.append(exchange)
            self.came.release()
        elif exchange.target == b"/v2/large":
            self.large += 1
            exchange.answer(200, b"x" * LARGE)
        else:
            exchange.answer(200, exchange.target + b":" + exchange.body)

    def release(self) -> None:
        """Answer what waits."""
        assert self._loop is not None
        waiting, self.later = self.later, []
        for exchange in waiting:
            self._loop.call_soon_threadsafe(exchange.answer, 200, b"late")

    async def close(self) -> None:
        self.closed = True


class Client:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.file = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self, *, body: bool = True) -> tuple[int, dict[str, str], bytes]:
        status = int(self.file.readline().split()[1])
        headers = {}
        while (line := self.file.readline().strip()) != b"":
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        length = int(headers.get("content-length", 0)) if body else 0
        return status, headers, self.file.read(length)

    def is_closed(self) -> bool:
        try:
            return self.file.read(1) == b""
        except ConnectionError:
            return True


class Served:
    def __init__(self, read_s: float = 30.0) -> None:
        self.application = Held()
        self.server = ApplicationServer(
            "127.0.0.1",
            0,
            StatusPages(metrics=lambda: b"", status=lambda: None, clock=ManualClock()),
            body_bytes=BODY_BYTES,
            read_s=read_s,
        )
        self.server.start()
        self.server.mount(self.application)
        self.clients: list[Client] = []

    def connect(self) -> Client:
        client = Client(self.server.port)
        self.clients.append(client)
        return client

    def close(self) -> None:
        self.server.stop()
        for client in self.clients:
            client.file.close()
            client.socket.close()


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.close()


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: h", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


GET = b"GET /v2/a HTTP/1.1\r\nHost: h\r\n\r\n"


def test_a_connection_serves_one_request_after_the_other(served: Served) -> None:
    client = served.connect()
    for body in (b"one", b"two", b""):
        client.send(post("/v2/x", body))
        status, headers, found = client.answer()
        assert (status, found) == (200, b"/v2/x:" + body)
        assert "date" in headers


def test_pipelined_requests_are_answered_in_their_order(served: Served) -> None:
    client = served.connect()
    client.send(post("/v2/later", b"") + post("/v2/x", b"1") + post("/v2/x", b"2"))
    assert served.application.came.acquire(timeout=20)
    served.application.release()
    assert [client.answer()[2] for _ in range(3)] == [b"late", b"/v2/x:1", b"/v2/x:2"]


def test_many_pipelined_requests_all_find_their_answer(served: Served) -> None:
    client = served.connect()
    client.send(b"".join(post("/v2/x", b"%d" % i) for i in range(500)))
    assert [client.answer()[2] for _ in range(500)] == [b"/v2/x:%d" % i for i in range(500)]


def test_answers_that_nobody_reads_are_not_made(served: Served) -> None:
    client = served.connect()
    client.send(b"GET /v2/large HTTP/1.1\r\nHost: h\r\n\r\n" * 500)
    # What was sent came in few pieces, and was read when another connection has its answer.
    until(lambda: served.application.large > 0)
    other = served.connect()
    other.send(GET)
    assert other.answer()[0] == 200
    assert served.application.large < 200
    assert all(client.answer()[2] == b"x" * LARGE for _ in range(500))
    assert served.application.large == 500


@pytest.mark.parametrize("stopping", [False, True])
def test_who_reads_nothing_for_long_is_left_and_sooner_when_the_server_stops(
    served: Served, monkeypatch: pytest.MonkeyPatch, stopping: bool
) -> None:
    monkeypatch.setattr(wire, "LINGER_S" if stopping else "IDLE_S", 0.1)
    client = served.connect()
    client.send(b"GET /v2/large HTTP/1.1\r\nHost: h\r\n\r\n" * 500)
    until(lambda: served.application.large > 0)
    monkeypatch.setattr(served.server._site, "stopping", stopping)
    until(lambda: not served.server._site.connections)
    assert served.application.large < 200


def test_a_request_may_come_byte_by_byte(served: Served) -> None:
    client = served.connect()
    for byte in post("/v2/x", b"slow"):
        client.send(bytes([byte]))
    assert client.answer()[2] == b"/v2/x:slow"


def test_a_chunked_body_is_read(served: Served) -> None:
    client = served.connect()
    client.send(b"POST /v2/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
    client.send(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert client.answer()[2] == b"/v2/x:abcde"


def test_a_body_beyond_the_limit_is_413_before_it_is_sent(served: Served) -> None:
    client = served.connect()
    client.send(b"POST /v2/x HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n")
    status, headers, body = client.answer()
    assert status == 413
    assert headers["connection"] == "close"
    assert json.loads(body) == {"error": "a body has at most 1000 bytes; send fewer rows at once"}
    assert client.is_closed()


def test_a_chunked_body_beyond_the_limit_is_413(served: Served) -> None:
    client = served.connect()
    client.send(b"POST /v2/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
    client.send(b"400\r\n" + b"x" * 0x400 + b"\r\n")
    assert client.answer()[0] == 413


def test_the_answer_before_a_refusal_still_comes_first(served: Served) -> None:
    client = served.connect()
    client.send(post("/v2/later", b""))
    assert served.application.came.acquire(timeout=20)
    client.send(b"POST /v2/x HTTP/1.1\r\nHost: h\r\nContent-Length: 5000\r\n\r\n")
    served.application.release()
    assert [client.answer()[0] for _ in range(2)] == [200, 413]


def test_headers_without_end_are_431(served: Served) -> None:
    client = served.connect()
    client.send(b"GET /v2/a HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 40_000)
    assert client.answer()[0] == 431


@pytest.mark.parametrize(
    "head",
    [b"GET /v2/" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: h\r\n",
     b"GET /v2/a HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 40_000 + b"\r\n",
     b"GET /v2/a HTTP/1.1\r\nHost: h\r\n" + b"a:b\r\n" * 7_000,
     b"POST /v2/a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\nX:"
     + b"x" * 40_000 + b"\r\n"],
    ids=["line", "header", "headers", "expecting"],
)  # fmt: skip
def test_large_headers_that_come_whole_are_431(served: Served, head: bytes) -> None:
    client = served.connect()
    client.send(head + b"\r\n")
    assert client.answer()[0] == 431
    assert client.is_closed()


CHUNKED = b"POST /v2/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"


@pytest.mark.parametrize(
    ("first", "more"),
    [(b"0\r\n", b"T: " + b"t" * 1_000 + b"\r\n"), (b"3\r\nabc\r\n0\r\n", b"a:\r\n" * 200),
     (b"0\r\nT: ", b"t" * 1_000), (b"0\r\n", b"t" * 1_000), (b"0;x=", b"x" * 1_000)],
    ids=["many", "small", "one without end", "a name without end", "of a chunk"],
)  # fmt: skip
def test_trailers_without_end_are_431(served: Served, first: bytes, more: bytes) -> None:
    client = served.connect()
    client.send(CHUNKED + b"\r\n" + first)
    # Of so little all is taken before the answer, wherever it is cut.
    for _ in range(100):
        client.send(more)
    assert client.answer()[0] == 431
    assert client.is_closed()


def test_headers_and_trailers_have_one_limit(served: Served) -> None:
    client = served.connect()
    most = b"x" * 20_000
    for first, last in ((most, b""), (b"", most), (most, most)):
        client.send(CHUNKED + b"X: " + first + b"\r\n\r\n3\r\nabc\r\n")
        client.send(b"0\r\nT: " + last + b"\r\n\r\n")
    assert [client.answer()[0] for _ in range(3)] == [200, 200, 431]


def test_trailers_are_read_and_change_no_header(served: Served) -> None:
    client = served.connect()
    client.send(CHUNKED.replace(b"/x", b"/later") + b"X: head\r\n\r\n3\r\nabc\r\n")
    client.send(b"0\r\nX: trailer\r\nY: z\r\n\r\n" + GET)
    assert served.application.came.acquire(timeout=20)
    (exchange,) = served.application.later
    assert exchange.body == b"abc"
    assert exchange.headers[b"x"] == b"head"
    assert b"y" not in exchange.headers
    served.application.release()
    assert [client.answer()[0] for _ in range(2)] == [200, 200]


def test_the_framing_of_chunks_is_no_header(served: Served) -> None:
    client = served.connect()
    client.send(CHUNKED + b"\r\n")
    for _ in range(100):
        client.send(b"1;x=" + b"x" * 1_000 + b"\r\na\r\n")
    client.send(b"0\r\n\r\n")
    assert client.answer()[2] == b"/v2/x:" + b"a" * 100


@pytest.mark.parametrize(
    "nonsense",
    [b"nonsense\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/9.9\r\n\r\n",
     b"POST /v2/x HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
     b"POST /v2/x HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
     b"POST /v2/x HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc"],
)  # fmt: skip
def test_what_is_no_http_is_400_and_ends_the_connection(served: Served, nonsense: bytes) -> None:
    client = served.connect()
    client.send(nonsense)
    assert client.answer()[0] == 400
    assert client.is_closed()


def test_a_handler_that_fails_is_500_and_the_connection_goes_on(served: Served) -> None:
    client = served.connect()
    client.send(post("/v2/broken", b"") + GET)
    assert [client.answer()[0] for _ in range(2)] == [500, 200]


def test_expect_100_continue_is_told_to_go_on(served: Served) -> None:
    client = served.connect()
    client.send(
        b"POST /v2/x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    )
    assert client.file.readline() == b"HTTP/1.1 100 Continue\r\n"
    assert client.file.readline() == b"\r\n"
    client.send(b"ok")
    assert client.answer()[2] == b"/v2/x:ok"


def test_expect_100_continue_is_told_to_go_on_after_the_answers_before_it(served: Served) -> None:
    client = served.connect()
    client.send(post("/v2/later", b""))
    client.send(b"POST /v2/x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n")
    client.send(b"Expect: 100-continue\r\n\r\n")
    assert served.application.came.acquire(timeout=20)
    served.application.release()
    assert client.answer()[2] == b"late"
    assert client.answer(body=False)[0] == 100
    client.send(b"ok")
    assert client.answer()[2] == b"/v2/x:ok"


EXPECTING = b"POST /v2/x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"


def test_who_waits_to_be_told_to_go_on_is_not_too_slow(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served.server._site, "read_s", 0.1)
    client = served.connect()
    client.send(post("/v2/later", b""))
    client.send(EXPECTING)
    assert served.application.came.acquire(timeout=20)
    (connection,) = served.server._site.connections
    until(lambda: connection._go_ahead_due)
    connection.look(time.monotonic() + 60)
    served.application.release()
    assert client.answer()[2] == b"late"
    assert client.answer(body=False)[0] == 100


class Unsent:
    """A transport some of whose bytes are never taken."""

    def __init__(self, transport: object) -> None:
        self._of = transport

    def __getattr__(self, name: str) -> object:
        return getattr(self._of, name)

    def get_write_buffer_size(self) -> int:
        return 1


def test_who_takes_his_answers_slowly_sends_his_requests_in_time(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served.server._site, "read_s", 0.1)
    client = served.connect()
    client.send(b"GET /v2/large HTTP/1.1\r\nHost: h\r\n\r\n")
    until(lambda: served.application.large > 0)
    (connection,) = served.server._site.connections
    monkeypatch.setattr(connection, "_transport", Unsent(connection._transport))
    client.send(b"POST /v2/x HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhal")
    assert [client.answer()[0] for _ in range(2)] == [200, 408]


def test_a_server_that_stops_tells_nobody_to_go_on(served: Served) -> None:
    client = served.connect()
    client.send(post("/v2/later", b""))
    client.send(EXPECTING)
    assert served.application.came.acquire(timeout=20)
    (connection,) = served.server._site.connections
    until(lambda: connection._go_ahead_due)
    connection.finish()
    served.application.release()
    assert client.answer()[2] == b"late"
    assert client.is_closed()


def test_connection_close_and_http_1_0_end_the_connection(served: Served) -> None:
    for request in (
        b"GET /v2/a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        b"GET /v2/a HTTP/1.0\r\n\r\n",
    ):
        client = served.connect()
        client.send(request)
        assert client.answer()[0] == 200
        assert client.is_closed()


def test_http_1_0_that_asks_to_be_kept_is_told_so(served: Served) -> None:
    client = served.connect()
    for _ in range(2):
        client.send(b"GET /v2/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        status, headers, _ = client.answer()
        assert (status, headers["connection"]) == (200, "keep-alive")
    client.send(GET)
    assert "connection" not in client.answer()[1]


def test_a_client_that_has_no_more_to_send_still_gets_its_answer(served: Served) -> None:
    client = served.connect()
    client.send(post("/v2/later", b""))
    client.socket.shutdown(socket.SHUT_WR)
    assert served.application.came.acquire(timeout=20)
    served.application.release()
    assert client.answer()[2] == b"late"
    assert client.is_closed()


def test_head_has_the_length_and_no_body(served: Served) -> None:
    client = served.connect()
    client.send(b"HEAD /healthz HTTP/1.1\r\nHost: h\r\n\r\n" + GET)
    status, headers, _ = client.answer(body=False)
    assert (status, headers["content-length"]) == (200, "3")
    assert client.answer()[0] == 200


UPGRADE = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
"""What Java's own client asks for with its first request of every plain connection."""


def test_a_request_that_would_be_http_2_is_served_as_it_is(served: Served) -> None:
    client = served.connect()
    client.send(post("/v2/a", b"body", *UPGRADE) + post("/v2/b", b"next"))
    status, headers, body = client.answer()
    assert (status, body) == (200, b"/v2/a:body")
    assert "connection" not in headers
    assert client.answer()[2] == b"/v2/b:next"


def test_it_may_come_byte_by_byte_and_its_body_in_chunks(served: Served) -> None:
    client = served.connect()
    head = "\r\n".join(["POST /v2/a HTTP/1.1", "Host: h", *UPGRADE]).encode()
    for byte in head + b"\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n":
        client.send(bytes([byte]))
    assert client.answer()[2] == b"/v2/a:body"
    client.send(GET)
    assert client.answer()[0] == 200


def test_it_may_end_the_connection_and_wait_for_a_go_ahead(served: Served) -> None:
    client = served.connect()
    head = [
        "POST /v2/a HTTP/1.1",
        "Host: h",
        "Connection: close, Upgrade",
        UPGRADE[1],
        "Content-Length: 4",
    ]
    client.send("\r\n".join([*head, "Expect: 100-continue", "", ""]).encode())
    assert client.answer()[0] == 100
    client.send(b"body")
    assert client.answer()[2] == b"/v2/a:body"
    assert client.is_closed()


def test_many_of_them_at_once_all_find_their_answer(served: Served) -> None:
    client = served.connect()
    client.send(b"".join(post("/v2/a", b"%d" % k, *UPGRADE) for k in range(500)))
    assert [client.answer()[2] for _ in range(500)] == [b"/v2/a:%d" % k for k in range(500)]


def test_a_tunnel_is_answered_and_what_follows_is_not_read(served: Served) -> None:
    client = served.connect()
    client.send(b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\njunk")
    assert client.answer()[0] == 404
    assert client.is_closed()


def test_a_client_that_leaves_is_marked_gone(served: Served) -> None:
    client = served.connect()
    client.send(post("/v2/later", b""))
    assert served.application.came.acquire(timeout=20)
    (exchange,) = served.application.later
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.file.close()
    client.socket.close()
    probe = served.connect()
    while not exchange.gone:
        probe.send(GET)
        probe.answer()
    served.application.release()


def test_a_request_without_a_host_is_refused(served: Served) -> None:
    client = served.connect()
    client.send(b"GET /v2/a HTTP/1.1\r\n\r\n")
    status, _, body = client.answer()
    assert status == 400
    assert "Host" in json.loads(body)["error"]


def test_a_request_has_one_host_and_chunks_are_the_only_coding(served: Served) -> None:
    for headers, wanted in (
        (b"Host: h\r\nHost: i\r\n", (400, "one Host header")),
        (b"Host: h\r\nTransfer-Encoding: gzip, chunked\r\n", (501, "Transfer-Encoding")),
    ):
        client = served.connect()
        client.send(b"POST /v2/a HTTP/1.1\r\n" + headers + b"\r\n0\r\n\r\n")
        status, _, body = client.answer()
        assert status == wanted[0]
        assert wanted[1] in json.loads(body)["error"]


@pytest.mark.parametrize("where", [b"http://h:1", b"HTTPS://h"])
def test_a_target_may_name_scheme_and_host(served: Served, where: bytes) -> None:
    client = served.connect()
    client.send(b"GET %s/v2/a?b=http://c/d HTTP/1.1\r\nHost: h\r\n\r\n" % where)
    assert client.answer()[2] == b"/v2/a?b=http://c/d:"


def test_connections_beyond_the_most_are_told_so_and_beyond_those_are_closed(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "CONNECTIONS", 2)
    monkeypatch.setattr(wire, "REFUSED", 1)
    for _ in range(2):
        client = served.connect()
        client.send(GET)
        assert client.answer()[0] == 200
    told = served.connect()
    status, headers, _ = told.answer()
    assert (status, headers["retry-after"]) == (503, "1")
    assert served.connect().is_closed()
    # Who was told is still there: his answer was not taken away by a reset.
    assert len(served.server._site.connections) == 3


def test_bodies_that_arrive_together_take_bounded_memory(served: Served) -> None:
    head = post("/v2/x", b"x" * BODY_BYTES)[:-BODY_BYTES]
    senders = [served.connect() for _ in range(BODIES)]
    for sender in senders:
        sender.send(head + b"x" * (BODY_BYTES - 1))
    site = served.server._site
    until(lambda: site.body_bytes_held == BODIES * (BODY_BYTES - 1))
    beyond = served.connect()
    beyond.send(head + b"x" * (BODY_BYTES - 1))
    status, headers, _ = beyond.answer()
    assert (status, headers["retry-after"]) == (503, "1")
    senders[0].send(b"x")
    assert senders[0].answer()[0] == 200
    for sender in senders[1:]:
        sender.file.close()
        sender.socket.close()
    until(lambda: site.body_bytes_held == 0)
    other = served.connect()
    other.send(post("/v2/x", b"x" * BODY_BYTES))
    assert other.answer()[0] == 200


def test_bodies_that_wait_for_their_answers_count_as_well(served: Served) -> None:
    site = served.server._site
    waiting = [served.connect() for _ in range(BODIES)]
    for client in waiting:
        client.send(post("/v2/later", b"x" * BODY_BYTES))
    until(lambda: len(served.application.later) == BODIES)
    beyond = served.connect()
    beyond.send(post("/v2/x", b"x"))
    assert beyond.answer()[0] == 503
    waiting[0].socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    waiting[0].file.close()
    waiting[0].socket.close()
    until(lambda: site.body_bytes_held == (BODIES - 1) * BODY_BYTES)
    served.application.release()
    assert [client.answer()[2] for client in waiting[1:]] == [b"late"] * (BODIES - 1)
    assert site.body_bytes_held == 0


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        pause.wait(0.005)


def test_a_request_that_is_never_finished_is_408() -> None:
    served = Served(read_s=0.1)
    try:
        client = served.connect()
        client.send(b"POST /v2/x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab")
        assert client.answer()[0] == 408
    finally:
        served.close()


def test_an_empty_line_begins_no_request() -> None:
    # RFC 9112, section 2.2: some clients send one after a body.
    served = Served(read_s=0.1)
    try:
        client, probe = served.connect(), served.connect()
        client.send(post("/v2/a", b"x") + b"\r\n")
        assert client.answer()[0] == 200
        client.send(b"\r\n")
        probe.send(b"GET /v2/a HTTP/1.1\r\n")
        assert probe.answer()[0] == 408  # A second sweep after it the other is still open.
        again = served.connect()
        again.send(b"GET /v2/a HTTP/1.1\r\n")
        assert again.answer()[0] == 408
        client.send(b"\r\n" + GET)
        assert client.answer()[0] == 200
    finally:
        served.close()


def test_stopping_answers_what_was_asked_and_closes_the_rest() -> None:
    served = Served()
    idle, waiting = served.connect(), served.connect()
    idle.send(GET)
    assert idle.answer()[0] == 200
    waiting.send(post("/v2/later", b""))
    assert served.application.came.acquire(timeout=20)
    stopping = threading.Thread(target=served.server.stop)
    stopping.start()
    assert idle.is_closed()
    served.application.release()
    status, headers, body = waiting.answer()
    assert (status, headers["connection"], body) == (200, "close", b"late")
    assert waiting.is_closed()
    stopping.join(20)
    assert not stopping.is_alive()
    assert served.application.closed
    served.close()


def test_before_the_application_is_there_its_paths_are_503() -> None:
    server = ApplicationServer(
        "127.0.0.1",
        0,
        StatusPages(metrics=lambda: b"", status=lambda: None, clock=ManualClock()),
        application_follows=True,
    )
    server.start()
    try:
        client = Client(server.port)
        client.send(GET)
        status, headers, body = client.answer()
        assert (status, headers["retry-after"]) == (503, "1")
        assert json.loads(body) == {"error": "the service is starting"}
        client.file.close()
        client.socket.close()
    finally:
        server.stop()
