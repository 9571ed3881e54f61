"""A whole headrace for a test: `headrace up` in a data directory of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil


@dataclass
class Running:
    """A running `headrace up`."""

    data: Path
    process: subprocess.Popen[bytes]
    output: Path
    seen: set[int] = field(default_factory=set[int])

    @property
    def gateway_file(self) -> dict[str, str]:
        return json.loads((self.data / "gateway.json").read_text())

    @property
    def port(self) -> int:
        return int(self.gateway_file["address"].rpartition(":")[2])

    def processes(self) -> list[psutil.Process]:
        """All processes of this deployment: those whose command line or environment names its data directory."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def find(self, *words: str) -> psutil.Process:
        """The one process whose command line has all of the words, once its forks have command lines of their own."""
        end = time.monotonic() + 60
        while len(found := [p for p in self.processes() if all(word in " ".join(_cmdline(p)) for word in words)]) != 1:
            if time.monotonic() > end:
                raise LookupError(f"{len(found)} processes with {words}: {[_cmdline(p) for p in self.processes()]}")
            time.sleep(0.02)
        return found[0]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return str(self.data) in "\0".join([*_cmdline(process), *process.environ().values()])
        except psutil.Error:
            return False


def _cmdline(process: psutil.Process) -> list[str]:
    try:
        return [part for part in process.cmdline() if part]
    except psutil.Error:
        return []


@contextmanager
def running(directory: Path, *options: str, environment: Mapping[str, str] | None = None) -> Generator[Running]:
    """Starts headrace, waits until it is ready, stops it, and fails if a process is left."""
    data, output = directory / "data", directory / "output.log"
    env = {key: value for key, value in os.environ.items() if not key.startswith(("HEADRACE_", "DASK_"))}
    env |= {"HEADRACE_DATA_DIR": str(data), **(environment or {})}
    command = [sys.executable, "-m", "headrace.cli", "up", "--port", "0", *options]
    with output.open("wb") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    headrace = Running(data, process, output)
    try:
        wait_until(lambda: (data / "gateway.json").exists() or process.poll() is not None, within=60)
        assert process.poll() is None, output.read_text()
        yield headrace
    finally:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        left = [(p.pid, _cmdline(p)) for p in headrace.processes()]
        for pid, _ in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert not left, f"left behind: {left}\n{output.read_text()}"


def wait_until(condition: Callable[[], object], within: float = 60.0, every: float = 0.02) -> None:
    """Waits for a condition, which it checks every so many seconds."""
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {within} s")
        time.sleep(every)
