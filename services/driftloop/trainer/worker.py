"""``python -m driftloop.trainer.worker SPEC.json``: a run, from its rows to its version's content.

The spec names the rows, as a directory (``trainer.rows``) or as a part of the log
(``trainer.reading``) that the environment's settings say how to reach; a directory for the result
(``trainer.task``); the task; and the limits. Progress goes to standard output, a JSON object a
line. Exit code 0: there is a result, of success or failure; 3: out of memory; anything else: a
crash.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from driftloop.trainer.limits import WorkerLimits, apply

if TYPE_CHECKING:
    from driftloop.trainer.rows import TrainingRows

OUT_OF_MEMORY = 3


def main(arguments: list[str]) -> int:
    """Runs one spec; the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m driftloop.trainer.worker SPEC.json\n")
        return 2
    spec = json.loads(Path(arguments[0]).read_text())
    apply(WorkerLimits(**spec["limits"]), spec["parent"])
    try:
        _run(spec)
    except MemoryError as error:
        sys.stderr.write(f"MemoryError: {error}\n")
        return OUT_OF_MEMORY
    return 0


def _run(spec: Mapping[str, object]) -> None:
    _report({"step": "started"})
    # Loaded under the limits, not before them.
    from driftloop.kernel.codec.mapping import from_plain
    from driftloop.kernel.errors import DriftloopError
    from driftloop.trainer.candidates import train
    from driftloop.trainer.task import TrainingTask, Untrained, WorkerResult, write_result

    result: WorkerResult
    try:
        rows = _rows(spec)
    except DriftloopError as error:
        result = Untrained(str(error), ())
    else:
        _report({"step": "loaded", "rows": len(rows)})
        task = from_plain(TrainingTask, spec["task"])
        result = train(rows, task, _report, time.perf_counter)
    write_result(Path(str(spec["output"])), result)
    _report({"step": "finished"})


def _rows(spec: Mapping[str, object]) -> TrainingRows:
    from driftloop.trainer.rows import TrainingRows

    if "rows" in spec:
        return TrainingRows.load(Path(str(spec["rows"])))

    from driftloop.adapters.clock import SystemClock
    from driftloop.adapters.kafka import KafkaLog
    from driftloop.adapters.registry.opening import open_wire
    from driftloop.kernel.codec import wire
    from driftloop.kernel.codec.mapping import from_plain
    from driftloop.kernel.settings import Settings
    from driftloop.trainer.reading import Reading

    settings, clock = Settings.read(os.environ), SystemClock()
    wire.install(open_wire(settings.registry, settings.registry_options, clock))
    log = KafkaLog(settings.bootstrap, settings.kafka_options, clock=clock)
    try:
        reading = from_plain(Reading, spec["reading"])
        return reading.rows(log, lambda read: _report({"step": "reading", "rows": read}))
    finally:
        wire.in_force().close()
        log.close()


def _report(progress: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(progress) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
