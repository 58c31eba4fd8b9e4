"""MLServer, in an environment of its own: its pins exclude what we run on.

The environment is made once, below the user's cache directory, of the exact versions listed here.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

import orjson

from loadtest.http_parts import model as parts

PINS = Path(__file__).with_name("mlserver.txt")
_ROOT = Path(__file__).resolve().parents[2]


def environment() -> Path:
    """The environment's Python."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "driftloop"
    digest = hashlib.sha256(PINS.read_bytes()).hexdigest()[:16]
    directory = cache / f"mlserver-{digest}"
    python = directory / "bin" / "python"
    done = directory / "complete"
    if not done.exists():
        sys.stderr.write(f"making MLServer's environment in {directory}\n")
        venv.create(directory, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, "--no-deps", "-r", str(PINS)], check=True, stdout=sys.stderr)
        done.touch()
    return python


def command(directory: Path, artifacts: Path, path: str, digest: str, port: int) -> list[str]:
    """How it is started. Settings at their best for this: inference in the process itself (worker
    processes would copy each request between two), nothing logged, no metrics endpoint, no gRPC
    that could be in the way."""
    settings = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": 0,
        "metrics_endpoint": None,
        "gzip_enabled": False,
        "parallel_workers": 0,
        "debug": False,
        "logging_settings": {
            "version": 1,
            "disable_existing_loggers": True,
            "root": {"level": "ERROR"},
        },
    }
    model = {
        "name": parts.NAME,
        "implementation": "loadtest.http_parts.mlserver_runtime.Frozen",
        "parameters": {
            "extra": {"directory": str(artifacts), "path": path, "digest": digest},
        },
    }
    (directory / "settings.json").write_bytes(orjson.dumps(settings))
    (directory / "model-settings.json").write_bytes(orjson.dumps(model))
    return [str(environment()), "-m", "mlserver.cli.main", "start", str(directory)]


def variables() -> dict[str, str]:
    """Where it finds our models and the runtime."""
    return {**os.environ, "PYTHONPATH": f"{_ROOT / 'services'}:{_ROOT}"}
