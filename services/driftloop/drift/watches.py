"""What is watched of each model's versions, kept ready, and windows read by it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from driftloop.drift.labelfree import Estimator
from driftloop.drift.parts import Whole
from driftloop.drift.watch import Watch, watch
from driftloop.kernel.codec.blocks import I64
from driftloop.kernel.declaration import AlertPolicy, Declaration
from driftloop.kernel.records import Estimate, Stream, Version

_VERSIONS = 3
"""Of a model and stream that are kept ready: its champion, the one before, and one to come."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A window within its version's profile; nothing of version 0, which has none."""

    watch: Watch | None = None
    counts: I64 | None = None
    """As :meth:`Watch.counts` has them."""
    estimates: tuple[Estimate, ...] = ()


@dataclass(frozen=True, slots=True)
class _Watched:
    """What a version's profile and the declaration give."""

    version: Version
    policy: AlertPolicy
    watch: Watch
    estimator: Estimator


class Watches:
    """Of each model's few newest versions seen."""

    def __init__(self) -> None:
        self._known: dict[tuple[Stream, str], dict[int, _Watched]] = {}

    def ready(self, whole: Whole, version: Version, declaration: Declaration) -> Ready:
        """Raises :class:`DecodeError` for a window that does not fit its version's profile."""
        watched = self._watched(whole.window.stream, version, declaration)
        counts = watched.watch.counts(whole.window)
        estimates = watched.estimator.estimates(whole.window)
        if len(whole.ids) > 1:
            estimates = [replace(estimate, window=whole.name) for estimate in estimates]
        return Ready(watched.watch, counts, tuple(estimates))

    def drop(self, model: str) -> None:
        for stream in Stream:
            self._known.pop((stream, model), None)

    def _watched(self, stream: Stream, version: Version, declaration: Declaration) -> _Watched:
        policy = declaration.alerts
        versions = self._known.setdefault((stream, version.model), {})
        known = versions.get(version.version)
        if known is None or known.version != version or known.policy is not policy:
            estimator = Estimator(version.profile, declaration.task, version.metrics)
            known = _Watched(version, policy, watch(version, stream, policy), estimator)
            versions[version.version] = known
            while len(versions) > _VERSIONS:
                del versions[min(v for v in versions if v != version.version)]
        return known
