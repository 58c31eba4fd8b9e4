"""The runner: poll, process, publish, commit, in one transaction where they belong together.

One step and the loop around it are apart, so tests drive steps.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass

from driftloop.kernel import metrics
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.errors import (
    FencedError,
    LogError,
    LogUnavailableError,
)
from driftloop.kernel.following import Following
from driftloop.kernel.lag import Lag
from driftloop.kernel.metrics import Meter
from driftloop.kernel.pauses import Pauses
from driftloop.kernel.pipeline import GAP_S, Inline, Job, Pipeline
from driftloop.kernel.polls import PollSize
from driftloop.kernel.ports import Clock, Log, RecordBatch, Send, TopicPartition
from driftloop.kernel.processing import Processing, Together
from driftloop.kernel.processor import Core, Outputs, Recovery
from driftloop.kernel.rejecting import Rejecting

_log = logging.getLogger(__name__)
_LEAST_PAUSE_S = 0.001
_BATCHES_AHEAD = 4
"""Full batches processed at most before the transaction that holds the first of them is through."""


def _no_companions(topic: str) -> Sequence[str]:
    return ()


@dataclass(frozen=True, slots=True)
class Wiring:
    """What makes a service of a core."""

    name: str
    core: Core
    recovery: Recovery
    lead_topics: Callable[[Catalog], Sequence[str]]
    """Topics the group shares out, given what is declared."""
    companions: Callable[[str], Sequence[str]] = _no_companions
    batch_rows: int = 4096
    """Of a poll at most; more where many models share them, see :class:`PollSize`."""
    process_shared: Together | None = None
    """See :class:`driftloop.kernel.processing.Processing`."""
    gap_s: float = GAP_S
    """Between two transactions, where they are committed beside the processing; see
    :data:`driftloop.kernel.pipeline.GAP_S`."""
    dead_letter_limit: int = 100_000
    """Dead letters this process may write before it stops."""


class Runner:
    """Drives one core. Not for several threads; :meth:`status` may be called from any."""

    def __init__(
        self,
        wiring: Wiring,
        log: Log,
        catalog: Catalog,
        *,
        clock: Clock,
        meter: Meter,
        instance: str,
        committer: Executor | None = None,
    ) -> None:
        """``committer`` has one thread, for the transactions; without one they are committed within
        the step."""
        self.wiring = wiring
        self.catalog = catalog
        self._core = wiring.core
        self._clock = clock
        self._meter = meter
        self._log = log
        self._group = catalog.topics.group(wiring.name)
        self._pending: dict[TopicPartition, int] = {}
        self._sends: list[Send] = []
        self._committed: list[Callable[[int], None]] = []
        self._rows = 0
        """Read since the last job was handed over."""
        self._rejecting = Rejecting(wiring.name, wiring.dead_letter_limit, catalog.topics, meter)
        with ExitStack() as opened:
            self._following = Following(log, catalog, clock)
            opened.callback(self._following.close)
            self._following.read_all()
            # Of the catalog, when its topics were last looked at.
            self._revision = catalog.revision
            self._topics = tuple(wiring.lead_topics(catalog))
            self._session = log.session(
                self._group,
                self._topics,
                instance=instance,
                listener=self,
                companions=wiring.companions,
            )
            opened.pop_all()
        self._pipeline = Pipeline(
            self._session,
            committer or Inline(),
            clock,
            meter,
            gap_s=0.0 if committer is None or isinstance(committer, Inline) else wiring.gap_s,
        )
        self._status: Mapping[TopicPartition, int] = {}
        self._lag = Lag(log, clock, meter)
        self._idle = False
        self._failed = False
        self._joined = False
        self._rewind_due = False
        self._pauses = Pauses()
        self._polls = PollSize(wiring.batch_rows)
        self._polled_at = clock.monotonic()
        self._resume_at = clock.monotonic()
        self._processing = Processing(
            wiring.name,
            wiring.core,
            wiring.process_shared,
            catalog,
            self._following,
            clock,
            self._emit,
        )

    def step(self, timeout_s: float) -> bool:
        """Read, process, and commit when it is due. Whether there was anything to do."""
        try:
            return self._step(timeout_s)
        except BaseException:
            # Whatever was half done must not be committed by leaving the group.
            self._failed = True
            raise

    def _step(self, timeout_s: float) -> bool:
        self._following.read()
        self._resubscribe()
        started = self._clock.monotonic()
        if self.pausing():
            self._clock.pause(min(timeout_s, self._resume_at - started))
            return False
        rewound = False
        batches: Sequence[RecordBatch] = ()
        try:
            self._pipeline.reap()
            early_s = self._polled_at + self._polls.gap_s - started
            if early_s > 0.0:
                self._clock.pause(min(early_s, timeout_s))
            started = self._polled_at = self._clock.monotonic()
            batches = self._session.poll(self._polls.rows, timeout_s)
            if self._rewind_due:
                # What was aborted while partitions left is read again, kept partitions included.
                self._rewind()
                batches, rewound = (), True
            self._take(batches)
            self._emit(self._core.on_time(self._clock.now()))
            if self._staged() and self._core.commit_due(self._clock.now()):
                self._hand_over()
            self._pipeline.hold(_BATCHES_AHEAD * self._polls.rows)
        except (FencedError, LogUnavailableError):
            raise
        except LogError as error:
            pause_s = self._pauses.after_failure(self._pipeline.transactions)
            _log.warning(
                "%s: %s; going back to what was committed, on again in %g s",
                self.wiring.name,
                error,
                pause_s,
            )
            self._rewind()
            self._resume_at = self._clock.monotonic() + pause_s
            batches, rewound = (), True
        self._idle = not (batches or rewound or self._staged() or self._pipeline.busy)
        self._status = self._session.positions()
        self._lag.measure(self._status)
        if batches:
            self._meter.observe(metrics.STEP_SECONDS, [self._clock.monotonic() - started])
        return bool(batches) or rewound

    def pausing(self) -> bool:
        """Whether steps only wait, after a failure."""
        return self._resume_at - self._clock.monotonic() >= _LEAST_PAUSE_S

    def idle(self) -> bool:
        """Whether the last step found nothing to read and left nothing uncommitted."""
        return self._idle

    def positions(self) -> Mapping[TopicPartition, int]:
        """Where the reading has come to, control topics included."""
        return {**self._following.positions(), **self._status}

    def assigned(self) -> bool:
        """Whether the group has given this member its share, or there is nothing to share."""
        return self._joined or not self._topics

    @property
    def lag(self) -> int:
        """Records not read when last measured."""
        return self._lag.rows

    def close(self) -> None:
        """Commit what is open and leave; after a failure, leave without committing."""
        self._session.close()
        self._following.close()

    # The listener's part: called from within the session's poll.

    def on_assigned(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        self._joined = True
        # What comes back is read beside what was kept: that must be of one moment, too.
        self._settle()
        if self._rewind_due:
            # What was kept holds rows of a transaction that was aborted: when the poll is over all
            # that is assigned is recovered, these too.
            return {}
        try:
            return self.wiring.recovery.recover(partitions)
        except (FencedError, LogUnavailableError):
            raise
        except LogError as error:
            # Going back to what was committed would leave them unread: this session does not have
            # them, and the group has given them to it.
            raise LogUnavailableError(f"taking over partitions: {error}") from error

    def on_revoked(self, partitions: Sequence[TopicPartition]) -> None:
        self._settle()
        self._drop(partitions)

    def _settle(self) -> None:
        """Commit what is open, before partitions come or go."""
        if self._failed:
            self._abort()
        else:
            try:
                if self._staged():
                    self._hand_over()
                self._pipeline.drain()
            except LogError as error:
                _log.warning("%s: %s, before a rebalance", self.wiring.name, error)
                self._abort()
                self._rewind_due = True
            except BaseException:
                self._failed = True
                self._abort()
                raise

    def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        self._abort()
        self._rewind_due = True
        self._drop(partitions)

    def on_skipped(self, source: TopicPartition, position: int, start: int) -> None:
        if start > position:
            self._meter.add(metrics.SKIPPED, start - position, source.topic)
            _log.error(
                "%s: offsets %d to %d of %s/%d were deleted before they were read: keep the topic "
                "for longer than the service may be away (retention.ms, retention.bytes)",
                self.wiring.name,
                position,
                start - 1,
                *source,
            )
        else:
            _log.error(
                "%s: %s/%d ends before offset %d, where it had been read to: it was made anew, or "
                "lost its end; it is read from %d on",
                self.wiring.name,
                *source,
                position,
                start,
            )

    def _take(self, batches: Sequence[RecordBatch]) -> None:
        runs = self._processing.take(batches)
        self._polls.took(sum(map(len, batches)), runs)
        for batch in batches:
            self._pending[batch.source] = batch.next_offset
            self._rows += len(batch)
            self._lag.note(batch)
            self._meter.add(metrics.CONSUMED, len(batch), batch.topic)
            self._meter.observe(metrics.BATCH_ROWS, [len(batch)])

    def _emit(self, outputs: Outputs) -> None:
        letters = outputs.dead_letters
        sends = (*outputs.sends, *self._rejecting.sends(letters))
        self._sends += [send for send in sends if len(send)]
        if letters:
            self._committed.append(self._rejecting.counted(letters))
        if outputs.committed is not None:
            self._committed.append(outputs.committed)

    def _staged(self) -> bool:
        return bool(self._pending) or bool(self._sends)

    def _hand_over(self) -> None:
        """Let what was processed be committed; it may be through when this returns, or later."""
        self._emit(self._core.flush())
        self._emit(self.wiring.recovery.changes())
        job = Job(self._sends, self._pending, self._committed, self._rows)
        self._sends, self._pending, self._committed, self._rows = [], {}, [], 0
        self._pipeline.submit(job)
        self._pipeline.reap()

    def _abort(self) -> None:
        if self._staged() or self._pipeline.busy:
            self._meter.add(metrics.ABORTS)
        self._pipeline.reset()
        self._session.abort()
        self._sends, self._pending, self._committed, self._rows = [], {}, [], 0
        self._rejecting.aborted()

    def _rewind(self) -> None:
        """After an aborted transaction: state and positions as they were committed."""
        self._rewind_due = False
        self._abort()
        assigned = sorted(self._session.assignment())
        for source in assigned:
            self._core.drop(source)
        starts = dict(self.wiring.recovery.recover(assigned))
        committed = self._log.committed(self._group, sorted({s.topic for s in assigned}))
        for source in assigned:
            starts.setdefault(source, committed.get(source, 0))
        self._session.seek(starts)

    def _drop(self, partitions: Sequence[TopicPartition]) -> None:
        for source in partitions:
            self._lag.forget(source)
            self._core.drop(source)

    def _resubscribe(self) -> None:
        if self._revision == self.catalog.revision:
            return  # of a thousand models the topics are not looked through at every step
        self._revision = self.catalog.revision
        topics = tuple(self.wiring.lead_topics(self.catalog))
        if topics != self._topics:
            self._topics = topics
            self._session.subscribe(topics)
