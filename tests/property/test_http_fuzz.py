"""Nothing that comes over HTTP crashes or hangs the server: each request becomes an answer."""

from __future__ import annotations

import json
import math
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from driftloop.adapters.clock import ManualClock
from driftloop.adapters.http import ApplicationServer, StatusPages
from driftloop.inference.protocol import encode_answer, parse_request
from driftloop.inference.rows import RowReader, join_features
from driftloop.inference.tensors import NAMES, ProtocolError
from http_builders import MODEL, GatewayBench, Weighted, endpoint, infer_body

READER = RowReader(MODEL, 8)
MODERATE = settings(max_examples=100, deadline=None)
SERVED = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

leaves = (
    st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats() | st.text(max_size=4)
)
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
names = st.sampled_from(["x", "y", "kind", "id", "time", "nonsense"])
shapes = st.sampled_from([[1], [2], [1, 1], [2, 1], [0], [], [9], [-1]])
values = leaves | st.lists(leaves, max_size=2)
entries = st.fixed_dictionaries(
    {"name": names | anything, "datatype": st.sampled_from(NAMES) | anything, "shape": shapes},
    optional={
        "data": st.lists(values, max_size=3) | anything,
        "parameters": st.fixed_dictionaries(
            {}, optional={"binary_data_size": st.integers(-1, 20) | anything}
        ),
    },
)
documents = st.fixed_dictionaries(
    {"inputs": st.lists(entries | anything, max_size=5) | anything},
    optional={
        "id": st.text(max_size=5) | anything,
        "parameters": st.fixed_dictionaries(
            {},
            optional={"event_time": st.integers() | anything, "binary_data_output": anything},
        )
        | anything,
        "outputs": st.lists(
            st.fixed_dictionaries(
                {"name": st.sampled_from(["scores", "version"]) | anything},
                optional={"parameters": anything},
            ),
            max_size=3,
        )
        | anything,
    },
)


def infer(body: bytes, length: bytes | None) -> None:
    """Parse, read, score and encode; a refusal is an answer."""
    try:
        request = parse_request(body, length)
        rows = READER.read(request)
        READER.check_times(rows.times or [0], 1, "as given")
    except ProtocolError as refused:
        if refused.status != 400 or not refused.message:
            raise
        return
    features = join_features([rows])
    assert features.numeric.shape == (rows.count, 2)
    encode_answer(request, "id", "m", 3, Weighted().score(features))


def whole(document: Any) -> bytes:
    return json.dumps(document, allow_nan=True).encode()


@MODERATE
@given(documents)
def test_every_document_is_read_or_refused(document: Any) -> None:
    infer(whole(document), None)


@MODERATE
@given(documents, st.binary(max_size=40), st.integers(-3, 3))
def test_every_document_with_bytes_is_read_or_refused(
    document: Any, blob: bytes, shift: int
) -> None:
    head = whole(document)
    infer(head + blob, b"%d" % max(0, len(head) + shift))


@MODERATE
@given(st.binary(max_size=200), st.none() | st.binary(max_size=6))
def test_every_body_is_read_or_refused(body: bytes, length: bytes | None) -> None:
    infer(body, length)


@MODERATE
@given(st.data())
def test_a_right_request_with_bytes_changed_is_read_or_refused(data: st.DataObject) -> None:
    body = bytearray(infer_body([1.0, 2.0], id="a", parameters={"event_time": 5}))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    infer(bytes(body), None)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = ApplicationServer(
        "127.0.0.1",
        0,
        StatusPages(metrics=lambda: b"", status=lambda: None, clock=ManualClock()),
        body_bytes=5_000,
    )
    server.start()
    server.mount(endpoint(GatewayBench(timeout_s=math.inf)))
    yield server.port
    server.stop()


def spoken(port: int, *parts: bytes) -> bytes:
    """What the server says to these bytes, until it has no more to say."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        try:
            for part in parts:
                client.sendall(part)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # It has closed already.
        said = b""
        try:
            while found := client.recv(65536):
                said += found
        except ConnectionError:
            pass
        return said


def assert_alive(port: int) -> None:
    body = infer_body([2.0], id="alive")
    head = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert spoken(port, head + body).startswith(b"HTTP/1.1 200 OK\r\n")


@SERVED
@given(st.lists(st.binary(max_size=200), max_size=3))
def test_any_bytes_leave_the_server_alive(port: int, parts: list[bytes]) -> None:
    spoken(port, *parts)
    assert_alive(port)


header = st.tuples(
    st.sampled_from(
        [b"Content-Length", b"Transfer-Encoding", b"Expect", b"Connection", b"Content-Encoding",
         b"Inference-Header-Content-Length", b"Upgrade", b"X"]
    ),
    st.sampled_from([b"0", b"3", b"-1", b"99999999999999999999999", b"chunked", b"100-continue",
                     b"close", b"gzip", b"h2c"]) | st.binary(max_size=20),
)  # fmt: skip


@SERVED
@given(
    st.sampled_from([b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"CONNECT", b"FOO"]),
    st.sampled_from(
        [b"/v2", b"/v2/models/m/infer", b"/v2/models/m", b"/metrics", b"*", b"/v2/%zz", b"/v2/%00"]
    )
    | st.binary(max_size=20).map(lambda tail: b"/v2/models/" + tail),
    st.lists(header, max_size=4),
    st.binary(max_size=50),
)
def test_any_request_leaves_the_server_alive(
    port: int, method: bytes, target: bytes, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    lines = [b"%s %s HTTP/1.1" % (method, target), b"Host: h"]
    lines += [b"%s: %s" % pair for pair in headers]
    spoken(port, b"\r\n".join(lines) + b"\r\n\r\n" + body)
    assert_alive(port)


@SERVED
@given(st.binary(min_size=1, max_size=300), st.integers(1, 30))
def test_any_body_is_answered_however_it_is_cut(port: int, body: bytes, size: int) -> None:
    head = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body)
    whole = head + body
    said = spoken(port, *(whole[i : i + size] for i in range(0, len(whole), size)))
    assert said.startswith(b"HTTP/1.1 400 Bad Request\r\n")
