"""Scores requests for predictions in micro-batches, and writes each prediction down. Pure but for
the ports it is given: no HTTP, no event loop, no thread.

Whoever drives it calls :meth:`Gateway.submit` for each request and then :meth:`Gateway.run` until
it returns False. What is submitted while a batch is scored is the next batch; so a lone request is
answered at once, and under load the cost of a batch is shared.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from driftloop.inference.jobs import Job, Scored
from driftloop.inference.journal import Journal
from driftloop.inference.protocol import Answer, encode_answer, encode_error
from driftloop.inference.rows import RowReader, join_features
from driftloop.inference.tensors import ProtocolError
from driftloop.inference.versions import NEWEST, RETRY_AFTER_S, LoadingError, Models, chosen
from driftloop.kernel import metrics
from driftloop.kernel.codec.blocks import F64
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.metrics import Meter
from driftloop.kernel.ports import Clock, Outbox

_log = logging.getLogger(__name__)

_UNKNOWN = "unknown"
"""The label of requests for what is no model: what people type must not become series."""
_LOOK_S = 0.1
"""Between two looks at who has waited too long for an acknowledgement."""
_GONE = 499
"""The code under which a request is counted whose client left before it was scored."""


@dataclass(frozen=True, slots=True)
class Limits:
    """See the settings of the same names."""

    rows: int
    queue_rows: int
    timeout_s: float


class Gateway:
    """One per process. Not for several threads."""

    def __init__(
        self, models: Models, outbox: Outbox, clock: Clock, meter: Meter, limits: Limits
    ) -> None:
        self._models = models
        self._journal = Journal(outbox, meter, self._release)
        self._clock = clock
        self._meter = meter
        self._limits = limits
        self._queue: deque[Job] = deque()
        self._queued_rows = 0
        self._held: dict[Job, None] = {}
        self._look_at = 0.0
        """When to look next who of them has waited too long."""
        self._held_rows = 0
        self._parked: dict[tuple[RowReader, int], list[Job]] = {}
        """What is asked about is being loaded."""
        self._parked_rows = 0

    @property
    def unsettled(self) -> bool:
        """Whether :meth:`settle` is to be called again soon."""
        return bool(self._held or self._parked) or self._journal.unsettled

    @property
    def queued(self) -> bool:
        """Whether :meth:`run` is to be called."""
        return bool(self._queue)

    @property
    def holding(self) -> bool:
        """Whether somebody waits for an acknowledgement."""
        return bool(self._held)

    def submit(self, job: Job) -> None:
        """Raises :class:`ProtocolError` where there is no room."""
        waiting = self._waiting_rows()
        if waiting and waiting + job.rows.count > self._limits.queue_rows:
            raise ProtocolError(
                429, f"{waiting} rows are waiting already", retry_after_s=RETRY_AFTER_S
            )
        self._queue.append(job)
        self._queued_rows += job.rows.count

    def run(self) -> bool:
        """Score one batch of each model asked about. Whether more are waiting."""
        groups: dict[tuple[RowReader, int], list[Job]] = {}
        queue = self._queue
        room = self._limits.rows
        now = self._clock.monotonic()
        while queue and (queue[0].rows.count <= room or room == self._limits.rows):
            job = queue.popleft()
            room -= job.rows.count
            self._queued_rows -= job.rows.count
            if job.is_gone():
                self.count(job.reader.declaration, _GONE, [now - job.began])
            elif now - job.began > self._limits.timeout_s:
                self._refuse(job, ProtocolError(503, "it waited too long", retry_after_s=1), now)
            else:
                groups.setdefault((job.reader, job.version), []).append(job)
        for (reader, version), jobs in groups.items():
            try:
                self._answer(reader, version, jobs)
            except LoadingError:
                self._parked.setdefault((reader, version), []).extend(jobs)
                self._parked_rows += sum(job.rows.count for job in jobs)
            except ProtocolError as error:
                self._refuse_all(jobs, error)
            except Exception:
                _log.exception("%s: a batch of requests failed", reader.declaration.name)
                self._refuse_all(
                    jobs, ProtocolError(500, "the server failed to answer; its log says why")
                )
        self._measure()
        return bool(queue)

    def settle(self) -> None:
        """Write down what was answered since the last call, hear what became of the records, and
        answer who waited for it, or has for too long."""
        self._journal.write()
        self._journal.serve()
        now = self._clock.monotonic()
        if now >= self._look_at:
            # They are in no order: who waited for a model to be loaded stands behind younger ones.
            self._look_at = now + _LOOK_S
            for job in [j for j in self._held if now - j.began > self._limits.timeout_s]:
                self._release(job, False)
        self._unpark(now)
        self._measure()

    def close(self, timeout_s: float) -> None:
        """Answer what waits, and have the records written that are not yet."""
        while self._queue:
            self.run()
        parked, self._parked, self._parked_rows = self._parked, {}, 0
        for jobs in parked.values():
            self._refuse_all(jobs, _still_loading(jobs[0]))
        self._journal.close(timeout_s)
        for job in list(self._held):
            self._release(job, False)
        self._measure()

    def count(self, model: Declaration | None, code: int, seconds: Sequence[float]) -> None:
        """Requests that were answered; those that name no model go by :data:`_UNKNOWN`."""
        name, label = (_UNKNOWN, _UNKNOWN) if model is None else (model.name, model.label)
        self._meter.add(metrics.HTTP_REQUESTS, len(seconds), name, str(code))
        self._meter.observe(metrics.HTTP_SECONDS, seconds, label)

    def _answer(self, reader: RowReader, version: int, jobs: list[Job]) -> None:
        model = reader.declaration
        scorer = chosen(self._models, model, version)
        features = join_features([job.rows for job in jobs])
        outside = reader.outside(features.numeric)
        if outside is not None:
            jobs = self._inside(reader, jobs, features.numeric, outside.tolist())
            if not jobs:
                return
            features = join_features([job.rows for job in jobs])
        scores = scorer.champion_model.score(features)
        name, n = model.name, len(scores)
        strict = model.http.strict
        at = 0
        for job in jobs:
            end = at + job.rows.count
            answer = encode_answer(job.request, job.id, model.name, scorer.champion, scores[at:end])
            at = end
            if strict:
                job.held = answer
                self._held[job] = None
                self._held_rows += job.rows.count
            else:
                job.reply(200, answer, 0)
        if not strict:
            now = self._clock.monotonic()
            self.count(model, 200, [now - job.began for job in jobs])
        self._meter.add(metrics.HTTP_ROWS, n, name)
        self._meter.add(metrics.PREDICTIONS, n, name, str(scorer.champion))
        self._meter.observe(metrics.HTTP_BATCH_ROWS, [n], model.label)
        self._journal.add(Scored(reader, scorer, jobs, scores, features))

    def _release(self, job: Job, acknowledged: bool) -> None:
        """Answer a job that was held, once."""
        if job not in self._held:
            return
        now = self._clock.monotonic()
        name = job.reader.declaration.name
        if not acknowledged or job.held is None:
            why = f"model {name!r} is strict, and Kafka has not taken the prediction"
            self._refuse(job, ProtocolError(503, why, retry_after_s=RETRY_AFTER_S), now)
            return
        del self._held[job]
        self._held_rows -= job.rows.count
        job.reply(200, job.held, 0)
        self.count(job.reader.declaration, 200, [now - job.began])

    def _unpark(self, now: float) -> None:
        """Queue who waited for what is loaded now, and refuse who has waited too long."""
        for (reader, version), jobs in list(self._parked.items()):
            late = [job for job in jobs if now - job.began > self._limits.timeout_s]
            waiting = [job for job in jobs if now - job.began <= self._limits.timeout_s]
            try:
                chosen(self._models, reader.declaration, version)
            except LoadingError:
                self._refuse_all(late, _still_loading(jobs[0]))
            except ProtocolError as error:
                self._refuse_all(jobs, error)
                waiting = []
            else:
                # Who has waited too long is refused there, as anyone else.
                self._queue.extend(jobs)
                self._queued_rows += sum(job.rows.count for job in jobs)
                waiting = []
            self._parked_rows += sum(job.rows.count for job in waiting)
            self._parked_rows -= sum(job.rows.count for job in jobs)
            if waiting:
                self._parked[reader, version] = waiting
            else:
                del self._parked[reader, version]

    def _waiting_rows(self) -> int:
        return self._queued_rows + self._held_rows + self._parked_rows

    def _inside(
        self, reader: RowReader, jobs: Sequence[Job], numeric: F64, outside: list[int]
    ) -> list[Job]:
        """The jobs whose numbers are all within their limits; the others are refused."""
        good = []
        at = 0
        now = self._clock.monotonic()
        for job in jobs:
            end = at + job.rows.count
            row = next((row for row in range(at, end) if outside[row] >= 0), None)
            if row is None:
                good.append(job)
            else:
                column = outside[row]
                error = reader.limits_error(row - at, column, float(numeric[row, column]))
                self._refuse(job, error, now)
            at = end
        return good

    def _refuse_all(self, jobs: Sequence[Job], error: ProtocolError) -> None:
        now = self._clock.monotonic()
        for job in jobs:
            self._refuse(job, error, now)

    def _refuse(self, job: Job, error: ProtocolError, now: float) -> None:
        if job in self._held:
            del self._held[job]
            self._held_rows -= job.rows.count
        job.reply(error.status, Answer(encode_error(error.message)), error.retry_after_s)
        self.count(job.reader.declaration, error.status, [now - job.began])

    def _measure(self) -> None:
        self._meter.set(metrics.HTTP_QUEUE_ROWS, self._waiting_rows())
        self._meter.set(metrics.HTTP_UNACKNOWLEDGED, self._journal.unacknowledged)


def _still_loading(job: Job) -> ProtocolError:
    which = "" if job.version == NEWEST else f"version {job.version} of "
    why = f"{which}model {job.reader.declaration.name!r} is being loaded, for longer than it may"
    return ProtocolError(503, f"{why} take; ask again", retry_after_s=RETRY_AFTER_S)
