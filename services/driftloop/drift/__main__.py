"""``python -m driftloop.drift``: the service as a process."""

import sys

from driftloop.adapters.process import run
from driftloop.drift.service import DriftService

if __name__ == "__main__":
    sys.exit(run("drift", DriftService))
