"""``python -m driftloop.outcomes``: the service as a process."""

import sys

from driftloop.adapters.process import run
from driftloop.outcomes.service import OutcomesService

if __name__ == "__main__":
    sys.exit(run("outcomes", OutcomesService))
