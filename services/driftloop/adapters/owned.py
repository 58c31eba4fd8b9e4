"""Directories that belong to a process for as long as it lives."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_NEW = ".new-"


def own(parent: Path, prefix: str) -> tuple[Path, int]:
    """A new directory, and the descriptor that holds it, to be closed when it is gone or has
    another name. It is named once it is held: :func:`sweep` does not see it before. Where the file
    system locks no directories (NFS) nothing is held, and nothing swept."""
    new = Path(tempfile.mkdtemp(prefix=_NEW, dir=parent))
    descriptor = os.open(new, os.O_RDONLY | os.O_DIRECTORY)
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return new.rename(parent / f"{prefix}{new.name.removeprefix(_NEW)}"), descriptor


def sweep(parent: Path, prefix: str) -> list[Path]:
    """Remove the directories of processes that were killed; which these were."""
    gone = []
    for directory in parent.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(directory)
                gone.append(directory)
            finally:
                os.close(descriptor)
    return gone
