"""``python -m driftloop.trainer``: the service as a process."""

import sys

from driftloop.adapters.process import run
from driftloop.trainer.service import TrainerService

if __name__ == "__main__":
    sys.exit(run("trainer", TrainerService))
