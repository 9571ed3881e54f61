"""The process of one part: started, awaited until it is ready, stopped."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from headrace_up import log_file
from headrace_up.process import Part, Process, spawn


class NotReady(Exception):
    """The process ended, or took too long, before it was ready."""


class Child:
    """The process of a part, which may be started again and again."""

    def __init__(self, part: Part, log: Path, directory: Path) -> None:
        self.part = part
        self.log = log
        self._directory = directory
        self._process: Process | None = None
        self._probe: asyncio.Future[None] | None = None

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process and self._process.running else None

    def start(self) -> None:
        """Start the process; `ready` waits until it is ready."""
        read_end, write_end = os.pipe()
        try:
            log = log_file.open_log(self.log)
            try:
                self._process = spawn(self.part, self._directory, log, write_end)
            finally:
                os.close(log)
        except OSError:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        self._probe = asyncio.ensure_future(_ready(self.part, read_end))

    async def ready(self) -> None:
        """Wait until the process is ready; raise NotReady."""
        assert self._process
        assert self._probe
        probe, ended = self._probe, asyncio.ensure_future(self._process.wait())
        try:
            await asyncio.wait({probe, ended}, timeout=self.part.ready_seconds, return_when=asyncio.FIRST_COMPLETED)
            if probe.done():
                return probe.result()
            if not ended.done():
                raise NotReady(f"was not ready within {self.part.ready_seconds:g} s")
            raise NotReady(describe_end(ended.result()))
        finally:
            probe.cancel()
            ended.cancel()
            await asyncio.gather(probe, ended, return_exceptions=True)

    async def wait(self) -> int:
        """Wait for the end of the process; return its exit code, negative for a signal."""
        assert self._process
        return await self._process.wait()

    async def stop(self, within: float) -> None:
        """Ask the process to end; kill it when it has not ended in time."""
        if self._process:
            await self._process.stop(within)

    def kill(self) -> None:
        """Kill the process, now."""
        if self._process:
            self._process.kill()

    def log_tail(self) -> str:
        """Return the last lines of the log."""
        return log_file.tail(self.log)


def describe_end(code: int) -> str:
    """Say how a process ended."""
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


async def _ready(part: Part, descriptor: int) -> None:
    """Wait for the part's probe, or until it writes "ready" to the descriptor."""
    try:
        if part.probe:
            return await part.probe()
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(descriptor, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(descriptor)
        if not os.read(descriptor, 64).startswith(b"ready"):
            await loop.create_future()  # it has closed the descriptor, so it has ended or is about to
    finally:
        os.close(descriptor)
