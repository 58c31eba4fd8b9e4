"""Whether everything that was sent so far has been acted on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from driftloop.cli.loops import Loop
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.errors import SupervisionError
from driftloop.kernel.ports import Clock
from driftloop.kernel.topics import ControlTopics

_LOOK_S = 0.02


def inputs(topics: ControlTopics, models: Sequence[Declaration]) -> Mapping[str, Sequence[str]]:
    """Service to the topics it must have read to the end."""
    follows = [topics.models, topics.versions, topics.deployments]
    events = [model.topics.events for model in models]
    labels = [model.topics.labels for model in models]
    predictions = [model.topics.predictions for model in models]
    outcomes = [model.topics.outcomes for model in models]
    return {
        "inference": [*follows, *events],
        "outcomes": [*follows, *predictions, *labels],
        "featurestats": [*follows, *predictions, *outcomes, topics.partials],
        "drift": [*follows, topics.windows, topics.loads],
        "trainer": [*follows, topics.windows, topics.alerts, topics.commands],
        "deployer": [*follows, topics.windows, topics.versions, topics.commands],
    }


class Quiescence:
    """Watches one loop. The decision is sound: nothing moves while two looks in a row find every
    topic read to its end, every transaction decided and every service idle."""

    def __init__(self, loop: Loop, models: Sequence[Declaration], clock: Clock) -> None:
        self._loop = loop
        self._clock = clock
        self._inputs = inputs(loop.settings.topics, models)
        self._topics = sorted({topic for topics in self._inputs.values() for topic in topics})
        self._why = ""

    def settle(self, deadline_s: float, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Return when all is acted on. Raises :class:`SupervisionError` saying what is not."""
        deadline = self._clock.monotonic() + deadline_s
        before: Mapping[str, int] | None = None
        while True:
            ends = self._ends()
            if ends is not None and self._all_read(ends):
                if before == ends:
                    return
                before = ends
            else:
                before = None
                self._loop.advance(_LOOK_S)
            meanwhile()
            if self._clock.monotonic() > deadline:
                raise SupervisionError(f"not settled after {deadline_s:g} s: {self._why}")

    def _ends(self) -> Mapping[str, int] | None:
        """End of every partition; None while a transaction is undecided."""
        stable = self._loop.log.end_offsets(self._topics)
        written = self._loop.log.high_watermarks(self._topics)
        for source, end in written.items():
            if stable.get(source) != end:
                self._why = f"{source.topic}/{source.partition} has an open transaction"
                return None
        return {f"{source.topic}/{source.partition}": end for source, end in stable.items()}

    def _all_read(self, ends: Mapping[str, int]) -> bool:
        statuses = self._loop.statuses()
        for status in statuses:
            if not status.get("ready"):
                self._why = f"{status['service']}-{status['instance']} is not ready"
                return False
            if status.get("busy"):
                self._why = f"{status['service']}-{status['instance']} is busy"
                return False
        for service, topics in self._inputs.items():
            positions = _furthest([s for s in statuses if s["service"] == service])
            for source, end in ends.items():
                if source.rpartition("/")[0] in topics and positions.get(source, 0) < end:
                    self._why = f"{service} is at {positions.get(source, 0)} of {end} in {source}"
                    return False
        return True


def _furthest(statuses: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The furthest position of any instance, per partition."""
    found: dict[str, int] = {}
    for status in statuses:
        for source, position in status["positions"].items():
            found[source] = max(found.get(source, 0), position)
    return found
