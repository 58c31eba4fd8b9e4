"""``python infra/prometheus/targets.py [DIRECTORY]``: Prometheus targets of the services that run.

Reads what each process announced in ``DIRECTORY/run`` (``.driftloop`` where none is given), for
ports are free ones, and prints a document for Prometheus' ``file_sd_configs``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from driftloop.cli.announcements import announced


def targets(directory: Path) -> list[dict[str, object]]:
    """One group per process, ``instance`` being its name and not its port, which changes."""
    return [
        {
            "targets": [found.url.removeprefix("http://")],
            "labels": {
                "service": found.service,
                "instance": f"{found.service}-{found.instance}",
            },
        }
        for found in announced(directory)
    ]


def main(arguments: list[str]) -> int:
    """Exit code 0, 1 where nothing runs, 2 for too many words."""
    if len(arguments) > 1:
        print(__doc__, file=sys.stderr)
        return 2
    directory = Path(arguments[0] if arguments else ".driftloop")
    found = targets(directory)
    if not found:
        print(f"no service of {directory} runs; 'driftloop up' starts them", file=sys.stderr)
        return 1
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
