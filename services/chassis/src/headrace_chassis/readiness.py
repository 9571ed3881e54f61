"""Tells whoever started this process that it is ready."""

from __future__ import annotations

import os

READY_FD = "HEADRACE_READY_FD"


def report_ready() -> None:
    """Writes ``ready`` to the file descriptor named by the environment, if any, and closes it."""
    if number := os.environ.pop(READY_FD, ""):
        with os.fdopen(int(number), "w") as pipe:
            pipe.write("ready\n")
