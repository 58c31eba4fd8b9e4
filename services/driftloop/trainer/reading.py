"""Which rows a run learns from, and how they are read from the log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from driftloop.kernel import sharing
from driftloop.kernel.codec.blocks import OutcomeBlock
from driftloop.kernel.codec.reshape import take
from driftloop.kernel.codec.rows import decode_outcomes
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.errors import TrainingError
from driftloop.kernel.ports import Log, TopicPartition
from driftloop.kernel.records import OffsetRange, Run
from driftloop.trainer.rows import TrainingRows


@dataclass(frozen=True, slots=True)
class Reading:
    """The outcomes a run names: those of its offset ranges with outcome time in its period."""

    model: str
    shared: bool
    """Whether records of other models lie among its own."""
    scores: int
    numeric: int
    categorical: int
    """Numbers of columns."""
    sources: tuple[OffsetRange, ...]
    period_start: int
    period_end: int

    @classmethod
    def of(cls, model: Declaration, run: Run) -> Reading:
        """What ``run`` names, of the model as it is declared."""
        return cls(
            model.name,
            bool(model.topics.shared),
            model.scores,
            len(model.numeric),
            len(model.categorical),
            run.sources,
            run.period_start,
            run.period_end,
        )

    def rows(self, log: Log, progress: Callable[[int], None] = lambda read: None) -> TrainingRows:
        """Read them; ``progress`` is told how many outcomes have been read so far.

        Raises :class:`TrainingError` when the log no longer holds them, or one cannot be read.
        """
        blocks: list[OutcomeBlock] = []
        read = 0
        starts = log.start_offsets([source.topic for source in self.sources])
        for source in self.sources:
            partition = TopicPartition(source.topic, source.partition)
            if starts.get(partition, source.end) > source.start:
                raise TrainingError(
                    f"{source.topic}/{source.partition} no longer holds offsets from "
                    f"{source.start}: let outcomes be kept longer (retention.ms of the topic)"
                )
            for everyones in log.read(partition, source.start, source.end):
                batch = sharing.named(self.model, everyones) if self.shared else everyones
                block, _, rejected = decode_outcomes(
                    batch.values,
                    scores=self.scores,
                    numeric=self.numeric,
                    categorical=self.categorical,
                )
                if rejected:
                    bad = rejected[0]
                    raise TrainingError(
                        f"{source.topic}/{source.partition} offset {batch.offsets[bad.row]}: "
                        f"{bad.error}"
                    )
                times = block.outcome_time
                chosen = np.flatnonzero((times >= self.period_start) & (times < self.period_end))
                blocks.append(take(block, chosen))
                read += len(chosen)
                progress(read)
        return TrainingRows.from_outcomes(blocks)
