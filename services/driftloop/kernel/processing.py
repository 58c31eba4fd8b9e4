"""From what a poll brought to what is to be written: batches given to the core, those that models
share by models, and rows that name what does not exist made dead letters."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from driftloop.kernel import sharing
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec import wire
from driftloop.kernel.deadletters import dead_letter
from driftloop.kernel.errors import (
    DecodeError,
    LogError,
    RegistryBehindError,
    RegistryUnavailableError,
)
from driftloop.kernel.following import Following
from driftloop.kernel.ports import Clock, RecordBatch
from driftloop.kernel.processor import ControlBehindError, Core, Outputs
from driftloop.kernel.reasons import Reason

_log = logging.getLogger(__name__)
_REGISTRY_S = 60.0
"""For all the batches of a poll, to ask the schema registry and to wait for it: well under
max.poll.interval.ms."""
_REGISTRY_PAUSE_S = 1.0

Together: TypeAlias = Callable[[Sequence[sharing.Shared]], Outputs]


class Processing:
    """Gives a core its batches."""

    def __init__(
        self,
        name: str,
        core: Core,
        together: Together | None,
        catalog: Catalog,
        following: Following,
        clock: Clock,
        emit: Callable[[Outputs], None],
    ) -> None:
        """``name``: the service's. ``together`` takes all batches of a poll that several models
        share, where that is cheaper than one by one; ``core.process`` takes each model's part
        otherwise."""
        self._name = name
        self._core = core
        self._together = together
        self._catalog = catalog
        self._following = following
        self._clock = clock
        self._emit = emit
        self._registry_until = clock.monotonic()

    def take(self, batches: Sequence[RecordBatch]) -> int:
        """Those of one poll. How many runs of one model's rows there were."""
        self._registry_until = self._clock.monotonic() + _REGISTRY_S
        with wire.in_force().asking_within(_REGISTRY_S):
            return self._take(batches)

    def _take(self, batches: Sequence[RecordBatch]) -> int:
        shared: dict[str, list[RecordBatch]] = {}
        runs = 0
        for batch in batches:
            if not self._catalog.shared(batch.topic):
                runs += 1
                self._process(batch)
            elif self._together is None:
                part = self._part([batch])
                runs += len(part.names)
                self._process_parts(part)
            else:
                shared.setdefault(batch.topic, []).append(batch)
        if self._together is not None and shared:
            parted = [self._part(of_topic) for of_topic in shared.values()]
            runs += sum(len(one.names) for one in parted)
            self._process_together(self._together, parted)
        return runs

    def _part(self, batches: Sequence[RecordBatch]) -> sharing.Shared:
        """Batches of a shared topic by models; what belongs to none becomes dead letters."""
        parted = sharing.part(batches)
        if not self._catalog.models.keys() >= set(parted.names):
            # A record stands in the log behind the declaration it belongs to: once all that is
            # there has been read, a name that is not known is none.
            self._following.read_all()
        topic = batches[0].topic
        sharers = {model.name for model in self._catalog.models_of(topic)}
        shared, strangers = parted.among(sharers, batches)
        starts = np.cumsum([0, *map(len, batches)]).tolist()
        letters = []
        for at, name in sorted(strangers.items()):
            which = bisect_right(starts, at) - 1
            error = _stranger(name, topic)
            letters.append(dead_letter(self._name, batches[which], at - starts[which], error))
        self._emit(Outputs(dead_letters=letters))
        return shared

    def _process_parts(self, shared: sharing.Shared) -> None:
        """Model after model, and batch after batch."""
        starts = np.cumsum([0, *map(len, shared.batches)])
        for name, (low, high) in zip(shared.names, pairwise(shared.cuts.tolist()), strict=True):
            rows = shared.rows[low:high]
            cuts = np.searchsorted(rows, starts).tolist()
            for batch, start, (first, last) in zip(
                shared.batches, starts.tolist(), pairwise(cuts), strict=False
            ):
                if first < last:
                    self._process(sharing.take(batch, rows[first:last] - start, name))

    def _process_together(self, together: Together, parted: Sequence[sharing.Shared]) -> None:
        try:
            self._emit(self._tried(partial(together, parted)))
        except ControlBehindError:
            for shared in parted:
                self._process_parts(shared)

    def _process(self, batch: RecordBatch, *, known: bool = False) -> None:
        """Rows that name what the control topics do not have become dead letters; it is looked for
        by halves, for a core that raised has changed nothing. ``known``: all that is there has been
        read."""
        try:
            self._emit(self._tried(partial(self._core.process, batch), known=known))
        except ControlBehindError as error:
            n = len(batch)
            if n == 1:
                why = DecodeError(error.reason, str(error))
                self._emit(Outputs(dead_letters=[dead_letter(self._name, batch, 0, why)]))
                return
            for rows in (np.arange(n // 2), np.arange(n // 2, n)):
                self._process(sharing.take(batch, rows, batch.model), known=True)

    def _tried(self, process: Callable[[], Outputs], *, known: bool = False) -> Outputs:
        """Raises :class:`ControlBehindError` once all control records that are there are known."""
        while True:
            try:
                return process()
            except ControlBehindError:
                if known:
                    raise
                self._following.read_all()
                known = True
            except RegistryUnavailableError as error:
                if self._clock.monotonic() > self._registry_until:
                    if isinstance(error, RegistryBehindError):
                        # A process that started again would know none of the answers.
                        raise LogError(str(error)) from error
                    raise
                _log.warning("%s: %s", self._name, error)
                self._clock.pause(_REGISTRY_PAUSE_S)


def _stranger(name: str, topic: str) -> DecodeError:
    said = (
        f"header {sharing.MODEL_HEADER} names {name!r}, but no such model shares"
        if name
        else (f"no header {sharing.MODEL_HEADER} that names one of the models that share")
    )
    return DecodeError(Reason.UNKNOWN_MODEL, f"{said} the topic {topic!r}")
