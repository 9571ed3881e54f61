"""Keeps children running: starts one that died again, and gives up on one that keeps dying."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence

from headrace_chassis.backoff import delays
from headrace_up.child import Child, NotReady, describe_end
from headrace_up.console import Console

QUICK_SECONDS = 5.0
QUICK_DEATHS = 5


class GaveUp(Exception):
    """A child kept dying; the message carries the tail of its log."""


class Supervisor:
    """Runs children until told to stop."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self.children: dict[str, Child] = {}

    async def start(self, children: Iterable[Child]) -> None:
        """Starts children side by side; returns when all are ready, raises GaveUp if one cannot be kept up."""
        loop = asyncio.get_running_loop()
        waits: list[asyncio.Future[None]] = []
        for child in children:
            ready: asyncio.Future[None] = loop.create_future()
            self.children[child.spec.name] = child
            self._keepers[child.spec.name] = asyncio.create_task(self._keep(child, ready), name=child.spec.name)
            waits.append(ready)
        everything = asyncio.gather(*waits)
        try:
            await asyncio.wait({everything, *self._keepers.values()}, return_when=asyncio.FIRST_COMPLETED)
            self._raise_failure()
        finally:
            everything.cancel()
            await asyncio.gather(everything, return_exceptions=True)

    async def watch(self) -> None:
        """Returns never; raises GaveUp when a child cannot be kept up."""
        while True:
            await asyncio.wait(list(self._keepers.values()), return_when=asyncio.FIRST_COMPLETED)
            self._raise_failure()

    def _raise_failure(self) -> None:
        for keeper in self._keepers.values():
            if keeper.done() and not keeper.cancelled() and (failure := keeper.exception()):
                raise failure

    async def _keep(self, child: Child, ready: asyncio.Future[None]) -> None:
        quick = 0
        pauses = delays()
        while True:
            started = self._clock()
            try:
                await child.start()
                self._console_ready(child, ready, started)
                end = describe_end(await child.wait())
            except NotReady as error:
                end = str(error)
                await child.stop(within=0)
            if self._clock() - started >= QUICK_SECONDS:
                quick, pauses = 0, delays()
            quick += 1
            if quick >= QUICK_DEATHS:
                raise GaveUp(_last_words(child, end, quick))
            self._console.warn(f"{child.spec.name} {end}; starting it again")
            await asyncio.sleep(next(pauses))

    def _console_ready(self, child: Child, ready: asyncio.Future[None], started: float) -> None:
        if ready.done():
            self._console.warn(f"{child.spec.name} is back after {self._clock() - started:.1f} s")
        else:
            self._console.ready(child.spec.name, started)
            ready.set_result(None)

    async def stop(self, names: Sequence[str], within: float) -> None:
        """Ends children side by side; kills who has not ended in time."""
        keepers = [self._keepers[name] for name in names if name in self._keepers]
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        await asyncio.gather(*(self.children[name].stop(within) for name in names if name in self.children))

    def kill(self) -> None:
        """Kills all children, now."""
        for child in self.children.values():
            child.kill()


def _last_words(child: Child, end: str, deaths: int) -> str:
    tail = child.log_tail() or "(it wrote nothing)"
    return f"{child.spec.name} {end}, {deaths} times in a row\n--- the end of {child.log} ---\n{tail}"
