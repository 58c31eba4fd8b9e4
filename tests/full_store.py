"""A store on a disk without room."""

from __future__ import annotations

from collections.abc import Mapping

from typing_extensions import override

from driftloop.kernel.errors import NoRoomError
from driftloop.kernel.stores import MemoryStore


class FullStore(MemoryStore):
    asked = 0
    """Writes that were refused."""

    @override
    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        self.asked += 1
        raise NoRoomError("no room")
