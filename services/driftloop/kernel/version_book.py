"""All versions that the control topic holds: every one for ever, and each with a profile."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping

from typing_extensions import override

from driftloop.kernel.codec.records import codec
from driftloop.kernel.records import Version

_READY = 4
"""Of a model that are kept decoded: its champion, its shadow, the one before, and one more."""

Key = tuple[str, int]
"""Model and number."""


class VersionBook(MutableMapping[Key, Version]):
    """A version retrained every day is a few hundred a year; as objects they take eight times the
    memory of their records. So records are kept, and the newest few asked for of each model beside
    them. Looking up a key and listing all takes no lock: a thread may while another one adds."""

    def __init__(self) -> None:
        self._records: dict[Key, bytes] = {}
        self._ready: dict[str, dict[int, Version]] = {}

    def put(self, record: bytes) -> None:
        """Take in a record. Raises :class:`DecodeError`."""
        version = codec(Version).decode(record)
        self._records[version.model, version.version] = record
        self._keep(version)

    @override
    def __setitem__(self, key: Key, version: Version) -> None:
        self.put(codec(Version).encode(version))

    @override
    def __getitem__(self, key: Key) -> Version:
        model, number = key
        found = self._ready.get(model, {}).get(number)
        if found is None:
            found = codec(Version).decode(self._records[key])
            self._keep(found)
        return found

    @override
    def __delitem__(self, key: Key) -> None:
        del self._records[key]
        self._ready.pop(key[0], None)

    @override
    def __contains__(self, key: object) -> bool:
        return key in self._records

    @override
    def __iter__(self) -> Iterator[Key]:
        return iter(self._records)

    @override
    def __len__(self) -> int:
        return len(self._records)

    def _keep(self, version: Version) -> None:
        known = self._ready.get(version.model, {})
        others = [(number, v) for number, v in known.items() if number != version.version]
        # In one go: another thread may be looking.
        self._ready[version.model] = dict([*others[1 - _READY :], (version.version, version)])
