"""``python -m loadtest [NAME]``: one benchmark, or all; the last line of stdout is JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import orjson

from loadtest import codec, loop, many, swap

BENCHMARKS: dict[str, Callable[[], dict[str, Any]]] = {
    "codec": codec.run,
    "loop": loop.run,
    "many": many.run,
    "swap": swap.run,
}


def main(words: list[str]) -> int:
    wanted = words or sorted(BENCHMARKS)
    unknown = [name for name in wanted if name not in BENCHMARKS]
    if unknown:
        sys.stderr.write(
            f"no benchmark {unknown[0]!r}; there are: {', '.join(sorted(BENCHMARKS))}\n"
        )
        return 2
    results = {name: BENCHMARKS[name]() for name in wanted}
    shown = results[wanted[0]] if len(wanted) == 1 else results
    sys.stdout.write(orjson.dumps(shown).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
