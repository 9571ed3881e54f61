"""Users' processes that compute while their connections are harmed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.running import Running

_PROGRAM = Path(__file__).with_name("computing.py")


class User:
    """A running computing.py."""

    def __init__(self, process: subprocess.Popen[str], scheduler: int) -> None:
        self.pid = process.pid
        self.scheduler = scheduler
        self._process = process

    def check(self) -> float:
        """Wait for all results, which must be correct; return the seconds of a short call before that."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print("check", file=self._process.stdin, flush=True)
        answer, _, seconds = self._process.stdout.readline().partition(" ")
        assert answer == "correct"
        return float(seconds)


@contextmanager
def computing(headrace: Running, count: int, seconds: float, *, within: Sequence[str] = ()) -> Generator[User]:
    """Let a user compute so many futures of so many seconds, in a process that the command `within` starts."""
    environment = os.environ | {"HEADRACE_DATA_DIR": str(headrace.data), "DASK_HEADRACE__CONNECT": "proxied"}
    process = subprocess.Popen(
        [*within, sys.executable, str(_PROGRAM), str(count), str(seconds)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            yield User(process, int(process.stdout.readline()))
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(60) == 0
        finally:
            process.kill()
