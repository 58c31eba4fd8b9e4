"""Transactions beside the processing: while one is committed, the next batches are worked on.

What is handed over waits until the transaction before is through; whatever else was handed over by
then goes into the same one. So a lone record is committed at once, and a backlog in transactions
that grow with the load.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from driftloop.kernel import metrics
from driftloop.kernel.metrics import Meter
from driftloop.kernel.ports import Clock, Send, Session, TopicPartition

GAP_S = 0.02
"""Between the end of one transaction and the beginning of the next, unless much waits: each costs
the broker about a millisecond, however small it is. The first after a pause begins at once."""
_MANY_ROWS = 16_384
_LOOK_S = 0.005
_MOST_ROWS = 100_000
"""Of one transaction: a broker that aborts it must not have to forget too much."""


@dataclass(frozen=True, slots=True)
class Job:
    """Outputs, and the offsets of the inputs they were made of."""

    sends: Sequence[Send]
    positions: Mapping[TopicPartition, int]
    committed: Sequence[Callable[[int], None]]
    """Called when the transaction is through, with the time it was, ms."""
    rows: int
    """Of the inputs."""


@dataclass(frozen=True, slots=True)
class _Through:
    jobs: Sequence[Job]
    at: int
    seconds: float


class Pipeline:
    """One session's transactions, in the order of the jobs. All methods are for one thread, which
    polls the session; ``executor`` has one thread of its own, or runs everything at once."""

    def __init__(
        self,
        session: Session,
        executor: Executor,
        clock: Clock,
        meter: Meter,
        *,
        gap_s: float = 0.0,
    ) -> None:
        self._gap_s = gap_s
        self._hurry = False
        self._next_at = clock.monotonic()
        self._session = session
        self._executor = executor
        self._clock = clock
        self._meter = meter
        # Both ends of a deque may be used by different threads.
        self._waiting: deque[Job] = deque()
        self._through: deque[_Through] = deque()
        self._failure: BaseException | None = None
        self._futures: deque[Future[None]] = deque()
        self.rows = 0
        """Input rows handed over and not known to be committed."""
        self.transactions = 0
        """Known to be through."""

    @property
    def busy(self) -> bool:
        """Whether something was handed over that is not known to be committed."""
        return bool(self._futures or self._through or self._failure is not None)

    def submit(self, job: Job) -> None:
        """Hand a job over; it is committed with those that wait, or after them."""
        self.rows += job.rows
        self._waiting.append(job)
        self._futures.append(self._executor.submit(self._work))

    def reap(self) -> None:
        """Take note of what is through. Raises what made a transaction fail: then nothing more is
        committed until :meth:`reset`."""
        while self._futures and self._futures[0].done():
            self._futures.popleft().result()
        self._note()
        if self._failure is not None:
            raise self._failure

    def _note(self) -> None:
        """What is through."""
        while self._through:
            through = self._through.popleft()
            self.transactions += 1
            self._meter.observe(metrics.COMMIT_SECONDS, [through.seconds])
            produced: dict[str, int] = {}
            for job in through.jobs:
                self.rows -= job.rows
                for send in job.sends:
                    produced[send.topic] = produced.get(send.topic, 0) + len(send)
                for callback in job.committed:
                    callback(through.at)
            for topic, count in produced.items():
                self._meter.add(metrics.PRODUCED, count, topic)

    def hold(self, rows: int) -> None:
        """Wait until at most so many rows are on their way. Raises as :meth:`reap`."""
        while self.rows > rows and self._futures:
            wait([self._futures[0]])
            self.reap()

    def drain(self) -> None:
        """Wait until everything is through. Raises as :meth:`reap`."""
        self._hurry = True
        wait(self._futures)
        self._hurry = False
        self.reap()

    def reset(self) -> None:
        """Forget what is not through, and why."""
        self._waiting.clear()
        self._hurry = True
        wait(self._futures)
        self._hurry = False
        self._futures.clear()
        self._note()
        self._failure = None
        self.rows = 0

    def _work(self) -> None:
        while (
            self._waiting
            and not self._hurry
            and self._clock.monotonic() < self._next_at
            and self.rows < _MANY_ROWS
        ):
            self._clock.pause(_LOOK_S)
        jobs: list[Job] = []
        rows = 0
        while rows < _MOST_ROWS and self._failure is None:
            try:
                jobs.append(self._waiting.popleft())
            except IndexError:
                break
            rows += jobs[-1].rows
        if not jobs:
            return
        started = self._clock.monotonic()
        try:
            self._session.begin()
            positions: dict[TopicPartition, int] = {}
            for job in jobs:
                for send in job.sends:
                    self._session.send(send)
                positions.update(job.positions)
            self._session.commit(positions)
        except BaseException as error:
            self._failure = error
        else:
            took = self._clock.monotonic() - started
            self._next_at = started + took + self._gap_s
            self._through.append(_Through(jobs, self._clock.now(), took))


class Inline(Executor):
    """Runs what is submitted at once: in one thread nothing is beside the path."""

    @override
    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future
