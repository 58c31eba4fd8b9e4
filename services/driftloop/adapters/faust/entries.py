"""Where a table's entries lie, in place of Faust's dictionary."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from itertools import islice
from typing import Any

from faust.stores import memory
from faust.types import TP
from typing_extensions import override

from driftloop.kernel.stores import KeyValueStore

_DELETED_AT_ONCE = 10_000


class TableEntries:
    """The entries by partition, in a store that is empty at first and nobody else's."""

    def __init__(self, store: KeyValueStore) -> None:
        self._store = store
        self._partitions: set[int] = set()
        self._failure: Exception | None = None

    def check(self) -> None:
        """Raise what kept an entry of the changelog from being stored."""
        if self._failure is not None:
            raise self._failure

    def restore(self, partition: int, changes: Mapping[bytes, bytes | None]) -> None:
        """As :meth:`write`, while the changelog is read. What Faust is raised there it logs, and
        goes on with all it has read so far and the next record: here the first failure is kept for
        :meth:`check`."""
        if self._failure is None:
            try:
                self.write(partition, changes)
            except Exception as error:
                self._failure = error

    def write(self, partition: int, changes: Mapping[bytes, bytes | None]) -> None:
        """None deletes."""
        self._partitions.add(partition)
        prefix = _prefix(partition)
        self._store.write({prefix + key: value for key, value in changes.items()})

    def of(self, partition: int) -> Iterable[tuple[bytes, bytes]]:
        """Read anew each time it is iterated over."""
        return _Entries(self._store, _prefix(partition), _end(partition))

    def keep(self, partitions: Set[int]) -> None:
        """Delete the entries of all others."""
        for partition in self._partitions - partitions:
            at, end = _prefix(partition), _end(partition)
            # On from the last: what was deleted before it still takes time to pass over.
            while keys := [key for key, _ in islice(self._store.scan(at, end), _DELETED_AT_ONCE)]:
                self._store.write(dict.fromkeys(keys))
                at = keys[-1]
        self._partitions &= partitions


@dataclass(frozen=True, slots=True)
class _Entries:
    store: KeyValueStore
    prefix: bytes
    end: bytes

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        cut = len(self.prefix)
        for key, value in self.store.scan(self.prefix, self.end):
            yield key[cut:], value


class FaustStore(memory.Store):  # type: ignore[misc]
    """What the recovery of a table fills. It knows no offsets, as the store in memory: after a
    rebalance the changelog is read from where Faust itself knows that it stood."""

    entries: TableEntries

    @override
    def apply_changelog_batch(
        self,
        batch: Iterable[Any],
        to_key: Callable[[Any], Any],
        to_value: Callable[[Any], Any],
    ) -> None:
        changes: dict[int, dict[bytes, bytes | None]] = {}
        for event in batch:
            message = event.message
            changes.setdefault(message.partition, {})[message.key] = message.value
        for partition, changed in changes.items():
            self.entries.restore(partition, changed)

    @override
    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """Who reads the entries asks for those of the partitions he has."""


def _prefix(partition: int) -> bytes:
    return b"%08d\x00" % partition


def _end(partition: int) -> bytes:
    """Behind all keys that begin with the prefix."""
    return b"%08d\x01" % partition
