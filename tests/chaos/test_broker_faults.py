"""Faults of the broker: it stands still, or is gone in the middle of transactions."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.small import SmallLoop, eventually, small_loop

from driftloop.adapters.broker import LocalBroker

pytestmark = [pytest.mark.slow, pytest.mark.kafka, pytest.mark.timeout(900)]

SERVICES = ["inference", "outcomes", "featurestats"]
SILENT_S = 30.0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[LocalBroker]:
    """One of its own: what is done to it would disturb the other tests."""
    with LocalBroker(tmp_path / "broker") as found:
        yield found


def test_a_broker_that_is_silent_for_30_s_is_waited_for(
    broker: LocalBroker, tmp_path: Path
) -> None:
    with small_loop(broker.bootstrap, tmp_path / "loop", SERVICES) as loop:
        loop.send()
        loop.all_predicted()
        loop.all_joined()
        # Under load, so that requests and transactions are under way when it stops.
        sending = threading.Thread(target=lambda: [loop.send() for _ in range(4)])
        sending.start()
        os.kill(broker.pid, signal.SIGSTOP)
        try:
            threading.Event().wait(SILENT_S)
            # Who waits for an answer says so; who has none under way may not have noticed.
            ages = [loop.metric(service, "driftloop_step_age_seconds") for service in SERVICES]
            ready = [loop.metric(service, "driftloop_ready") for service in SERVICES]
            assert max(ages) > SILENT_S / 2
            assert min(ready) == 0.0
        finally:
            os.kill(broker.pid, signal.SIGCONT)
        sending.join()
        loop.all_predicted(180.0)
        loop.all_joined(180.0)
        loop.send()
        loop.all_predicted(120.0)
        loop.all_joined(120.0)
        assert_recovered(loop)
        assert any(word in loop.log_of("inference") for word in ("imed out", "session timed"))


def test_a_broker_stopped_and_started_leaves_no_transaction_undecided(
    broker: LocalBroker, tmp_path: Path
) -> None:
    with small_loop(broker.bootstrap, tmp_path / "loop", SERVICES) as loop:
        for _ in range(3):
            sending = threading.Thread(target=lambda: [loop.send() for _ in range(3)])
            sending.start()
            eventually(lambda: loop.open_transaction(), "a transaction is open", 60.0, 0.0)
            broker.restart()
            sending.join()
            loop.all_predicted(180.0)
            loop.all_joined(180.0)
        eventually(lambda: not loop.open_transaction(), "every transaction is decided", 60.0)
        assert_recovered(loop)


def assert_recovered(loop: SmallLoop) -> None:
    """All services are ready and count what they do."""
    eventually(
        lambda: all(status["ready"] for status in loop.fleet.statuses()), "all are ready", 120.0
    )
    for service in SERVICES:
        assert "crashed;" not in loop.log_of(service), loop.log_of(service)[-3000:]
        eventually(
            lambda service=service: loop.metric(service, "driftloop_ready") == 1.0,
            f"{service} says it is ready",
        )
