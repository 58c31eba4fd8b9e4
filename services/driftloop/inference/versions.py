"""Which loaded version answers a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from driftloop.inference.core import Serving
from driftloop.inference.tensors import ProtocolError
from driftloop.kernel.declaration import Declaration
from driftloop.models.ports import FrozenModel

RETRY_AFTER_S = 1
NEWEST = -1
"""The version of a request that names none: the champion."""


class Models(Protocol):
    """What is served now. Called from the thread that serves; must not wait."""

    def declaration(self, name: str) -> Declaration | None: ...

    def names(self) -> Sequence[str]:
        """Of every declared model."""
        ...

    def serving(self, model: Declaration) -> Serving | None:
        """None where nothing can answer yet, for example because no artifact could be loaded."""
        ...

    def published(self, model: str, version: int) -> bool:
        """Whether there is such a version, loaded or not."""
        ...


def chosen(models: Models, model: Declaration, version: int) -> Serving:
    """What scores a request for this version: the champion with the shadow beside it, or, asked
    for by its number, the shadow alone. Raises :class:`ProtocolError`."""
    serving = models.serving(model)
    if serving is None:
        raise ProtocolError(
            503, f"model {model.name!r} is being loaded", retry_after_s=RETRY_AFTER_S
        )
    if version in (NEWEST, serving.champion):
        return serving
    loaded: FrozenModel | None = serving.shadow_model
    if version == serving.shadow and loaded is not None:
        return Serving(serving.sequence, version, loaded, -1, None)
    there = " and ".join(map(str, versions_of(serving)))
    if models.published(model.name, version):
        raise ProtocolError(
            409, f"version {version} of model {model.name!r} is not loaded; loaded: {there}"
        )
    raise ProtocolError(
        404, f"model {model.name!r} has no version {version}; versions that answer: {there}"
    )


def versions_of(serving: Serving) -> list[int]:
    """The versions that can be asked for."""
    shadowed = serving.shadow_model is not None
    return [serving.champion, serving.shadow] if shadowed else [serving.champion]
