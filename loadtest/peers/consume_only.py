"""Taking the records' bytes, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from loadtest.peers.asked import Asked, main
from loadtest.peers.consuming import BATCH, consumer


def work(asked: Asked) -> Mapping[str, Any]:
    began = time.process_time()
    client = consumer(asked)
    seen = 0
    size = 0
    while seen < asked.rows:
        messages = client.consume(BATCH, 1.0)
        for message in messages:
            size += len(message.value())
        seen += len(messages)
    cpu = time.process_time() - began
    client.close()
    return {"rows": seen, "cpu": cpu, "bytes": size}


if __name__ == "__main__":
    main(work)
