"""What this process tells of its loading, on the topic ``loads``."""

from __future__ import annotations

from collections import deque

from driftloop.kernel.codec.records import codec
from driftloop.kernel.decisions import Outgoing
from driftloop.kernel.processor import Outputs
from driftloop.kernel.records import Deployment, Load
from driftloop.kernel.topics import ControlTopics

SAY_AGAIN_MS = 10_000
_ERROR_LENGTH = 500


class Reports:
    """Each model's newest :class:`Load`, until a transaction that holds it is through.

    Whoever reads them takes one that comes twice for one, so they need no state of their own: a
    restarted process says where it stands, and what may lie in an aborted transaction is said
    again. What was loaded is told from any thread, and taken up in the one that asks for outputs.
    """

    def __init__(self, topics: ControlTopics, instance: str) -> None:
        self._topics = topics
        self._instance = instance
        # Both ends of a deque may be used by different threads.
        self._heard: deque[tuple[Deployment, int, str]] = deque()
        self._said: dict[str, tuple[int, int]] = {}
        """Deployment and version failed, per model."""
        self._due: dict[str, Load] = {}
        self._sent: dict[str, tuple[Load, int]] = {}
        """What was given out last, and when."""

    def loaded(self, deployment: Deployment) -> None:
        """All that it asks for is loaded."""
        self._heard.append((deployment, -1, ""))

    def failed(self, deployment: Deployment, version: int, error: str) -> None:
        """One of its versions cannot be loaded."""
        self._heard.append((deployment, version, error[:_ERROR_LENGTH]))

    def outputs(self, now: int) -> Outputs:
        """What is to be said now, ms."""
        while self._heard:
            self._put(*self._heard.popleft())
        outgoing = Outgoing()
        sent: list[Load] = []
        for model, load in sorted(self._due.items()):
            before = self._sent.get(model)
            if before is not None and before[0] is load and now < before[1] + SAY_AGAIN_MS:
                continue
            self._sent[model] = (load, now)
            sent.append(load)
            outgoing.add(
                self._topics.loads,
                self._topics.partition(model),
                f"{model}/{self._instance}",
                codec(Load).encode(load),
            )
        if not sent:
            return Outputs()
        return Outputs(outgoing.outputs().sends, committed=lambda now: self._through(sent))

    def _put(self, deployment: Deployment, failed: int, error: str) -> None:
        model = deployment.model
        if self._said.get(model) == (deployment.sequence, failed):
            return
        self._said[model] = (deployment.sequence, failed)
        self._due[model] = Load(
            model,
            self._instance,
            deployment.sequence,
            deployment.champion,
            deployment.shadow,
            failed,
            error,
            deployment.at,
        )

    def _through(self, sent: list[Load]) -> None:
        for load in sent:
            if self._due.get(load.model) is load:
                del self._due[load.model]
                self._sent.pop(load.model, None)
