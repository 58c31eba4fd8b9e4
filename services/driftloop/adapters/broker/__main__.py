"""``python -m driftloop.adapters.broker [prepare | pin]``: fetch and prepare, or resolve anew."""

from __future__ import annotations

import sys

from driftloop.adapters.broker.pin import resolve_pins
from driftloop.adapters.broker.prepare import prepare
from driftloop.kernel.errors import BrokerError


def main(arguments: list[str]) -> int:
    """Exit code 0, 1 when it failed, 2 for an unknown word."""
    match arguments:
        case [] | ["prepare"]:
            try:
                prepare(lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201
            except BrokerError as error:
                sys.stderr.write(f"{error}\n")
                return 1
        case ["pin"]:
            sys.stdout.write(resolve_pins())
        case _:
            sys.stderr.write(f"{__doc__}\n")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
