"""``python -m loadtest [NAME]``: one benchmark, or all; the last line of stdout is JSON.

``chaos`` is not among all of them, and takes options: ``python -m loadtest chaos --help``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import orjson

from loadtest import chaos, codec, http, loop, many, models, swap, train

BENCHMARKS: dict[str, Callable[[], dict[str, Any]]] = {
    "codec": codec.run,
    "http": http.run,
    "loop": loop.run,
    "many": many.run,
    "models": models.run,
    "swap": swap.run,
    "train": train.run,
}


def main(words: list[str]) -> int:
    if words[:1] == ["chaos"]:
        return chaos.main(words[1:])
    wanted = words or sorted(BENCHMARKS)
    unknown = [name for name in wanted if name not in BENCHMARKS]
    if unknown:
        sys.stderr.write(
            f"no benchmark {unknown[0]!r}; there are: chaos, {', '.join(sorted(BENCHMARKS))}\n"
        )
        return 2
    results = {name: BENCHMARKS[name]() for name in wanted}
    shown = results[wanted[0]] if len(wanted) == 1 else results
    sys.stdout.write(orjson.dumps(shown).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
