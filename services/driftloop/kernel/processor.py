"""What a service's core is: plain state and functions, driven by the runner."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from driftloop.kernel.errors import DriftloopError
from driftloop.kernel.ports import RecordBatch, Send, TopicPartition
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import DeadLetter


class ControlBehindError(DriftloopError):
    """A row names something (a model, a version) that the control topics have not shown yet.

    The log holds it already, since it was written before the row: the runner reads on in the
    control topics and gives the same batch again. Where all that is there has been read, rows that
    name it become dead letters. A core raises it before it changes any state.
    """

    def __init__(self, message: str, reason: Reason = Reason.UNKNOWN_MODEL) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a core wants written, in order."""

    sends: Sequence[Send] = ()
    dead_letters: Sequence[DeadLetter] = ()
    committed: Callable[[int], None] | None = None
    """Called when the transaction that holds them is through, with the time it was, ms. Never
    called for outputs that were aborted."""

    def __bool__(self) -> bool:
        """Whether there is something to write."""
        return bool(self.sends) or bool(self.dead_letters)


class Core(Protocol):
    """Deterministic: the same batches give the same outputs, whatever the batching.

    Batches are processed while the outputs of earlier ones are being committed; when that fails,
    every source is dropped and restored. State is a mapping of entries, each belonging to one model
    (``MODEL/...``). The runner writes the changed ones to the changelogs topic in the transaction
    of the outputs and offsets.
    """

    def process(self, batch: RecordBatch) -> Outputs: ...

    def on_time(self, now: int) -> Outputs:
        """Called at every step with processing time, ms. Decides when, never what."""
        ...

    def commit_due(self, now: int) -> bool:
        """Whether what was processed should be committed now."""
        ...

    def flush(self) -> Outputs:
        """What must go into the commit that follows."""
        ...

    def snapshot(self) -> Mapping[str, bytes | None]:
        """Entries changed since the last call; None deletes."""
        ...

    def restore(self, source: TopicPartition, entries: Mapping[str, bytes]) -> None:
        """Take over ``source`` with the state its last owner committed. Comes after :meth:`drop`;
        once for each partition of the changelog that the state lies in, or for each part of it."""
        ...

    def drop(self, source: TopicPartition) -> None:
        """Forget ``source``: it left, or its uncommitted work was aborted."""
        ...


class Recovery(Protocol):
    """Brings a core to the state that was committed for the partitions it gains."""

    def recover(self, gained: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Restore, and say where to read on; the group's committed offset where it says nothing."""
        ...

    def changes(self) -> Outputs:
        """What belongs into the transaction that is about to commit."""
        ...
