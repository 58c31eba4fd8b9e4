"""The control topics, read into the catalog."""

from __future__ import annotations

from collections.abc import Mapping

from driftloop.kernel.catalog import Catalog
from driftloop.kernel.errors import LogUnavailableError
from driftloop.kernel.ports import Clock, Log, TopicPartition

_DEADLINE_S = 60.0
_POLL_S = 0.05


class Following:
    """Keeps a catalog up."""

    def __init__(self, log: Log, catalog: Catalog, clock: Clock) -> None:
        topics = catalog.topics
        self._catalog = catalog
        self._clock = clock
        self._follower = log.follow([topics.models, topics.versions, topics.deployments])

    def read(self) -> None:
        """What has come."""
        while batches := self._follower.poll(10_000, 0.0):
            for batch in batches:
                self._catalog.apply(batch)

    def read_all(self) -> None:
        """All that is there now, however long it takes while some comes. Raises
        :class:`LogUnavailableError`."""
        deadline = self._clock.monotonic() + _DEADLINE_S
        timeout_s = 0.0
        while True:
            batches = self._follower.poll(10_000, timeout_s)
            for batch in batches:
                self._catalog.apply(batch)
            if batches:
                deadline = self._clock.monotonic() + _DEADLINE_S
            elif self._follower.caught_up():
                return
            elif self._clock.monotonic() > deadline:
                raise LogUnavailableError(
                    f"the control topics have more, but nothing of it came for {_DEADLINE_S:g} s"
                )
            else:
                timeout_s = _POLL_S

    def positions(self) -> Mapping[TopicPartition, int]:
        """Where the reading has come to."""
        return self._follower.positions()

    def close(self) -> None:
        self._follower.close()
