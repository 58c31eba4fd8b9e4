"""Brings the join's state to the committed offsets: from the store where it names them, from the
log for what the store lacks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from driftloop.kernel import sharing
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.ports import Log, RecordBatch, TopicPartition
from driftloop.kernel.processor import Outputs
from driftloop.outcomes.core import OutcomesCore

_log = logging.getLogger(__name__)


class JoinRecovery:
    """See :class:`driftloop.kernel.processor.Recovery`.

    The store is written at checkpoints, so after a kill it lags behind the committed offsets:
    the rows between are read again without output. A store that is ahead (a copy from elsewhere)
    or lost is rebuilt from the start of the topics.
    """

    def __init__(
        self,
        log: Log,
        catalog: Catalog,
        core: OutcomesCore,
        group: str,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """``beat`` is called while much is read again: that may take long, but it gets on."""
        self._beat = beat
        self._log = log
        self._catalog = catalog
        self._core = core
        self._group = group

    def recover(self, gained: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        topics = sorted({source.topic for source in gained})
        committed = self._log.committed(self._group, topics)
        starts = self._log.start_offsets(topics)
        positions = {}
        for source in gained:
            positions[source] = committed.get(source, starts.get(source, 0))
        for source in gained:
            models = self._catalog.models_of(source.topic)
            if models and source.topic == models[0].topics.predictions:
                labels = TopicPartition(models[0].topics.labels, source.partition)
                self._recover((source, labels), positions, starts)
        return positions

    def changes(self) -> Outputs:
        return Outputs()

    def _recover(
        self,
        sources: Sequence[TopicPartition],
        positions: Mapping[TopicPartition, int],
        starts: Mapping[TopicPartition, int],
    ) -> None:
        """Predictions and labels of one partition."""
        if any(self._core.reflected(source) > positions[source] for source in sources):
            _log.warning("%s: the state is another's, or ahead of the log; rebuilt", sources[0])
            self._core.wipe(sources[0], self._beat)
        for source in sources:
            start = max(self._core.reflected(source), starts.get(source, 0))
            if start >= positions[source]:
                continue
            _log.info("%s: reading %d to %d again", source, start, positions[source])
            for batch in self._log.read(source, start, positions[source]):
                # Without output: these rows' outcomes are in the log already.
                for part in self._parts(batch):
                    self._core.replay(part)
                self._core.checkpoint_if_large()
                self._beat()
        self._core.resume(sources[0])

    def _parts(self, batch: RecordBatch) -> Sequence[RecordBatch]:
        if not self._catalog.shared(batch.topic):
            return [batch]
        # As when they were read first: who names a model that does not share the topic is nobody's.
        sharers = {model.name for model in self._catalog.models_of(batch.topic)}
        parts = sharing.part([batch]).parts
        return [
            sharing.take(batch, rows, name)
            for name, rows in sorted(parts.items())
            if name in sharers
        ]
