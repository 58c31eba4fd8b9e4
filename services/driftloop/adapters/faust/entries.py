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

    def write(self, partition: int, changes: Mapping[bytes, bytes | None]) -> None:
        """None deletes."""
        self._partitions.add(partition)
        prefix = _prefix(partition)
        self._store.write({prefix + key: value for key, value in changes.items()})

    def of(self, partition: int) -> Iterable[tuple[bytes, bytes]]:
        """Read anew each time it is iterated over."""
        return _Entries(self._store, _prefix(partition))

    def keep(self, partitions: Set[int]) -> None:
        """Delete the entries of all others."""
        for partition in self._partitions - partitions:
            prefix = _prefix(partition)
            while keys := [prefix + key for key, _ in islice(self.of(partition), _DELETED_AT_ONCE)]:
                self._store.write(dict.fromkeys(keys))
        self._partitions &= partitions


@dataclass(frozen=True, slots=True)
class _Entries:
    store: KeyValueStore
    prefix: bytes

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        cut = len(self.prefix)
        for key, value in self.store.scan(self.prefix, self.prefix[:-1] + b"\x01"):
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
            self.entries.write(partition, changed)

    @override
    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """Who reads the entries asks for those of the partitions he has."""


def _prefix(partition: int) -> bytes:
    return b"%08d\x00" % partition
