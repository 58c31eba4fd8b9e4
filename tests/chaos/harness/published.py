"""Versions and deployments written by hand: what a trainer and a deployer would have written."""

from __future__ import annotations

import numpy as np

from driftloop.adapters.artifacts.directory import DirectoryStore
from driftloop.kernel.codec.blocks import Categories, Features
from driftloop.kernel.codec.records import codec
from driftloop.kernel.records import Deployment, Recipe, Stage, Version
from driftloop.models.profile import make_profile
from driftloop.models.registry import trainer

from .small import SmallLoop

_ROWS = 50


def publish_version(loop: SmallLoop, number: int, prior: float) -> Version:
    """A version that answers ``prior``, its artifact written and its record published."""
    declaration = loop.declared.declaration
    numeric = [feature.name for feature in declaration.numeric]
    categorical = [feature.name for feature in declaration.categorical]
    rng = np.random.default_rng(number)
    features = Features(
        rng.normal(size=(_ROWS, len(numeric))),
        Categories(
            np.zeros((_ROWS, len(categorical)), dtype=np.int32), tuple(("a",) for _ in categorical)
        ),
    )
    labels = (rng.random(_ROWS) < 0.5).astype(np.float64)
    recipe = Recipe("constant", {"prior": prior}, 1)
    trained = trainer(recipe.trainer).train(features, labels, recipe.parameters, recipe.seed)
    store = DirectoryStore(loop.settings.artifacts)
    path, digest = store.put(
        declaration.name, str(number), trained.family, trained.arrays, trained.attributes
    )
    version = Version(
        model=declaration.name,
        version=number,
        recipe=recipe,
        artifact=path,
        digest=digest,
        profile=make_profile(numeric, categorical, features, np.full((_ROWS, 1), prior), labels),
        metrics={},
        sources=(),
        period_start=0,
        period_end=1,
        run_id="by-hand",
        created_at=1,
    )
    loop.publish(loop.settings.topics.versions, f"{declaration.name}/{number}",
                 codec(Version).encode(version))  # fmt: skip
    return version


def deploy(loop: SmallLoop, sequence: int, champion: int, shadow: int = -1) -> None:
    """Ask for a champion, as the deployer would."""
    name = loop.declared.declaration.name
    deployment = Deployment(
        name, sequence, Stage.STEADY, champion, shadow, 0, "promoted", champion, 0.0, 0.0, 0, ()
    )
    loop.publish(loop.settings.topics.deployments, name, codec(Deployment).encode(deployment))
