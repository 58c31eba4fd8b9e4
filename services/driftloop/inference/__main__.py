"""``python -m driftloop.inference``: the service as a process."""

import sys

from driftloop.adapters.process import run
from driftloop.inference.service import InferenceService

if __name__ == "__main__":
    sys.exit(run("inference", InferenceService, InferenceService.endpoint))
