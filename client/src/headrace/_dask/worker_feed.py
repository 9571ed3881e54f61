"""The scheduler's own report on its workers, behind `GatewayCluster.scheduler_info`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from distributed.comm.core import FatalCommClosedError
from distributed.core import rpc
from distributed.objects import SchedulerInfo

from headrace._dask.scheduler_access import NOTHING_THERE
from headrace._wire.connection import TRANSIENT
from headrace.backoff import delays
from headrace.errors import HeadraceError

logger = logging.getLogger("distributed.client")

_HANDSHAKE_SECONDS = 0.5
_FIRST_PAUSE_SECONDS = 0.005
_LONGEST_PAUSE_SECONDS = 0.5
_LONGEST_DELAY_SECONDS = 30.0
_ANSWER_SECONDS = 15.0


class WorkerFeed:
    """What a scheduler reports about itself and its workers, kept up to date by its stream of changes.

    Parameters
    ----------
    scheduler
        Connection to the scheduler.
    prepare
        Called before the connection is used; raises `HeadraceError` if it cannot be.
    """

    def __init__(self, scheduler: rpc, prepare: Callable[[], Awaitable[None]]) -> None:
        self.info: dict[str, Any] = {"workers": {}}
        self._scheduler: Any = scheduler
        self._prepare = prepare
        self._changed = asyncio.Event()
        self._changes = 0
        self._needed = asyncio.Event()
        self._is_connecting = False
        self._starting: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None

    def start_later(self, delay: float) -> None:
        """Start after `delay` seconds, or as soon as `wait_for` is called."""
        self._starting = asyncio.ensure_future(self._start_later(delay))

    async def start(self) -> None:
        """Get the current state and follow the changes. The cluster is usable without it: a failure is logged."""
        comm = None
        try:
            comm = await self._subscribe()
        except (OSError, HeadraceError) as error:
            why = str(error) or f"no answer within {_ANSWER_SECONDS:.0f} s"
            logger.warning("the list of workers of %s is not up to date: %s", self._scheduler.address, why)
        self._reading = asyncio.ensure_future(self._follow(comm))

    async def wait_for(self, count: int) -> None:
        """Wait until this number of workers runs.

        The stream reports when workers come and go, but not when they become ready: then the scheduler is polled.
        """
        self._needed.set()
        pause = _FIRST_PAUSE_SECONDS
        while self.count_running() < count:
            if len(self.info["workers"]) < count:
                self._changed.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), _LONGEST_PAUSE_SECONDS)
            else:
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            await self._prepare()
            changes = self._changes
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    answer = await self._scheduler.identity()
                self._update(answer, is_newest=changes == self._changes)
            except FatalCommClosedError:
                raise
            except OSError as error:  # also if there was no answer: the next question has a connection of its own
                logger.debug("%s did not say which workers it has: %r", self._scheduler.address, error)

    def count_running(self) -> int:
        """Return the number of workers that take tasks."""
        return list(self.states().values()).count("running")

    def states(self) -> dict[str, str]:
        """Return the state of each worker, by its address."""
        return {address: worker["status"] for address, worker in self.info["workers"].items()}

    async def close(self) -> None:
        if self._starting is not None:
            if self._is_connecting:
                # Cancelled within a TLS handshake, Tornado would leave the socket to the garbage collector.
                await asyncio.wait([self._starting], timeout=_HANDSHAKE_SECONDS)
            self._starting.cancel()
        if self._reading is not None:
            self._reading.cancel()
        await self._scheduler.close_rpc()

    async def _start_later(self, delay: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._needed.wait(), delay)
        await self.start()

    async def _subscribe(self) -> Any:
        await self._prepare()
        self._is_connecting = True
        comm = await self._scheduler.live_comm()
        comm.name = "headrace worker status"
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await comm.write({"op": "subscribe_worker_status"})
                self.info = SchedulerInfo(await comm.read())
                self._changes += 1
        except BaseException:
            comm.abort()
            raise
        self._changed.set()
        return comm

    async def _follow(self, comm: Any) -> None:
        """Read the changes, and subscribe again after the connection broke, until the cluster has ended."""
        while True:
            if comm is not None:
                await self._read(comm)
            for delay in delays(longest=_LONGEST_DELAY_SECONDS):
                await asyncio.sleep(delay)
                try:
                    comm = await self._subscribe()
                    break
                except (OSError, *TRANSIENT):
                    continue
                except NOTHING_THERE:
                    self.info = {"workers": {}}
                    return
                except HeadraceError:
                    return

    async def _read(self, comm: Any) -> None:
        try:
            while True:
                for op, message in await comm.read():
                    self._apply(op, message)
                self._changed.set()
        except OSError:
            return
        except asyncio.CancelledError:
            comm.abort()
            raise

    def _update(self, answer: dict[str, Any], *, is_newest: bool) -> None:
        """Use what the scheduler has answered; of workers that have come or gone meanwhile, the stream knows more."""
        if not is_newest:
            answered = answer["workers"]
            workers = {address: answered.get(address, worker) for address, worker in self.info["workers"].items()}
            answer = {**answer, "workers": workers}
        self.info = SchedulerInfo(answer)

    def _apply(self, op: str, message: Any) -> None:
        self._changes += 1
        if op == "add":
            self.info["workers"].update(message.pop("workers"))
            self.info.update(message)
        elif op == "remove":
            self.info["workers"].pop(message, None)
