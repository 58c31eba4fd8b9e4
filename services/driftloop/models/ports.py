"""What a frozen model can do."""

from __future__ import annotations

from typing import Protocol

from driftloop.kernel.codec.blocks import F64, Features


class FrozenModel(Protocol):
    """Arrays and a pure function of them; never code from an artifact."""

    def score(self, features: Features) -> F64:
        """Scores, shape (n, C): binary, C = 1, the probability of class 1."""
        ...
