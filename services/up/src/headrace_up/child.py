"""The process of one part: started, awaited until it is ready, replaced by its successor, stopped."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from headrace_up import log_file
from headrace_up.process import Part, Process, spawn


class NotReady(Exception):
    """The process ended, or took too long, before it was ready. `code` is its exit code, if it ended."""

    def __init__(self, reason: str, code: int | None = None) -> None:
        super().__init__(reason)
        self.code = code


class Child:
    """The process of a part, which may be started again and again."""

    def __init__(self, part: Part, log: Path, directory: Path) -> None:
        self.part = part
        self.log = log
        self._directory = directory
        self._process: Process | None = None
        self._probe: asyncio.Future[None] | None = None
        self._successions = 0
        self._succession = asyncio.Event()
        self._ending: list[Process] = []  # they have a successor, and end by themselves

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process and self._process.running else None

    def start(self) -> None:
        """Start the process; `ready` waits until it is ready."""
        for process in self._ending:  # only the successor that is gone could have told them when to end
            process.kill()
        self._successions = 0
        read_end, write_end = os.pipe()
        try:
            self._process = self._spawn(self.part, write_end)
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
        await _until_ready(self.part, self._process, self._probe)

    async def replace(self) -> None:
        """Have a successor take over from the process; raise NotReady if it does not, and the process runs on."""
        if self.part.successor is None or self._process is None:
            raise NotReady("cannot take over here")
        successor = self.part.successor(self._successions + 1)
        assert successor.probe
        before, process = self._process, self._spawn(successor)
        try:
            await _until_ready(successor, process, asyncio.ensure_future(successor.probe()))
        except BaseException:
            process.kill()
            raise
        if self._process is not before or not before.running:
            process.kill()
            raise NotReady("came too late: what it should take over from has ended meanwhile")
        self._ending = [other for other in (*self._ending, before) if other.running]
        self._process = process
        self._successions += 1
        self._succession.set()
        self._succession = asyncio.Event()

    async def wait(self) -> int:
        """Wait for the end of the process, or of its last successor; return the exit code, negative for a signal."""
        while True:
            assert self._process
            ended = asyncio.ensure_future(self._process.wait())
            succeeded = asyncio.ensure_future(self._succession.wait())
            try:
                await asyncio.wait({ended, succeeded}, return_when=asyncio.FIRST_COMPLETED)
                if not succeeded.done():
                    return ended.result()
            finally:
                ended.cancel()
                succeeded.cancel()

    async def stop(self, within: float) -> None:
        """Ask the process to end; kill it when it has not ended in time."""
        await asyncio.gather(*(process.stop(within) for process in self._processes()))

    def send_signal(self, number: signal.Signals) -> None:
        """Send the process a signal, if it runs."""
        if self._process:
            self._process.send_signal(number)

    def kill(self) -> None:
        """Kill the process, now."""
        for process in self._processes():
            process.kill()

    def _processes(self) -> list[Process]:
        return [*self._ending, *([self._process] if self._process else [])]

    def _spawn(self, part: Part, ready: int | None = None) -> Process:
        log = log_file.open_log(self.log)
        try:
            return spawn(part, self._directory, log, ready)
        finally:
            os.close(log)

    def log_tail(self) -> str:
        """Return the last lines of the log."""
        return log_file.tail(self.log)


def describe_end(code: int) -> str:
    """Say how a process ended."""
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


async def _until_ready(part: Part, process: Process, probe: asyncio.Future[None]) -> None:
    ended = asyncio.ensure_future(process.wait())
    try:
        await asyncio.wait({probe, ended}, timeout=part.ready_seconds, return_when=asyncio.FIRST_COMPLETED)
        if probe.done():
            return probe.result()
        if not ended.done():
            raise NotReady(f"was not ready within {part.ready_seconds:g} s")
        raise NotReady(describe_end(ended.result()), ended.result())
    finally:
        probe.cancel()
        ended.cancel()
        await asyncio.gather(probe, ended, return_exceptions=True)


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
