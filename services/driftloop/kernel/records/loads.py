"""What became of a deployment in one process of inference."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Load:
    """A process of inference has loaded what a deployment asks for, or could not. It says so when
    that changes, and once more after a restart; saying it twice means nothing."""

    model: str
    instance: str
    """The process's name among those of inference; survives a restart."""
    sequence: int
    """Of the deployment."""
    champion: int
    shadow: int
    """-1 without one."""
    failed: int
    """The version that could not be loaded: what served before serves on. -1: all are loaded."""
    error: str
    """Why not; empty where nothing failed."""
    at: int
    """Event time of what led to the deployment."""
