"""What tests of every kind share: a real Kafka for the session, and a free port."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Iterator

import pytest

from driftloop.adapters.broker import LocalBroker

# Ignored signals are inherited: started in the background of a script, or by nohup, the suite would
# start processes that cannot be asked to end.
for _number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(
            _number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL
        )


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap servers: ``KAFKA_BOOTSTRAP_SERVERS`` if set, else a local broker's.

    One broker serves the session: a test takes topics and groups of names of its own. Where none
    can be had the tests fail, for a suite that leaves Kafka out would show nothing.
    """
    if given := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        yield given
        return
    directory = tmp_path_factory.mktemp("kafka")
    with LocalBroker(directory) as broker:
        yield broker.bootstrap
    shutil.rmtree(directory / "data", ignore_errors=True)


@pytest.fixture
def free_port() -> int:
    """A loopback port that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
