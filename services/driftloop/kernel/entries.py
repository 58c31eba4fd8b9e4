"""State as named entries, and which of them changed: what a core's ``snapshot`` is made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson


class Entries:
    """JSON values under names that start with their model (``MODEL/...``).

    Finite floats come back bit for bit (shortest round-trip decimals); others must not be stored.
    """

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._changed: set[str] = set()

    def put(self, name: str, value: Any) -> None:
        """Set an entry; it counts as changed only if its bytes differ."""
        encoded = orjson.dumps(value)
        if self._values.get(name) != encoded:
            self._values[name] = encoded
            self._changed.add(name)

    def delete(self, name: str) -> None:
        if self._values.pop(name, None) is not None:
            self._changed.add(name)

    def read(self, model: str) -> Iterator[tuple[str, Any]]:
        """A model's entries in the order of their names: the part after ``MODEL/``, and the
        value."""
        prefix = f"{model}/"
        for name in sorted(self._values):
            if name.startswith(prefix):
                yield name[len(prefix) :], orjson.loads(self._values[name])

    def changes(self) -> Mapping[str, bytes | None]:
        """What changed since the last call; None deletes."""
        changed = {name: self._values.get(name) for name in sorted(self._changed)}
        self._changed.clear()
        return changed

    def load(self, entries: Mapping[str, bytes]) -> list[str]:
        """Take over committed entries, which are no changes. Returns their models, sorted."""
        self._values.update(entries)
        return sorted({model_of(name) for name in entries})

    def forget(self, belongs: Callable[[str], bool]) -> None:
        """Drop the entries of the models that ``belongs`` is true of, changes included."""
        for name in [name for name in self._values if belongs(model_of(name))]:
            del self._values[name]
        self._changed = {name for name in self._changed if not belongs(model_of(name))}


def model_of(name: str) -> str:
    """The model an entry belongs to."""
    return name.split("/", 1)[0]
