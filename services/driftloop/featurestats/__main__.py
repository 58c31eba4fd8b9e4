"""``python -m driftloop.featurestats``: the service as a process."""

import sys

from driftloop.adapters.process import run
from driftloop.featurestats.service import FeaturestatsService

if __name__ == "__main__":
    sys.exit(run("featurestats", FeaturestatsService))
