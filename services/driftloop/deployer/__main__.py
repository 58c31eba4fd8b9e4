"""``python -m driftloop.deployer``: the service as a process."""

import sys

from driftloop.adapters.process import run
from driftloop.deployer.service import DeployerService

if __name__ == "__main__":
    sys.exit(run("deployer", DeployerService))
