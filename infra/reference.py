"""``python infra/reference.py [check]``: write the tables of docs/operations.md, or compare them.

Settings and metrics have their names and words in one registry each; the page repeats them.
"""

from __future__ import annotations

import sys
from dataclasses import MISSING, fields
from pathlib import Path

from driftloop.kernel.metrics import METRICS
from driftloop.kernel.settings import Settings

PAGE = Path(__file__).resolve().parent.parent / "docs" / "operations.md"


def settings() -> str:
    rows = ["| variable | default | what it is |", "| --- | --- | --- |"]
    for item in fields(Settings):
        default = "" if item.default is MISSING else str(item.default)
        shown = f"`{default}`" if default else ""
        secret = " (masked when shown)" if item.metadata["secret"] else ""
        text = item.metadata["help"]
        rows.append(f"| `{item.metadata['variable']}` | {shown} | {text}{secret} |")
    return "\n".join(rows)


def metrics() -> str:
    rows = ["| metric | kind | labels | what it is |", "| --- | --- | --- | --- |"]
    for metric in METRICS:
        labels = ", ".join(metric.labels)
        rows.append(f"| `{metric.name}` | {metric.kind.value} | {labels} | {metric.help} |")
    return "\n".join(rows)


def filled(page: str) -> str:
    """The page with its tables as they should be."""
    for name, table in (("settings", settings()), ("metrics", metrics())):
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if begin not in page or end not in page:
            raise SystemExit(f"{PAGE}: there must be {begin} and {end}")
        inside = f"{begin}\n{table}\n{end}"
        before, _, rest = page.partition(begin)
        page = before + inside + rest.partition(end)[2]
    return page


def main(arguments: list[str]) -> int:
    """Exit code 0, 1 where the page differs, 2 for an unknown word."""
    before = PAGE.read_text(encoding="utf-8")
    match arguments:
        case []:
            PAGE.write_text(filled(before), encoding="utf-8")
            return 0
        case ["check"]:
            if before == filled(before):
                return 0
            print(
                f"{PAGE}: tables differ from the code: run {Path(__file__).name}", file=sys.stderr
            )
            return 1
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
