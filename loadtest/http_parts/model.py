"""The model behind every server, and the requests for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson

from driftloop.adapters.artifacts.directory import DirectoryStore
from driftloop.kernel.codec.blocks import F64, I32, Categories, Features
from driftloop.kernel.declaration import Task
from driftloop.models.encoding import Encoding
from driftloop.models.ports import FrozenModel, Target
from driftloop.models.registry import load
from driftloop.models.river_rows import numeric_name

NAME = "bench-http"
NAMES = tuple(map(numeric_name, range(20)))


def rows(count: int, seed: int = 1) -> F64:
    """Shape (count, 20)."""
    return np.random.default_rng(seed).normal(size=(count, len(NAMES)))


def features(numeric: F64) -> Features:
    codes: I32 = np.empty((len(numeric), 0), np.int32)
    return Features(np.ascontiguousarray(numeric), Categories(codes, ()))


def request(count: int) -> bytes:
    """One body for all servers: the protocol's, one tensor per feature."""
    numeric = rows(count)
    inputs = [
        {"name": name, "shape": [count], "datatype": "FP64", "data": numeric[:, index].tolist()}
        for index, name in enumerate(NAMES)
    ]
    return orjson.dumps({"inputs": inputs})


def binary_request(count: int) -> tuple[bytes, int]:
    """The same in the form in which the protocol's clients send larger requests: the tensors' bytes
    behind the JSON; and the length of the JSON."""
    inputs = [
        {
            "name": name,
            "shape": [count],
            "datatype": "FP64",
            "parameters": {"binary_data_size": 8 * count},
        }
        for name in NAMES
    ]
    head = orjson.dumps({"inputs": inputs})
    return head + np.ascontiguousarray(rows(count).T).tobytes(), len(head)


def matrix(body: bytes, json_length: str | None = None) -> F64:
    """How the peers read it: as fast as it goes, and without a check. ``json_length``: the header
    ``Inference-Header-Content-Length``."""
    if json_length is not None:
        return np.frombuffer(body, np.float64, offset=int(json_length)).reshape(len(NAMES), -1).T
    columns = {tensor["name"]: tensor["data"] for tensor in orjson.loads(body)["inputs"]}
    return np.array([columns[name] for name in NAMES], np.float64).T


def answer(scores: F64) -> bytes:
    """What the peers answer."""
    values = scores.ravel().tolist()
    output = {"name": "scores", "datatype": "FP64", "shape": list(scores.shape), "data": values}
    return orjson.dumps({"model_name": NAME, "outputs": [output]})


def frozen(directory: str, path: str, digest: str) -> FrozenModel:
    """The artifact that every server of frozen models reads."""
    model = load(*DirectoryStore(Path(directory)).get(path, digest))
    model.score(features(rows(1)))
    return model


def trained() -> Any:
    """River's Hoeffding tree with its usual leaves, the same in every process."""
    from river import tree

    model = tree.HoeffdingTreeClassifier(grace_period=50, delta=1e-2, tau=0.1)
    numeric = rows(8000, seed=2)
    labels = (numeric[:, 0] * numeric[:, 1] + numeric[:, 2] > 0.0).astype(int).tolist()
    for row, label in zip(numeric.tolist(), labels, strict=True):
        model.learn_one(dict(zip(NAMES, row, strict=True)), label)
    return model


def asked(tree: Any, numeric: F64) -> list[float]:
    """River's own probabilities of class 1, row by row, which is the only way it can be asked."""
    ask = tree.predict_proba_one
    return [ask(dict(zip(NAMES, row, strict=True))).get(1, 0.0) for row in numeric.tolist()]


def publish(store: DirectoryStore) -> tuple[str, str]:
    """Path and digest of the frozen tree's artifact."""
    from driftloop.models.river_classifier import freeze_classifier

    made = freeze_classifier(trained(), Encoding(()), len(NAMES), Target(Task.BINARY))
    return store.put(NAME, "1", made.family, made.arrays, made.attributes)
