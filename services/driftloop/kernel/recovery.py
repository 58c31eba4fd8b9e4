"""State as a changelog: restored from the compacted changelogs topic, written with the outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from driftloop.kernel.errors import LogUnavailableError
from driftloop.kernel.ports import Clock, Log, Send, TopicPartition
from driftloop.kernel.processor import Core, Outputs
from driftloop.kernel.topics import ControlTopics

_DEADLINE_S = 60.0
_LOOK_EVERY_S = 0.02

Scope = Callable[[TopicPartition], Sequence[tuple[int, str]]]
"""Source partition to where its state lies: changelog partitions and prefixes of its entries' keys
(``MODEL/.../``, or nothing where a partition is all its own), one for each model that has records
there; none for a source that owns no state (a companion)."""


class NoState:
    """For a core whose only state is its position."""

    def recover(self, gained: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return {}

    def changes(self) -> Outputs:
        return Outputs()


class ChangelogRecovery:
    """State entries under ``SERVICE/ENTRY``; the entry's first part is its model.

    Offsets and state are committed in one transaction, but its markers reach the partitions one by
    one. Restoring therefore waits until whatever was written to the changelog before is decided;
    the group's offsets are asked for after that, and the broker tells only stable ones.
    """

    def __init__(
        self,
        log: Log,
        clock: Clock,
        topics: ControlTopics,
        service: str,
        core: Core,
        scope: Scope,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """``beat`` is called while it waits and reads: that may take long, but it gets on."""
        self._beat = beat
        self._log = log
        self._clock = clock
        self._topics = topics
        self._service = service
        self._core = core
        self._scope = scope

    def recover(self, gained: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        wanted: dict[int, dict[str, TopicPartition]] = {}
        for source in gained:
            scopes = self._scope(source)
            if scopes:
                self._core.drop(source)
            for partition, prefix in scopes:
                wanted.setdefault(partition, {})[prefix] = source
        # One changelog partition after the other: all together may take more than there is memory.
        for partition, sources in sorted(wanted.items()):
            owned = self._read(partition, sources)
            for source in sorted(set(sources.values())):
                self._core.restore(source, owned.get(source, {}))
        return {}

    def changes(self) -> Outputs:
        by_partition: dict[int, tuple[list[bytes | None], list[bytes | None]]] = {}
        for entry, value in self._core.snapshot().items():
            partition = self._topics.partition(entry.split("/", 1)[0])
            keys, values = by_partition.setdefault(partition, ([], []))
            keys.append(f"{self._service}/{entry}".encode())
            values.append(value)
        return Outputs(
            [
                Send(self._topics.changelogs, keys, values, partition)
                for partition, (keys, values) in sorted(by_partition.items())
            ]
        )

    def _read(
        self, partition: int, sources: Mapping[str, TopicPartition]
    ) -> Mapping[TopicPartition, Mapping[str, bytes]]:
        """The entries of a changelog partition by the source that ``sources`` has for what their
        keys begin with."""
        source = TopicPartition(self._topics.changelogs, partition)
        end = self._stable_end(source)
        start = self._log.start_offsets([source.topic]).get(source, 0)
        prefix = f"{self._service}/".encode()
        owned: dict[TopicPartition, dict[str, bytes]] = {}
        for batch in self._log.read(source, start, end):
            self._beat()
            for key, value in zip(batch.keys, batch.values, strict=True):
                if key is None or not key.startswith(prefix):
                    continue
                name = key[len(prefix) :].decode()
                owner = _owner(name, sources)
                if owner is None:
                    continue
                if value is None:
                    owned.get(owner, {}).pop(name, None)
                else:
                    owned.setdefault(owner, {})[name] = value
        return owned

    def _stable_end(self, source: TopicPartition) -> int:
        """The end of the changelog once all that was written before this call is decided.

        A dead process's open transaction is aborted when it restarts or times out.
        """
        written = self._log.high_watermarks([source.topic])[source]
        deadline = self._clock.monotonic() + _DEADLINE_S
        while (stable := self._log.end_offsets([source.topic])[source]) < written:
            if self._clock.monotonic() > deadline:
                raise LogUnavailableError(
                    f"{source.topic}/{source.partition} has had a transaction open for more than "
                    f"{_DEADLINE_S:g} s; state cannot be restored behind it"
                )
            self._beat()
            self._clock.pause(_LOOK_EVERY_S)
        return stable


def _owner(name: str, sources: Mapping[str, TopicPartition]) -> TopicPartition | None:
    """Prefixes end where a part of the name does: at a slash, or before all of it."""
    end = 0
    while True:
        owner = sources.get(name[:end])
        if owner is not None:
            return owner
        end = name.find("/", end) + 1
        if not end:
            return None
