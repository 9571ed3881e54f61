"""Keeps parts running: a part that ended is started again, however often that is necessary.

Only a part that is never ready in the first place is given up: then a person waits for the start. One that refuses its
settings is given up at once.
"""

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

HEALTHY_SECONDS = 5.0  # a part that has run for as long after it was ready has not failed in a row
ATTEMPTS = 5  # of the first start
BAD_SETTINGS_EXIT_CODE = 2  # of a service; it would end the same way each time
EXPLAINED_FAILURES = 4  # after as many in a row, the end of the log is shown
LONGEST_PAUSE = 30.0
REPAIR_SECONDS = 600.0


class Supervisor:
    """Runs parts until it is stopped."""

    def __init__(
        self,
        layout: Layout,
        console: Console,
        clock: Callable[[], float] = time.monotonic,
        longest_pause: float = LONGEST_PAUSE,
    ) -> None:
        self.children: dict[str, Child] = {}
        self._layout = layout
        self._console = console
        self._clock = clock
        self._longest_pause = longest_pause
        self._ready: dict[str, asyncio.Future[None]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._launched: list[Process] = []

    def start(self, parts: Iterable[Part]) -> None:
        """Start parts and keep them running."""
        for part in parts:
            child = self.children[part.name] = Child(part, self.log(part), self._layout.data)
            log_file.rotate(child.log)
            error = _try_to_start(child)
            ready = self._ready[part.name] = asyncio.get_running_loop().create_future()
            self._tasks[part.name] = asyncio.create_task(self._keep(child, ready, error), name=part.name)

    async def ready(self) -> None:
        """Wait until all parts are ready; raise GaveUp if one of them is not at its first start."""
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
        finally:
            if not process.running:
                self._launched.remove(process)

    def log(self, part: Part) -> Path:
        """Return the log file of a part."""
        return self._layout.logs / f"{part.name}.log"

    async def replace(self, name: str) -> bool:
        """Have a successor take over from a part without a gap; say so, or why the part runs on as it is.

        Returns whether it did.
        """
        child, started = self.children[name], self._clock()
        try:
            await child.replace()
        except (NotReady, OSError) as error:
            self._console.warn(f"{name} runs on as it is: its successor {error}{_end_of_log(child)}")
            return False
        self._console.warn(f"{name} was replaced within {self._clock() - started:.1f} s")
        return True

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

    async def _keep(self, child: Child, ready: asyncio.Future[None], error: str | None) -> None:
        """Keep a child running. `error` is why it could not be started, if it could not."""
        failures, pauses = 0, delays(longest=self._longest_pause)
        while True:
            started, healthy = self._clock(), False
            if error is None:
                end, healthy = await self._follow(child, ready, started)
                if healthy:
                    failures, pauses = 0, delays(longest=self._longest_pause)
            else:
                end = error
            failures += 1
            if failures >= ATTEMPTS and not ready.done():
                raise GaveUp(f"{child.part.name} {end}, {failures} times in a row{_end_of_log(child)}")
            pause = 0.0 if healthy else next(pauses)  # what ran well is missed now
            self._report_failure(child, end, failures, pause)
            await asyncio.sleep(pause)
            error = _try_to_start(child)

    async def _follow(self, child: Child, ready: asyncio.Future[None], started: float) -> tuple[str, bool]:
        """Wait for the end of a child; return how it ended, and whether it was healthy before."""
        since = None
        try:
            await child.ready()
            since = self._clock()
            self._report_ready(child, ready, started)
            end = describe_end(await child.wait())
        except NotReady as error:
            if error.code == BAD_SETTINGS_EXIT_CODE and not ready.done():
                raise GaveUp(f"{child.part.name} refuses its settings{_end_of_log(child)}") from None
            end = str(error)
            await child.stop(within=0)
            await self._repair(child.part)
        except Exception as error:  # noqa: BLE001 - one child's trouble must not end the others
            end = f"failed ({type(error).__name__}: {error})"
            await child.stop(within=0)
        return end, since is not None and self._clock() - since >= HEALTHY_SECONDS

    async def _repair(self, part: Part) -> None:
        if part.repair is None:
            return
        repair = Part(name=f"{part.name}-repair", main=part.repair, environment=part.environment)
        log_file.rotate(self.log(repair))
        try:
            await self.run_once(repair, REPAIR_SECONDS)
        except OSError as error:
            self._console.warn(f"{repair.name} cannot be started ({error})")
        if said := log_file.tail(self.log(repair)):
            self._console.warn(said)

    def _report_ready(self, child: Child, ready: asyncio.Future[None], started: float) -> None:
        if ready.done():
            self._console.warn(f"{child.part.name} is back after {self._clock() - started:.1f} s")
        else:
            self._console.ready(child.part.name)
            ready.set_result(None)

    def _report_failure(self, child: Child, end: str, failures: int, pause: float) -> None:
        """Print the first failure, the second, the fourth, and so on: at intervals that grow."""
        name = child.part.name
        if failures & (failures - 1):
            return
        if failures < EXPLAINED_FAILURES:
            self._console.warn(f"{name} {end}; starting it again")
            return
        self._console.warn(
            f"{name} {end}, {failures} times in a row; clusters compute on, the next attempt is in {pause:.1f} s"
            f"{_end_of_log(child)}"
        )

    def _raise_failure(self) -> None:
        for task in self._tasks.values():
            if task.done() and not task.cancelled() and (failure := task.exception()):
                raise failure


def _try_to_start(child: Child) -> str | None:
    """Start a child; return why it cannot be started, such as a lack of memory or of process ids."""
    try:
        child.start()
    except Exception as error:  # noqa: BLE001 - one child's trouble must not end the others
        return f"cannot be started ({error})"
    return None


def _end_of_log(child: Child) -> str:
    return f"\n--- the end of {child.log} ---\n{child.log_tail() or '(empty)'}"
