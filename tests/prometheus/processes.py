"""Processes of this Python: `headrace up`, and users' programs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def process(arguments: list[str], environment: Mapping[str, str], log: Path) -> Generator[subprocess.Popen[str]]:
    with log.open("w") as output:
        started = subprocess.Popen(
            [sys.executable, *arguments],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if arguments[0] == "-c" else output,
            stderr=output,
            text=True,
        )
        try:
            yield started
        finally:
            started.terminate()
            started.communicate(timeout=60)
