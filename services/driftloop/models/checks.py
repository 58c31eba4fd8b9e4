"""Checks on what comes out of an artifact: every misfit is an ``ArtifactError``.

Arrays are copied: kernels read them without bounds checks, so nobody else may hold them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from driftloop.kernel.codec.blocks import I32
from driftloop.kernel.errors import ArtifactError

MAX_COLUMNS = 100_000
MAX_LEVEL_LENGTH = 10_000
MAX_CLASSES = 1000


def names(what: str, given: Mapping[str, object], expected: Iterable[str]) -> None:
    """Exactly the expected keys."""
    wanted = set(expected)
    if not isinstance(given, Mapping) or set(given) != wanted:
        found = sorted(map(str, given)) if isinstance(given, Mapping) else type(given).__name__
        raise ArtifactError(f"{what} must be {sorted(wanted)}, found {found}")


def array(
    arrays: Mapping[str, npt.NDArray[Any]],
    name: str,
    dtype: type[np.generic],
    length: int = -1,
    *,
    infinite: bool = False,
) -> npt.NDArray[Any]:
    """A one-dimensional array of this dtype (and length), copied. Floats must be finite, or at
    least numbers where ``infinite``."""
    value = arrays[name]
    if not isinstance(value, np.ndarray) or value.dtype != np.dtype(dtype) or value.ndim != 1:
        found = f"{value.dtype}{value.shape}" if isinstance(value, np.ndarray) else type(value)
        raise ArtifactError(f"array {name!r} must be {np.dtype(dtype)} (n,), found {found}")
    if length >= 0 and len(value) != length:
        raise ArtifactError(f"array {name!r} must have {length} elements, found {len(value)}")
    copied = np.array(value, dtype=dtype, order="C", copy=True)
    if np.issubdtype(dtype, np.floating):
        unfit = np.isnan(copied) if infinite else ~np.isfinite(copied)
        if unfit.any():
            raise ArtifactError(f"array {name!r} holds numbers that are not finite")
    return copied


def within(name: str, values: npt.NDArray[Any], lowest: int, highest: int) -> None:
    """All of an integer array in [lowest, highest]."""
    if len(values) and (int(values.min()) < lowest or int(values.max()) > highest):
        raise ArtifactError(
            f"array {name!r} must lie in [{lowest}, {highest}], "
            f"found [{int(values.min())}, {int(values.max())}]"
        )


def bounds(arrays: Mapping[str, npt.NDArray[Any]], name: str, end: int, parts: int = -1) -> I32:
    """The limits of parts that lie end to end: int32, ascending from 0 to ``end``."""
    value = array(arrays, name, np.int32, parts + 1 if parts >= 0 else -1)
    if not len(value) or value[0] != 0 or value[-1] != end or (np.diff(value) < 0).any():
        raise ArtifactError(f"array {name!r} must ascend from 0 to {end}")
    return value


def choice(attributes: Mapping[str, Any], name: str, known: Iterable[str]) -> str:
    value = attributes[name]
    if not isinstance(value, str) or value not in set(known):
        raise ArtifactError(
            f"attribute {name!r} must be one of {sorted(known)}, found {value!r:.100}"
        )
    return value


def flag(attributes: Mapping[str, Any], name: str) -> bool:
    value = attributes[name]
    if not isinstance(value, bool):
        raise ArtifactError(f"attribute {name!r} must be true or false, found {value!r:.100}")
    return value


def largest(name: str, values: npt.NDArray[Any], limit: float) -> None:
    """No number of an array is larger than this, either way."""
    if float(np.abs(values).max(initial=0.0)) > limit:
        raise ArtifactError(f"array {name!r} holds values larger than {limit:g}")


def integer(attributes: Mapping[str, Any], name: str, lowest: int, highest: int) -> int:
    value = attributes[name]
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
        raise ArtifactError(
            f"attribute {name!r} must be an integer in [{lowest}, {highest}], found {value!r:.100}"
        )
    return value


def number(attributes: Mapping[str, Any], name: str, lowest: float, highest: float) -> float:
    value = attributes[name]
    # Comparing before converting: an integer of a thousand digits is no float.
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not good or not lowest <= value <= highest or not math.isfinite(value):
        raise ArtifactError(
            f"attribute {name!r} must be a number in [{lowest}, {highest}], found {value!r:.100}"
        )
    return float(value)


def vocabularies(attributes: Mapping[str, Any], max_levels: int) -> tuple[tuple[str, ...], ...]:
    """Per categorical column, distinct strings in ascending order."""
    value = attributes["vocabularies"]
    if not isinstance(value, list) or len(value) > MAX_COLUMNS:
        raise ArtifactError("attribute 'vocabularies' must be a list of lists of strings")
    for column, levels in enumerate(value):
        if not isinstance(levels, list) or not all(isinstance(level, str) for level in levels):
            raise ArtifactError(f"vocabulary {column} must be a list of strings")
        if len(levels) > max_levels:
            raise ArtifactError(
                f"vocabulary {column} has {len(levels)} levels, at most {max_levels}"
            )
        if any(len(level) > MAX_LEVEL_LENGTH for level in levels):
            raise ArtifactError(f"vocabulary {column} has a level over {MAX_LEVEL_LENGTH} long")
        if any(a >= b for a, b in itertools.pairwise(levels)):
            raise ArtifactError(f"vocabulary {column} must ascend without repetition")
    return tuple(tuple(levels) for levels in value)
