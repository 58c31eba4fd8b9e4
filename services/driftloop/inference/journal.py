"""Writes predictions made over HTTP down on their topic."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np

from driftloop.inference.core import Serving
from driftloop.inference.jobs import Job, Scored, event_ids, event_times
from driftloop.inference.rows import RowReader, join_features
from driftloop.kernel import metrics, sharing
from driftloop.kernel.codec.blocks import F64, Features, PredictionBlock
from driftloop.kernel.codec.murmur2 import partitions_of
from driftloop.kernel.codec.rows import encode_predictions
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.metrics import Meter
from driftloop.kernel.ports import Outbox, Send

_log = logging.getLogger(__name__)
_MOST_ROWS = 1024
"""So many rows are written down at once, however short the time."""


class Journal:
    """``release`` is told of each job of a strict model whether its records were acknowledged."""

    def __init__(self, outbox: Outbox, meter: Meter, release: Callable[[Job, bool], None]) -> None:
        self._outbox = outbox
        self._meter = meter
        self._release = release
        self._unwritten: list[Scored] = []
        self._unwritten_rows = 0

    @property
    def unacknowledged(self) -> int:
        """Records that Kafka has neither taken nor is waited for any more."""
        return self._outbox.unacknowledged

    @property
    def unsettled(self) -> bool:
        """Whether anything is to be written, or to be heard of."""
        return bool(self._unwritten) or self._outbox.unacknowledged > 0

    def add(self, scored: Scored) -> None:
        """Write these predictions down, soon; of a strict model, where somebody waits, at once."""
        self._unwritten.append(scored)
        self._unwritten_rows += len(scored.scores)
        if scored.reader.declaration.http.strict or self._unwritten_rows >= _MOST_ROWS:
            self.write()

    def serve(self) -> None:
        """Hear what became of the records."""
        self._outbox.serve()

    def close(self, timeout_s: float) -> None:
        """Have everything written."""
        self.write()
        self._outbox.close(timeout_s)

    def write(self) -> None:
        """Encoding costs nearly the same for one row as for a hundred; so what was answered within
        some milliseconds is encoded together, unless somebody waits for it."""
        unwritten, self._unwritten = self._unwritten, []
        self._unwritten_rows = 0
        groups: dict[tuple[RowReader, int, int], list[Scored]] = {}
        for scored in unwritten:
            key = (scored.reader, scored.scorer.champion, id(scored.scorer.shadow_model))
            groups.setdefault(key, []).append(scored)
        for parts in groups.values():
            model = parts[0].reader.declaration
            jobs = [job for part in parts for job in part.jobs]
            try:
                self._send(model, parts, jobs)
            except Exception:
                n = sum(job.rows.count for job in jobs)
                _log.exception("%s: %d predictions could not be logged", model.name, n)
                self._meter.add(metrics.HTTP_NOT_LOGGED, n, model.name)
                for job in jobs:
                    self._release(job, False)

    def _send(self, model: Declaration, parts: Sequence[Scored], jobs: Sequence[Job]) -> None:
        scorer = parts[0].scorer
        if len(parts) == 1:
            features, scores = parts[0].features, parts[0].scores
        else:
            features = join_features([job.rows for job in jobs])
            scores = np.concatenate([part.scores for part in parts])
        n = len(scores)
        ids = event_ids(jobs)
        shadow, shadow_scores = self._shadow(model, scorer, features, scores)
        values = encode_predictions(
            PredictionBlock(
                ids=ids,
                event_time=event_times(jobs),
                version=np.full(n, scorer.champion, np.int32),
                scores=scores,
                features=features,
                shadow_version=np.full(n, shadow, np.int32),
                shadow_scores=shadow_scores,
                # Where an event of this key would have been.
                source_partition=partitions_of(ids, model.partitions),
                source_offset=np.full(n, -1, np.int64),
            )
        )
        topic = model.topics.predictions
        if not model.http.strict:
            send = Send(topic, ids, values, headers=sharing.headers(model, n))
            self._outbox.post(send, self._counting(model.name))
            return
        at = 0
        for job in jobs:
            end = at + job.rows.count
            headers = sharing.headers(model, end - at)
            send = Send(topic, ids[at:end], values[at:end], headers=headers)
            self._outbox.confirm(send, self._releasing(job))
            at = end

    def _shadow(
        self, model: Declaration, scorer: Serving, features: Features, scores: F64
    ) -> tuple[int, F64]:
        """The shadow's version, and its scores as those of the champion; -1 and NaN without one.
        What the champion answered has been answered: a shadow that fails does not take the record
        of it away."""
        if scorer.shadow_model is not None:
            try:
                return scorer.shadow, scorer.shadow_model.score(features)
            except Exception:
                _log.exception("%s: shadow version %d failed", model.name, scorer.shadow)
                self._meter.add(metrics.HTTP_NOT_COMPARED, len(scores), model.name)
        return -1, np.full_like(scores, np.nan)

    def _counting(self, model: str) -> Callable[[int], None]:
        def lost(count: int) -> None:
            if count:
                self._meter.add(metrics.HTTP_NOT_LOGGED, count, model)

        return lost

    def _releasing(self, job: Job) -> Callable[[int], None]:
        count = self._counting(job.reader.declaration.name)

        def settled(lost: int) -> None:
            count(lost)
            self._release(job, not lost)

        return settled
