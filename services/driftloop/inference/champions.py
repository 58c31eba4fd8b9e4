"""Which versions may answer where what a deployment asks for cannot be loaded. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import takewhile

from driftloop.kernel.records import Deployment, Stage

_REMEMBERED = 16
_TURNED_DOWN = ("rejected", "rolled_back")


class Champions:
    """The champions of each model that its deployments named while this process ran. Of those
    before, only the versions that were published are known."""

    def __init__(self) -> None:
        self._seen: dict[str, list[int]] = {}
        """Newest last. Lists are exchanged, not changed: another thread may read one."""

    def note(self, deployment: Deployment) -> None:
        """A model's newest; one that was noted before says nothing new."""
        seen = self._seen.get(deployment.model, [])
        if seen and seen[-1] == deployment.champion:
            return
        gone = (deployment.champion, _turned_down(deployment))
        kept = [version for version in seen if version not in gone]
        self._seen[deployment.model] = [*kept, deployment.champion][-_REMEMBERED:]

    def instead(self, deployment: Deployment, published: Iterable[int]) -> Sequence[int]:
        """Versions that may answer for it, best first; the declared prior comes after them.

        The champion, without the shadow; the one before it; and the older ones. No version is
        newer that was no champion: it is a candidate, or was turned down.
        """
        champion = deployment.champion
        before = [deployment.shadow] if deployment.stage is Stage.GUARD else []
        seen = reversed(self._seen.get(deployment.model, []))
        older = sorted((version for version in published if version < champion), reverse=True)
        order = dict.fromkeys([champion, *before, *seen, *older])
        order.pop(_turned_down(deployment), None)
        # Where the prior served before, it is what comes back.
        return list(takewhile(lambda version: version > 0, order))


def _turned_down(deployment: Deployment) -> int:
    """The version that the deployment has found to be worse, or -1."""
    return deployment.subject if deployment.reason in _TURNED_DOWN else -1
