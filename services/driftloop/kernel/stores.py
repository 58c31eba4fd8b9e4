"""A key-value store for state too large for memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol


class KeyValueStore(Protocol):
    """Keys and values are bytes; a write is atomic."""

    def get_many(self, keys: Sequence[bytes]) -> Sequence[bytes | None]: ...

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Put, or delete where the value is None; all or nothing."""
        ...

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Entries with start <= key < end, ascending."""
        ...

    def close(self) -> None: ...


class MemoryStore:
    """A dict. For tests and the loop in one process."""

    def __init__(self) -> None:
        self._entries: dict[bytes, bytes] = {}

    def get_many(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        return [self._entries.get(key) for key in keys]

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        for key, value in changes.items():
            if value is None:
                self._entries.pop(key, None)
            else:
                self._entries[key] = value

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        # As it is when the reading begins, whatever is written meanwhile.
        yield from sorted(entry for entry in self._entries.items() if start <= entry[0] < end)

    def close(self) -> None:
        """Nothing to let go of."""


class Section:
    """The entries of another store whose keys begin with a prefix, without it. What it is a section
    of is closed by whoever made that."""

    def __init__(self, store: KeyValueStore, prefix: bytes) -> None:
        """``prefix``: none of the store's sections begins with another's."""
        self._store = store
        self._prefix = prefix

    def get_many(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        return self._store.get_many([self._prefix + key for key in keys])

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        self._store.write({self._prefix + key: value for key, value in changes.items()})

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        cut = len(self._prefix)
        for key, value in self._store.scan(self._prefix + start, self._prefix + end):
            yield key[cut:], value

    def close(self) -> None:
        """Nothing to let go of."""
