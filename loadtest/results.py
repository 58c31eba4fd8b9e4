"""Recorded results: one file per benchmark, with what the figures depend on."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import orjson

ROOT = Path(__file__).resolve().parents[1]
DIRECTORY = ROOT / "loadtest" / "results"
PROFILES = "profiles"
_OWN = (":!loadtest/results", ":!docs/benchmarks", ":!docs/benchmarks.md")
"""What a benchmark itself, or the page of it, changes in the tree."""


def surroundings() -> dict[str, Any]:
    """To be taken before a benchmark starts."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "os": _system(),
            "kernel": platform.release(),
        },
        "load": list(os.getloadavg()),
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--", ".", *_OWN)),
        "python": platform.python_version(),
        "packages": {
            name: found.version
            for found in sorted(metadata.distributions(), key=lambda d: str(d.name).lower())
            if (name := found.name)
        },
    }


def record(
    name: str, result: Mapping[str, Any], around: Mapping[str, Any], where: Path = DIRECTORY
) -> Path:
    """The result with its keys where they are, and what it depends on under ``environment``."""
    where.mkdir(parents=True, exist_ok=True)
    path = where / f"{name}.json"
    text = orjson.dumps({**result, "environment": around}, option=orjson.OPT_INDENT_2)
    path.write_bytes(text + b"\n")
    return path


def record_profile(name: str, result: Mapping[str, Any], around: Mapping[str, Any]) -> Path:
    """Beside the results, as :func:`record`."""
    return record(name, result, around, directory() / PROFILES)


def directory() -> Path:
    """Where this process keeps results: ``LOADTEST_RESULTS``, or where they are recorded."""
    return Path(os.environ.get("LOADTEST_RESULTS", DIRECTORY))


def recorded(where: Path = DIRECTORY) -> dict[str, dict[str, Any]]:
    """By benchmark; where there is a profile of it too it is under ``profile``."""
    results = {path.stem: orjson.loads(path.read_bytes()) for path in sorted(where.glob("*.json"))}
    for path in (where / PROFILES).glob("*.json"):
        if path.stem in results:
            results[path.stem]["profile"] = orjson.loads(path.read_bytes())
    return results


def _git(*words: str) -> str:
    """Empty where there is no repository."""
    try:
        done = subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _cpu() -> str:
    lines = _lines("/proc/cpuinfo")
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()


def _system() -> str:
    pairs = (line.partition("=") for line in _lines("/etc/os-release"))
    named = {key: value.strip('"') for key, _, value in pairs}
    return named.get("PRETTY_NAME", platform.system())


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
