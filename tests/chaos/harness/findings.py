"""What the verdict counts, and the first examples of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

_EXAMPLES = 10


@dataclass(slots=True)
class Findings:
    """All counts are 0 where the log is exact."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def lost(self, what: str, count: int = 1) -> None:
        """Something that should be in the log is not."""
        self._add("lost", what, count)

    def duplicated(self, what: str, count: int = 1) -> None:
        """Something is in the log more than once."""
        self._add("duplicated", what, count)

    def misversioned(self, what: str, count: int = 1) -> None:
        """A score that the version named did not give, or a version that should not serve then."""
        self._add("misversioned", what, count)

    def mismatched(self, what: str, count: int = 1) -> None:
        """Something does not follow from what it was made of."""
        self._add("mismatched", what, count)

    def unaccounted(self, what: str) -> None:
        """A label that is not what it must have become: an outcome, a dead letter, or a repeat."""
        self._add("labels_unaccounted", what, 1)

    def once(self, what: str, keys: Iterable[object]) -> None:
        """Every key may be there but once."""
        for key, times in Counter(keys).items():
            if times > 1:
                self.duplicated(f"{what} {key}", times - 1)

    def details(self) -> list[str]:
        return [f"{kind}: {text}" for kind, texts in self.examples.items() for text in texts]

    def _add(self, kind: str, what: str, count: int) -> None:
        if count == 0:
            return
        self.counts[kind] += count
        known = self.examples.setdefault(kind, [])
        if len(known) < _EXAMPLES:
            known.append(what if count == 1 else f"{what} ({count} times)")
