"""What a service leaves for the process that follows it, and what room there is for it."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import orjson

_log = logging.getLogger(__name__)


class Stops:
    """How often a service stopped by itself, by error, in a file: a process that has ended shows
    no metric, so its successor does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.counts: Mapping[str, int] = _read(path)
        """Before this process: the error's name without ``Error``, and how often."""

    def add(self, error: BaseException) -> None:
        """This process stops for that reason."""
        name = type(error).__name__.removesuffix("Error")
        counts = {**self.counts, name: self.counts.get(name, 0) + 1}
        temporary = self._path.with_suffix(f".{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(orjson.dumps(counts))
            temporary.replace(self._path)
        except OSError as problem:
            # The disk may be full: that is what the service stops for.
            _log.warning(
                "%s could not be written, so this stop is not counted: %s", self._path, problem
            )


def _read(path: Path) -> Mapping[str, int]:
    try:
        found = orjson.loads(path.read_bytes())
        return {str(name): int(count) for name, count in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def free_bytes(directory: Path) -> int:
    """Room where a directory lies, or would."""
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    return shutil.disk_usage(directory).free
