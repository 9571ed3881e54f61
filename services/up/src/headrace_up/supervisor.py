"""Keeps parts running: starts a part that died again, and gives up on one that keeps dying."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from headrace.backoff import delays
from headrace_up import log_file
from headrace_up.child import Child, NotReady, describe_end
from headrace_up.console import Console
from headrace_up.errors import GaveUp
from headrace_up.layout import Layout
from headrace_up.process import Part, Process, spawn

QUICK_SECONDS = 5.0  # a part that dies sooner than this after its start dies quickly
QUICK_DEATHS = 5


class Supervisor:
    """Runs parts until it is stopped."""

    def __init__(self, layout: Layout, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.children: dict[str, Child] = {}
        self._layout = layout
        self._console = console
        self._clock = clock
        self._ready: dict[str, asyncio.Future[None]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._launched: list[Process] = []

    def start(self, parts: Iterable[Part]) -> None:
        """Start parts and keep them running."""
        for part in parts:
            child = self.children[part.name] = Child(part, self.log(part), self._layout.data)
            log_file.rotate(child.log)
            child.start()
            ready = self._ready[part.name] = asyncio.get_running_loop().create_future()
            self._tasks[part.name] = asyncio.create_task(self._keep(child, ready), name=part.name)

    async def ready(self) -> None:
        """Wait until all parts are ready; raise GaveUp if one of them cannot be kept running."""
        everything = asyncio.gather(*self._ready.values())
        try:
            await asyncio.wait({everything, *self._tasks.values()}, return_when=asyncio.FIRST_COMPLETED)
            self._raise_failure()
        finally:
            everything.cancel()
            await asyncio.gather(everything, return_exceptions=True)

    def launch(self, part: Part) -> Process:
        """Start a part that ends by itself."""
        log = log_file.open_log(self.log(part))
        try:
            process = spawn(part, self._layout.data, log)
        finally:
            os.close(log)
        self._launched.append(process)
        return process

    async def run_once(self, part: Part, within: float) -> int:
        """Run a part that ends by itself; return its exit code. It is killed after `within` seconds."""
        process = self.launch(part)
        try:
            async with asyncio.timeout(within):
                return await process.wait()
        except TimeoutError:
            process.kill()
            return await process.wait()

    def log(self, part: Part) -> Path:
        """Return the log file of a part."""
        return self._layout.logs / f"{part.name}.log"

    async def watch(self) -> None:
        """Raise GaveUp as soon as a part cannot be kept running; never returns."""
        while True:
            await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_COMPLETED)
            self._raise_failure()

    async def stop(self, names: Iterable[str], within: float) -> None:
        """Stop parts side by side; kill those that have not ended in time, and all that were launched."""
        for process in self._launched:
            process.kill()
        chosen = [name for name in names if name in self.children]
        for name in chosen:
            self._tasks[name].cancel()
        await asyncio.gather(*(self._tasks[name] for name in chosen), return_exceptions=True)
        await asyncio.gather(*(self.children[name].stop(within) for name in chosen))

    def kill(self) -> None:
        """Kill all parts, now."""
        for child in self.children.values():
            child.kill()
        for process in self._launched:
            process.kill()

    async def _keep(self, child: Child, ready: asyncio.Future[None]) -> None:
        """Keep a child running that has been started."""
        quick, pauses, started = 0, delays(), self._clock()
        while True:
            try:
                await child.ready()
                self._report_ready(child, ready, started)
                end = describe_end(await child.wait())
            except NotReady as error:
                end = str(error)
                await child.stop(within=0)
            if self._clock() - started >= QUICK_SECONDS:
                quick, pauses = 0, delays()
            quick += 1
            if quick >= QUICK_DEATHS:
                tail = child.log_tail() or "(empty)"
                name = child.part.name
                raise GaveUp(f"{name} {end}, {quick} times in a row\n--- the end of {child.log} ---\n{tail}")
            self._console.warn(f"{child.part.name} {end}; starting it again")
            await asyncio.sleep(next(pauses))
            started = self._clock()
            child.start()

    def _report_ready(self, child: Child, ready: asyncio.Future[None], started: float) -> None:
        if ready.done():
            self._console.warn(f"{child.part.name} is back after {self._clock() - started:.1f} s")
        else:
            self._console.ready(child.part.name)
            ready.set_result(None)

    def _raise_failure(self) -> None:
        for task in self._tasks.values():
            if task.done() and not task.cancelled() and (failure := task.exception()):
                raise failure
