"""A service's HTTP: health, readiness, metrics and status."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from dataclasses import replace

import orjson
import pytest

from driftloop.adapters.clock import ManualClock
from driftloop.adapters.http import ApplicationServer, StatusPages, StatusServer
from driftloop.kernel.ports import TopicPartition
from driftloop.kernel.service import Status

READY = Status(
    "outcomes",
    "0",
    ready=True,
    busy=False,
    lag=3,
    positions={TopicPartition("m.labels", 1): 42},
    details={"open": {"m": {"labels": 7}}},
)


class Served:
    """A server, and what it is asked about."""

    def __init__(
        self, make: type[StatusServer | ApplicationServer], host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.clock = ManualClock()
        self.status: Status | None = None
        self.pages = StatusPages(
            metrics=lambda: b"driftloop_ready 1\n", status=lambda: self.status, clock=self.clock
        )
        self.server = make(host, port, self.pages)

    def get(self, path: str, method: str = "GET") -> tuple[int, bytes, str]:
        connection = http.client.HTTPConnection(self.server.host, self.server.port, timeout=30)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.getheader("Content-Type", "")
        finally:
            connection.close()


@pytest.fixture(params=[StatusServer, ApplicationServer])
def kind(request: pytest.FixtureRequest) -> type[StatusServer | ApplicationServer]:
    found: type[StatusServer | ApplicationServer] = request.param
    return found


@pytest.fixture
def served(kind: type[StatusServer | ApplicationServer]) -> Iterator[Served]:
    made = Served(kind)
    made.server.start()
    yield made
    made.server.stop()


def test_not_ready_before_the_first_status(served: Served) -> None:
    assert served.get("/readyz")[0] == 503
    assert served.get("/status")[0] == 503


def test_ready_when_the_service_says_so(served: Served) -> None:
    served.status = replace(READY, ready=False)
    assert served.get("/readyz")[0] == 503
    served.status = READY
    assert served.get("/readyz")[0] == 200


def test_alive_while_steps_are_finished(served: Served) -> None:
    assert served.get("/healthz")[0] == 200
    served.clock.advance(121_000)
    code, body, _ = served.get("/healthz")
    assert (code, body) == (503, b"no step finished for 121 s\n")
    served.pages.beat()
    assert served.get("/healthz")[0] == 200


def test_metrics_are_served_as_prometheus_wants_them(served: Served) -> None:
    code, body, content = served.get("/metrics")
    assert (code, body) == (200, b"driftloop_ready 1\n")
    assert content.startswith("text/plain; version=0.0.4")


def test_the_status_names_positions_by_topic_and_partition(served: Served) -> None:
    served.status = READY
    code, body, content = served.get("/status")
    assert code == 200
    assert content.startswith("application/json")
    assert json.loads(body) == {
        "service": "outcomes",
        "instance": "0",
        "ready": True,
        "busy": False,
        "lag": 3,
        "positions": {"m.labels/1": 42},
        "details": {"open": {"m": {"labels": 7}}},
    }


def test_there_is_nothing_else(served: Served) -> None:
    assert served.get("/")[0] == 404


def test_port_0_takes_a_free_one_and_says_which(served: Served) -> None:
    assert served.server.port > 0


def test_only_get_is_answered(served: Served) -> None:
    assert served.get("/healthz", method="POST")[0] == 405


def test_a_port_in_use_is_an_error(
    served: Served, kind: type[StatusServer | ApplicationServer]
) -> None:
    other = Served(kind, port=served.server.port)
    with pytest.raises(OSError, match="in use"):
        other.server.start()
    other.server.stop()


def test_nothing_listens_after_the_stop(kind: type[StatusServer | ApplicationServer]) -> None:
    made = Served(kind)
    made.server.start()
    made.server.stop()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", made.server.port)) != 0


def test_a_service_whose_step_does_not_end_is_not_ready_whatever_it_said(served: Served) -> None:
    served.status = READY
    served.clock.advance(20_000)
    assert served.get("/readyz")[0] == 200
    served.clock.advance(1_000)
    code, body, _ = served.get("/readyz")
    assert (code, body) == (503, b"not ready: no step finished for 21 s\n")
    assert orjson.loads(served.get("/status")[1])["ready"] is False
    assert served.get("/healthz")[0] == 200
    served.pages.beat()
    assert served.get("/readyz")[0] == 200
