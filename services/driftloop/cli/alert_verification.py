"""What recomputing an alert found, for people, for JSON and as an exit code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from driftloop.cli.verifying import Verification
from driftloop.kernel.codec.mapping import to_plain

EXIT_CODES = {"verified": 0, "wrong": 1, "not_comparable": 3}
"""Of the command, by outcome; 2 is for wrong options."""
NOTHING_COMPARED = 4
"""The same where there is no such alert, or what it was made from is gone altogether."""
_OUTCOMES = {
    "verified": "verified",
    "wrong": "NOT as recomputed",
    "not_comparable": "cannot be compared",
}
NONE = Verification(0, 0, 0, 0, (), ())
"""Of no windows."""


@dataclass(frozen=True, slots=True)
class AlertVerification:
    """What recomputing an alert found."""

    alert: str
    records: int
    recomputed: int
    """Records that follow from the windows (or loads), field by field."""
    annotations: int
    """Records in which only people had their say."""
    windows: Verification
    """Of the windows that its records name, against the log."""
    others: Verification
    """Of all others of its version so far: they decided with them."""
    problems: tuple[str, ...]
    """One line for each thing that is not as it should be."""
    notes: tuple[str, ...]
    """What could not be compared, and why."""
    uncompared: tuple[str, ...] = ()
    """Why no record could be compared with what its windows lead to; empty where they were."""

    @property
    def ok(self) -> bool:
        return not self.problems and not self.uncompared

    @property
    def outcome(self) -> str:
        """``verified``, ``wrong`` (something is not as recomputed) or ``not_comparable`` (nothing
        is wrong as far as it could be compared)."""
        if self.problems:
            return "wrong"
        return "not_comparable" if self.uncompared else "verified"

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {"ok": self.ok, "outcome": self.outcome, **to_plain(self)}

    def text(self) -> str:
        """For people: what was compared, then what is wrong, then what was left out."""
        lines = [
            f"alert {self.alert}: {_OUTCOMES[self.outcome]}",
            f"  {self.records} records: {self.recomputed} recomputed, {self.annotations} by people",
            f"  {_counted(self.windows, 'windows')}",
            f"  {_counted(self.others, 'other windows of its version')}",
        ]
        lines += [f"  wrong: {problem}" for problem in self.problems]
        lines += [f"  cannot be compared: {why}" for why in self.uncompared]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)


def _counted(found: Verification, what: str) -> str:
    return (
        f"{found.windows} {what}: {found.verified} verified, {found.mismatched} mismatched, "
        f"{found.unverifiable} unverifiable"
    )
