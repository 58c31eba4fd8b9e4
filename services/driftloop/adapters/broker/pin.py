"""Resolves the roots in ``kafka.toml`` and writes what ``jars.toml`` should hold.

For whoever moves the project to another Kafka; never run by a broker's start.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from driftloop.adapters.broker.distribution import load_distribution
from driftloop.adapters.broker.jars import digest_of, maven_context

_HEADER = """\
# Every jar of the local Kafka, as `python -m driftloop.adapters.broker pin` resolved it.
# The digest is checked before a jar is run, on every start.
"""


def resolve_pins() -> str:
    """The text of ``jars.toml``. Fetches every POM and jar of the roots; takes half a minute."""
    with tempfile.TemporaryDirectory() as repository:
        context = maven_context()(repo_cache=Path(repository))
        roots = [context.create_dependency(root) for root in load_distribution().roots]
        chosen, transitive = context.resolver.resolve(roots)
        lines: list[str] = []
        artifacts = {
            f"{a.groupId}:{a.artifactId}:{a.version}": a
            for a in (dependency.artifact for dependency in [*chosen, *transitive])
        }
        for coordinates in sorted(artifacts):
            path = Path(artifacts[coordinates].resolve())
            lines += [
                "",
                "[[jar]]",
                f'coordinates = "{coordinates}"',
                f"bytes = {path.stat().st_size}",
                f'sha256 = "{digest_of(path)}"',
            ]
    return _HEADER + "\n".join(lines) + "\n"
