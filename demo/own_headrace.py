"""`headrace up` for the demo: in a temporary directory, on a free port."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from screen import show

STOP_SECONDS = 10


@contextmanager
def own_headrace(directory: Path) -> Generator[None]:
    """Run headrace for the length of the block; `Gateway()` finds it."""
    data = directory / "headrace"
    os.environ["HEADRACE_DATA_DIR"] = str(data)
    process = subprocess.Popen(
        [sys.executable, "-m", "headrace.cli", "up", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Ctrl-C is for the demo, which stops headrace in order.
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        _show_until_ready(process.stdout)
        threading.Thread(target=_show_the_rest, args=(process.stdout,), daemon=True).start()
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        finally:
            process.kill()


def _show_until_ready(output: IO[str]) -> None:
    for line in output:
        show(f"   {line.rstrip()}")
        if line.startswith("headrace is ready"):
            return
    raise SystemExit("headrace did not start: see its output above")


def _show_the_rest(output: IO[str]) -> None:
    """Show only warnings: the rest of its output is for people who run `headrace up` themselves."""
    for line in output:
        if line[:2].isdigit():
            show(f"   headrace: {line.rstrip()}")
