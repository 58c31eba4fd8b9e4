"""``python infra/published_schemas.py check | record``: hold to the schemas that were given out.

``check`` says what is wrong with ``schemas/``: versions that cannot read one another, and published
ones that were edited. ``record`` adds the digests of new versions to ``schemas/published.json``; it
never replaces one. (To take a version back that nobody has used yet, delete its line by hand.)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from driftloop.kernel.compatibility import digest, version_problems

SCHEMAS = Path(__file__).resolve().parent.parent / "schemas"
HOW_TO_RECORD = "a new version is recorded with: .venv/bin/python infra/published_schemas.py record"


def schema_files(directory: Path = SCHEMAS) -> dict[str, bytes]:
    """Name to content of driftloop's own records' schemas."""
    return {path.name: path.read_bytes() for path in sorted(directory.glob("*.avsc"))}


def published(directory: Path = SCHEMAS) -> dict[str, str]:
    """File name to SHA-256 of what was given out."""
    path = directory / "published.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def record(directory: Path = SCHEMAS) -> dict[str, str]:
    """Add what is not recorded yet, and give back the additions."""
    known = published(directory)
    added = {n: digest(c) for n, c in schema_files(directory).items() if n not in known}
    text = json.dumps({**known, **added}, indent=2, sort_keys=True)
    (directory / "published.json").write_text(f"{text}\n", encoding="utf-8")
    return added


def main(arguments: list[str]) -> int:
    """Exit code 0, 1 where something is wrong, 2 for an unknown word."""
    match arguments:
        case ["record"]:
            for name in record():
                print(f"recorded {name}")
            return 0
        case ["check"]:
            problems = version_problems(schema_files(), published())
            for problem in problems:
                print(problem, file=sys.stderr)
            if problems:
                print(HOW_TO_RECORD, file=sys.stderr)
                return 1
            print(f"Schemas: {len(published())} published, all fully compatible and untouched.")
            return 0
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
