"""``python -m headrace.agent [--standby | -- COMMAND...]``: runs one process of a cluster in a fresh interpreter."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

from headrace.agent import spawn_environment


def main(arguments: Sequence[str]) -> int:
    """Runs Dask's own scheduler or worker, or the command after ``--``; returns the exit code.

    With ``--standby`` it waits, with everything imported, until it is given to a cluster.
    """
    if not arguments and os.environ.get("HEADRACE_ROLE") == "worker":
        spawn_environment.execute_with_defaults()  # now, as what follows takes most of the time of a start
    # What is imported stays: looking for garbage meanwhile would take a sixth of the time.
    gc.disable()
    from headrace.agent import start

    gc.freeze()
    gc.enable()
    return start.run(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
