"""What a module among the tests measures, in a process whose memory is nobody else's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson

TESTS = Path(__file__).resolve().parent


def measured(module: str, directory: Path, size: int) -> dict[str, Any]:
    """The object on the last line that ``python -m MODULE DIRECTORY SIZE`` prints."""
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", module, str(directory), str(size)],
        stdout=subprocess.PIPE,
        check=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    found: dict[str, Any] = orjson.loads(done.stdout.splitlines()[-1])
    return found
