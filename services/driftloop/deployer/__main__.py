"""``python -m driftloop.deployer``: the service as a process."""

import sys

from driftloop.deployer.service import DeployerService
from driftloop.adapters.process import run

if __name__ == "__main__":
    sys.exit(run("deployer", DeployerService))
