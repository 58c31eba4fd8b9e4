"""What the metrics say of predictions, gathered per model."""

from __future__ import annotations

from driftloop.kernel import metrics
from driftloop.kernel.metrics import Meter

TELL_EVERY_MS = 250


class Tallies:
    """A batch of events may be of a thousand models, a few rows of each: to tell the meter of each
    took as long as to score them. It is told a few times a second, and whenever there is nothing
    else to do."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._rows: dict[tuple[str, int], int] = {}
        """By model and version, since the meter was told."""
        self._newest: dict[str, int] = {}
        """Highest event time seen, per model."""
        self._advanced: set[str] = set()
        self._told = 0
        self._idle = True

    def scored(self, model: str, version: int, rows: int, newest: int) -> None:
        """``rows`` rows of a model by one version, the newest at ``newest`` (event time, ms)."""
        self._idle = False
        key = model, version
        self._rows[key] = self._rows.get(key, 0) + rows
        if newest > self._newest.get(model, 0):
            self._newest[model] = newest
            self._advanced.add(model)

    def tell(self, now: int) -> None:
        """Once a step; ``now`` in ms."""
        if not self._idle and 0 <= now - self._told < TELL_EVERY_MS:
            self._idle = True
            return
        for (model, version), rows in self._rows.items():
            self._meter.add(metrics.PREDICTIONS, rows, model, str(version))
        for model in self._advanced:
            newest = self._newest[model] / 1000
            self._meter.set(metrics.EVENT_TIME, newest, model, "predictions")
        self._rows.clear()
        self._advanced.clear()
        self._told, self._idle = now, True
