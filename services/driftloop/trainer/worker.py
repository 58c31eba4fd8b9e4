"""``python -m driftloop.trainer.worker SPEC.json``: a run as a function of files.

The spec names a directory with the rows (``trainer.rows``), one for the result (``trainer.task``),
the task and the limits. Progress goes to standard output, a JSON object a line. Exit code 0: there
is a result, of success or failure; 3: out of memory; anything else: a crash.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from driftloop.trainer.limits import WorkerLimits, apply

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
    from driftloop.trainer.candidates import train
    from driftloop.trainer.rows import TrainingRows
    from driftloop.trainer.task import TrainingTask, write_result

    rows = TrainingRows.load(Path(str(spec["rows"])))
    _report({"step": "loaded", "rows": len(rows)})
    task = from_plain(TrainingTask, spec["task"])
    result = train(rows, task, _report, time.perf_counter)
    write_result(Path(str(spec["output"])), result)
    _report({"step": "finished"})


def _report(progress: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(progress) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
