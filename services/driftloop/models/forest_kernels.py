"""How long one row may keep frozen Hoeffding trees busy; for ``models.forest``, which checks it."""

from __future__ import annotations

import numpy as np
from numba import njit

from driftloop.kernel.codec.blocks import I32, I64
from driftloop.models.bayes_kernels import MAX_FOUND
from driftloop.models.walk_kernels import DEPTH, ROOT

FINE, ASKS_EARLIER, ASKS_TOO_MANY = 0, 1, 2
_ALONE = 4
"""Steps that one through an alternate counts for: nothing else goes on while it waits for its
loads, where eight members are walked together."""


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def reckon(
    trees: I64,
    members: int,
    leaf_of: I32,
    also: I32,
    bounds: I32,
    answers: I64,
    found: I64,
    steps: I64,
) -> int:
    """Per tree the leaves where a row may end that begins in it, and the steps to them and through
    their ``answers``, those of all alternates asked on the way included: into ``found`` and
    ``steps``, shape (T,). Stops at a leaf that asks an earlier tree, or its own, and where more
    than MAX_FOUND leaves may be found.

    Takes time for each node and each element of ``also`` once: later trees come first, so that all
    that a leaf asks is known, and what a leaf costs is kept for the other places that lead to it.
    """
    leaf_found = np.zeros(len(answers), np.int64)
    leaf_steps = np.zeros(len(answers), np.int64)
    end = len(leaf_of)
    for tree in range(len(trees) - 1, -1, -1):
        most_found, most_steps = 0, 0
        for at in range(trees[tree, ROOT], end):
            leaf = leaf_of[at]
            if leaf < 0:
                continue
            if leaf_found[leaf] == 0:
                count, taken = 1, answers[leaf]
                for i in range(bounds[leaf], bounds[leaf + 1]):
                    if also[i] <= tree:
                        return ASKS_EARLIER
                    count += found[also[i]]
                    taken += steps[also[i]]
                    if count > MAX_FOUND:
                        return ASKS_TOO_MANY
                leaf_found[leaf] = count
                leaf_steps[leaf] = taken
            most_found = max(most_found, leaf_found[leaf])
            most_steps = max(most_steps, leaf_steps[leaf])
        found[tree] = most_found
        steps[tree] = trees[tree, DEPTH] * (1 if tree < members else _ALONE) + most_steps
        end = trees[tree, ROOT]
    return FINE
