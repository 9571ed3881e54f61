"""Removes workers whose processes have ended, as instructed.

The end of a process closes its connections. The loss of its node does not: Dask would wait until they time out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from distributed.core import Status

if TYPE_CHECKING:
    from distributed import Scheduler
    from distributed.scheduler import WorkerState

logger = logging.getLogger("headrace.agent")

# The workers of a node are lost together, but the platform says so of one after the other.
_GATHER_SECONDS = 0.3


class EndedWorkers:
    """Removes them as lost, so that their tasks run again elsewhere.

    Dask counts for each task how many workers were lost with it, and gives it up after a few. So workers that are to be
    removed receive no more tasks, and all are removed together: no task moves from one that is lost to the next.

    Parameters
    ----------
    gather_seconds
        Time for which further workers are waited for.
    """

    def __init__(self, scheduler: Scheduler, *, gather_seconds: float = _GATHER_SECONDS) -> None:
        self._scheduler = scheduler
        self._gather_seconds = gather_seconds
        self._ended: dict[str, str] = {}
        self._removing: asyncio.Task[None] | None = None

    def remove(self, ended: Mapping[str, str]) -> None:
        """Removes workers, given as addresses by name; one that has another address by now is another process."""
        found = [worker for name, address in ended.items() if (worker := self._find(name, address)) is not None]
        for worker in found:
            self._ended[worker.address] = str(worker.name)
            self._scheduler.handle_worker_status_change(Status.closing, worker, stimulus_id=_stimulus())
        if self._ended and (self._removing is None or self._removing.done()):
            self._removing = asyncio.create_task(self._remove_all(), name="headrace remove ended workers")

    def _find(self, name: str, address: str) -> WorkerState | None:
        worker = self._scheduler.workers.get(address)
        return worker if worker is not None and str(worker.name) == name else None

    async def _remove_all(self) -> None:
        await asyncio.sleep(self._gather_seconds)
        while self._ended:
            ended, self._ended = self._ended, {}
            found = [worker for address, name in ended.items() if (worker := self._find(name, address)) is not None]
            await self._remove(found)

    async def _remove(self, workers: Iterable[WorkerState]) -> None:
        for worker in workers:
            logger.warning("worker %s is lost: its process has ended", worker.name)
            try:
                # One that runs after all, on a node that nobody reaches, ends when it finds its connection closed.
                self._scheduler.stream_comms[worker.address].abort()
                await self._scheduler.remove_worker(worker.address, close=False, stimulus_id=_stimulus())
            except Exception:
                logger.exception("worker %s could not be removed", worker.name)


def _stimulus() -> str:
    return f"headrace-ended-{time.time()}"
