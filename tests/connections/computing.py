"""A user's process: computes on a cluster of its own, and checks all results when it is told to.

    python computing.py <number of futures> <seconds of each>

It prints the id of the scheduler's process when all futures are submitted. For a line of its input it waits for all
results and for one future more, and prints "correct" and the seconds that the latter took.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from headrace import Gateway


def main(count: int, seconds: float) -> None:
    def square(x: int) -> int:
        time.sleep(seconds)
        return x * x

    with Gateway() as gateway, gateway.new_cluster() as cluster:
        cluster.scale(2)
        client: Any
        with cluster.get_client() as client:
            client.wait_for_workers(2, timeout=60)
            futures = client.map(square, range(count), pure=False)
            print(client.run_on_scheduler(os.getpid), flush=True)
            for _ in sys.stdin:
                began = time.monotonic()
                correct = client.submit(sum, [1, 2], pure=False, priority=1).result() == 3
                seconds = time.monotonic() - began
                correct &= client.gather(futures) == [x * x for x in range(count)]
                print("correct" if correct else "wrong", seconds, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
