"""``python -m driftloop.trainer``: the service as a process."""

import sys

from driftloop.trainer.service import TrainerService
from driftloop.adapters.process import run

if __name__ == "__main__":
    sys.exit(run("trainer", TrainerService))
