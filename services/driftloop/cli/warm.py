"""``python -m driftloop.cli.warm``: compiles every loop once, to numba's cache on disk.

Six services starting on a cold cache would each compile the same for a minute; set-up runs this
first. It takes half a minute on a cold cache and a few seconds on a warm one.
"""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path

import numpy as np

from driftloop.adapters.kafka.native.warming import warm as warm_client
from driftloop.cli.applying import load_declaration
from driftloop.kernel.codec import warm as warm_codec
from driftloop.kernel.codec.blocks import Categories, Features
from driftloop.kernel.statistics.sketch import warm as warm_sketch
from driftloop.models.registry import trainer, warm_up


def warm_all() -> None:
    """Run each kernel on a few rows."""
    warm_client()
    warm_codec()
    with resources.as_file(resources.files("driftloop") / "infra" / "models") as directory:
        warm_sketch(load_declaration(Path(directory) / "flights.toml").declaration)
    warm_up()
    rows = 40
    features = Features(
        np.linspace(0.0, 1.0, rows).reshape(rows, 1),
        Categories(np.zeros((rows, 1), dtype=np.int32), (("a",),)),
    )
    labels = (np.arange(rows) % 2).astype(np.float64)
    trainer("river_logistic").train(features, labels, {}, 0)


if __name__ == "__main__":
    sys.stderr.write("compiling the hot loops (half a minute, once)\n")
    warm_all()
