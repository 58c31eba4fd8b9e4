"""What the endpoint may know of the service it runs beside: read from another thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from driftloop.inference.core import InferenceCore, Serving
from driftloop.inference.demanded import Demanded
from driftloop.inference.versions import LoadingError
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.declaration import Declaration
from driftloop.models.constant import ConstantModel
from driftloop.models.ports import FrozenModel


class Served:
    """See :class:`driftloop.inference.versions.Models`. Only single look-ups in dictionaries, so no
    lock is needed."""

    def __init__(
        self,
        catalog: Catalog,
        core: InferenceCore,
        demanded: Demanded,
        loaded: Callable[[], bool],
        blocked: Callable[[str], bool],
        want: Callable[[str], None],
        stalled: Callable[[], bool],
    ) -> None:
        """``loaded``: every wanted version has been loaded, or tried, once; ``blocked``: none of a
        model's could be; ``want``: load what a model's deployment says, between two steps;
        ``stalled``: a step waits for Kafka, and nothing comes of that."""
        self._catalog = catalog
        self._core = core
        self._demanded = demanded
        self._want = want
        self._stalled = stalled
        self._loaded = loaded
        self._blocked = blocked

    def ready(self) -> bool:
        """Whether requests are answered: also without Kafka, where the models are loaded."""
        return self._loaded() and not any(map(self._blocked, self.names()))

    def declaration(self, name: str) -> Declaration | None:
        return self._catalog.models.get(name)

    def names(self) -> Sequence[str]:
        return list(self._catalog.models)

    def serving(self, model: Declaration, *, load: bool = True) -> Serving | None:
        name = model.name
        if not self._loaded() or self._blocked(name):
            return None
        found = self._core.installed(name)
        if model.topics.shared:
            # Loaded when first needed, by whichever of the two ways a request comes.
            if found is not None:
                self._core.used(name)
            elif (deployment := self._catalog.deployments.get(name)) is not None:
                if load:
                    self._want(name)
                champion = deployment.champion
                if champion > 0 and self._stalled():
                    alone = self._demanded.get(model, champion, load=load)
                    return Serving(-1, champion, alone, -1, None)
                raise LoadingError
        return found or Serving(-1, 0, ConstantModel(model.prior), -1, None)

    def version(self, model: Declaration, version: int, *, load: bool = True) -> FrozenModel:
        return self._demanded.get(model, version, load=load)

    def versions(self, model: str) -> Sequence[int]:
        known = list(self._catalog.versions)
        return [0, *sorted(number for name, number in known if name == model)]

    def published(self, model: str, version: int) -> bool:
        return version == 0 or (model, version) in self._catalog.versions
