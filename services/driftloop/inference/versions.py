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


class LoadingError(Exception):
    """What should answer is being loaded: ask again in a moment."""


class Models(Protocol):
    """What is served now. Called from the thread that serves; must not wait."""

    def declaration(self, name: str) -> Declaration | None: ...

    def names(self) -> Sequence[str]:
        """Of every declared model."""
        ...

    def serving(self, model: Declaration, *, load: bool = True) -> Serving | None:
        """None where nothing can answer yet, for example because no artifact could be loaded.
        Raises :class:`LoadingError` where it is loaded when first needed, which begins with
        ``load``."""
        ...

    def version(self, model: Declaration, version: int, *, load: bool = True) -> FrozenModel:
        """One that is neither champion nor shadow. Raises :class:`LoadingError`, as above, or
        :class:`ProtocolError`."""
        ...

    def versions(self, model: str) -> Sequence[int]:
        """All that were published, ascending, 0 before them."""
        ...

    def published(self, model: str, version: int) -> bool:
        """Whether there is such a version, loaded or not."""
        ...


def chosen(models: Models, model: Declaration, version: int, *, load: bool = True) -> Serving:
    """What scores a request for this version: the champion with the shadow beside it, or, asked
    for by its number, another alone. Raises :class:`ProtocolError`, or :class:`LoadingError`,
    having begun to load it if ``load``."""
    serving = models.serving(model, load=load)
    if serving is None:
        raise ProtocolError(
            503, f"model {model.name!r} is being loaded", retry_after_s=RETRY_AFTER_S
        )
    if version in (NEWEST, serving.champion):
        return serving
    loaded: FrozenModel | None = serving.shadow_model
    if version == serving.shadow and loaded is not None:
        return Serving(serving.sequence, version, loaded, -1, None)
    if not models.published(model.name, version):
        raise no_version(models, model.name, version)
    alone = models.version(model, version, load=load)
    return Serving(serving.sequence, version, alone, -1, None)


def no_version(models: Models, name: str, version: int) -> ProtocolError:
    """What to say of a version that is not published."""
    known = ", ".join(map(str, models.versions(name)[-5:]))
    return ProtocolError(404, f"model {name!r} has no version {version}; the newest are {known}")
