"""Reports to the parent process that this one is ready."""

from __future__ import annotations

import os

READY_FD = "HEADRACE_READY_FD"


def report_ready() -> None:
    """Write ``ready`` to the file descriptor that the environment names, if any, and close it."""
    if number := os.environ.pop(READY_FD, ""):
        with os.fdopen(int(number), "w") as pipe:
            pipe.write("ready\n")
