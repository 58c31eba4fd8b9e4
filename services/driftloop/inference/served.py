"""What the endpoint may know of the service it runs beside: read from another thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from driftloop.inference.core import InferenceCore, Serving
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.declaration import Declaration
from driftloop.models.constant import ConstantModel


class Served:
    """See :class:`driftloop.inference.versions.Models`. Only single look-ups in dictionaries, so no
    lock is needed."""

    def __init__(
        self,
        catalog: Catalog,
        core: InferenceCore,
        loaded: Callable[[], bool],
        blocked: Callable[[str], bool],
    ) -> None:
        """``loaded``: every wanted version has been loaded, or tried, once; ``blocked``: none of a
        model's could be."""
        self._catalog = catalog
        self._core = core
        self._loaded = loaded
        self._blocked = blocked

    def ready(self) -> bool:
        """Whether requests are answered: also without Kafka, where the models are loaded."""
        return self._loaded() and not any(map(self._blocked, self.names()))

    def declaration(self, name: str) -> Declaration | None:
        return self._catalog.models.get(name)

    def names(self) -> Sequence[str]:
        return list(self._catalog.models)

    def serving(self, model: Declaration) -> Serving | None:
        if not self._loaded() or self._blocked(model.name):
            return None
        found = self._core.installed(model.name)
        if found is None and model.topics.shared:
            # Loaded when first needed, by whichever of the two ways a request comes.
            found = self._core.serving(model)
        return found or Serving(-1, 0, ConstantModel(model.prior), -1, None)

    def published(self, model: str, version: int) -> bool:
        return version == 0 or (model, version) in self._catalog.versions
