"""A loop that runs, for the tests that look at it from outside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from running_loop import RunningLoop, running

DAYS = 120


@pytest.fixture(scope="module")
def running_loop(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLoop]:
    """Six services, ready, and up to ``DAYS`` days of flights that were not sent yet."""
    directory: Path = tmp_path_factory.mktemp("loop")
    with running(kafka, directory, days=DAYS) as loop:
        yield loop
