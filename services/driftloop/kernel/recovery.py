"""State as a changelog: restored from the compacted changelogs topic, written with the outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

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
        *,
        bytes_at_once: int | None = None,
    ) -> None:
        """``beat`` is called while it waits and reads: that may take long, but it gets on.

        ``bytes_at_once``: for a core whose state may be larger than memory, and that takes it over
        in parts of about this size, in no order. The changelog is then read twice."""
        self._beat = beat
        self._bytes_at_once = bytes_at_once
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
        for partition, sources in sorted(wanted.items()):
            if self._bytes_at_once is None:
                owned = self._read(partition, sources)
                for source in sorted(set(sources.values())):
                    self._core.restore(source, owned.get(source, {}))
            else:
                for source, part in self._parts(partition, sources, self._bytes_at_once):
                    self._core.restore(source, part)
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
        owned: dict[TopicPartition, dict[str, bytes]] = {}
        for _, owner, name, value in self._records(partition, sources, self._span(partition)):
            if value is None:
                owned.get(owner, {}).pop(name, None)
            else:
                owned.setdefault(owner, {})[name] = value
        return owned

    def _parts(
        self, partition: int, sources: Mapping[str, TopicPartition], most: int
    ) -> Iterator[tuple[TopicPartition, Mapping[str, bytes]]]:
        """The same in parts of ``most`` bytes, about; where the newest value of each entry lies is
        all that is kept meanwhile."""
        span = self._span(partition)
        newest: dict[str, int] = {}
        for offset, _, name, value in self._records(partition, sources, span):
            if value is None:
                newest.pop(name, None)
            else:
                newest[name] = offset
        parts: dict[TopicPartition, dict[str, bytes]] = {}
        size = 0
        for offset, owner, name, value in self._records(partition, sources, span):
            if value is None or newest.get(name) != offset:
                continue
            parts.setdefault(owner, {})[name] = value
            size += len(value)
            if size >= most:
                yield from parts.items()
                parts, size = {}, 0
        yield from parts.items()

    def _span(self, partition: int) -> tuple[int, int]:
        """First offset, and the one after the last that is decided."""
        source = TopicPartition(self._topics.changelogs, partition)
        end = self._stable_end(source)
        return self._log.start_offsets([source.topic]).get(source, 0), end

    def _records(
        self, partition: int, sources: Mapping[str, TopicPartition], span: tuple[int, int]
    ) -> Iterator[tuple[int, TopicPartition, str, bytes | None]]:
        """Offset, owner, name and value of each record that has an owner."""
        prefix = f"{self._service}/".encode()
        for batch in self._log.read(TopicPartition(self._topics.changelogs, partition), *span):
            self._beat()
            for offset, key, value in zip(batch.offsets, batch.keys, batch.values, strict=True):
                if key is None or not key.startswith(prefix):
                    continue
                name = key[len(prefix) :].decode()
                owner = _owner(name, sources)
                if owner is not None:
                    yield offset, owner, name, value

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
