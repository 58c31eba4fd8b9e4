"""How messages about a declaration speak of values, ranges and keys."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

KEYS: Mapping[str, tuple[str, ...]] = {
    "[model]": ("name", "task", "classes", "error_bound", "prior", "partitions"),
    "[events]": ("schema", "format", "id", "time", "earliest", "latest", "ahead"),
    "[labels]": ("format", "id", "label", "time", "horizon"),
    "[[features]]": ("name", "kind", "limits", "length"),
    "[topics]": ("shared", "events", "labels", "predictions", "outcomes"),
    "[windows]": ("size", "lateness", "retention"),
    "[alerts]": (
        "false_alarms_per_100k",
        "psi_floor",
        "loss_floor",
        "missing_floor",
        "stale_after",
        "shift_floor",
        "error_floor",
        "unseen_floor",
        "outside_floor",
        "reference",
        "reference_period",
        "season",
        "segment",
    ),
    "[training]": (
        "minimum_labels",
        "schedule",
        "cooldown",
        "history",
        "on_alerts",
        "evaluation_share",
        "time_limit",
        "memory_limit",
        "seed",
        "candidates",
    ),
    "[promotion]": ("error_rate", "maximum_rows", "guard_rows"),
    "[http]": ("strict",),
}
"""Tables and their keys, to say where a misplaced one belongs. Names such as ``format`` that
several tables have are no use for that, and do no harm."""


def as_number(value: Any) -> float:
    """A finite float. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{shown(value)} is no number")
    if not math.isfinite(value):
        raise ValueError(f"{shown(value)} is not finite")
    return float(value)


def one_of(value: Any, allowed: Iterable[str]) -> str:
    """``did you mean "x"?`` or what may be written."""
    options = list(allowed)
    near = nearest(value, options)
    written = ", ".join(f'"{option}"' for option in options)
    return f'did you mean "{near}"?' if near else f"it is one of {written}"


def nearest(value: Any, allowed: Iterable[str]) -> str | None:
    """The allowed word that is most like ``value``, if any is."""
    found = difflib.get_close_matches(str(value).lower(), list(allowed), n=1, cutoff=0.6)
    return found[0] if found else None


def suggestion(key: str, known: Sequence[str], title: str) -> str:
    """What to do about an unknown key of the table ``title``."""
    belongs = [other for other, keys in KEYS.items() if key in keys and other != title]
    if belongs:
        return f"it belongs in {belongs[0]}"
    near = nearest(key, known)
    return f"did you mean {near}?" if near else f"its keys are {', '.join(known)}"


def bounds(above: float, least: float, below: float, most: float) -> str:
    """A range in words."""
    found = []
    if above > -math.inf:
        found.append(f"greater than {above:g}")
    if least > -math.inf:
        found.append(f"at least {least:g}")
    if below < math.inf:
        found.append(f"less than {below:g}")
    if most < math.inf:
        found.append(f"at most {most:g}")
    return " and ".join(found)


def listed(names: Sequence[str]) -> str:
    """``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def shown(value: Any) -> str:
    """A value as TOML has it, if short."""
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    return str(value)
