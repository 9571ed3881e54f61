"""One child process: started with a log file of its own, awaited until ready, ended for sure."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from headrace_up import log_file, pid_files
from headrace_up.layout import Layout

READY_WITHIN = 30.0


@dataclass(frozen=True, kw_only=True)
class ChildSpec:
    """A process to run and how to know that it is ready.

    Without a `probe` the child writes "ready" to the file descriptor that HEADRACE_READY_FD names.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    probe: Callable[[], Awaitable[None]] | None = None


class NotReady(Exception):
    """The child ended or took too long before it was ready."""


class Child:
    """A process that may be started again and again."""

    def __init__(self, spec: ChildSpec, layout: Layout) -> None:
        self.spec = spec
        self.log = layout.logs / f"{spec.name}.log"
        self._directory = layout.data
        self._pid_file = layout.processes / f"{spec.name}.json"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The pid while it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        """Starts it and returns when it is ready."""
        read_end, write_end = os.pipe()
        try:
            try:
                process = await self._spawn(write_end)
            finally:
                os.close(write_end)
            await self._wait_until_ready(process, read_end)
        finally:
            os.close(read_end)

    async def _spawn(self, ready_fd: int) -> asyncio.subprocess.Process:
        log = log_file.open_log(self.log)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self.spec.command,
                env={**self.spec.environment, "HEADRACE_READY_FD": str(ready_fd)},
                cwd=self._directory,
                pass_fds=(ready_fd,),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A session of its own: Ctrl-C in the terminal is for us, who end the children in order.
                start_new_session=True,
            )
        except OSError as error:
            raise NotReady(f"cannot be started: {error}") from error
        finally:
            os.close(log)
        pid_files.remember(self._pid_file, self._process.pid)
        return self._process

    async def _wait_until_ready(self, process: asyncio.subprocess.Process, ready_fd: int) -> None:
        ready = asyncio.ensure_future(self.spec.probe() if self.spec.probe else _told_ready(ready_fd))
        ended = asyncio.ensure_future(process.wait())
        try:
            await asyncio.wait({ready, ended}, timeout=READY_WITHIN, return_when=asyncio.FIRST_COMPLETED)
            if ready.done() and ready.exception() is None:
                return
            if not ended.done() and not ready.done():
                raise NotReady(f"was not ready within {READY_WITHIN:g} s")
            raise NotReady(describe_end(await ended))
        finally:
            for task in (ready, ended):
                task.cancel()
            await asyncio.gather(ready, ended, return_exceptions=True)

    async def wait(self) -> int:
        """Waits for its end; returns the exit code, negative for a signal."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self, within: float) -> None:
        """Asks it to end; kills it and its process group when it does not."""
        if self._process is None:
            return
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(asyncio.shield(self._process.wait()), within)
            except TimeoutError:
                self.kill()
                await self._process.wait()
        self._pid_file.unlink(missing_ok=True)

    def kill(self) -> None:
        """Kills it with its process group, now."""
        if (pid := self.pid) is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)

    def log_tail(self) -> str:
        """The last lines of its log."""
        return log_file.tail(self.log)


async def _told_ready(descriptor: int) -> None:
    """Waits for the child's word; a child that closes the pipe without it has ended or is about to."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)
    if not os.read(descriptor, 64).startswith(b"ready"):
        await loop.create_future()  # its end will tell


def describe_end(code: int) -> str:
    """Says how a process ended, for people."""
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
