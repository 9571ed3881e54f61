"""Carries out what a plan decided, by asking the backend; every action is safe to repeat."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

from headrace_chassis import logs
from headrace_controller.backends.base import Backend, BackendError
from headrace_controller.backends.process import SCHEDULER
from headrace_controller.model import Cluster, ClusterId, WorkerId
from headrace_controller.plan import Action, FetchLogTail, ScaleToZero, StartProcesses, StopAll, StopProcesses
from headrace_controller.reconciling.launch_specs import LaunchSpecs
from headrace_controller.reconciling.manifest_sync import ManifestSync
from headrace_controller.reconciling.queue import WorkQueue
from headrace_controller.reconciling.start_errors import StartErrors
from headrace_controller.reconciling.stops_under_way import StopsUnderWay

log = logs.get_logger()
_TAIL_LINES = 100
_TAIL_SECONDS = 2.0
_STOP_RETRY_SECONDS = 1.0


class Executor:
    """Launches within the step; stops beside it, because a stop waits for processes to exit."""

    def __init__(
        self,
        backend: Backend,
        specs: LaunchSpecs,
        manifests: ManifestSync,
        start_errors: StartErrors,
        queue: WorkQueue[ClusterId],
        *,
        scale_to_zero: Callable[[Cluster, str], Awaitable[None]],
    ) -> None:
        self._backend = backend
        self._specs = specs
        self._manifests = manifests
        self._start_errors = start_errors
        self._queue = queue
        self._scale_to_zero = scale_to_zero
        self._under_way = StopsUnderWay()
        self._tasks: set[asyncio.Task[None]] = set()

    async def execute(self, cluster: Cluster, actions: Iterable[Action]) -> None:
        """Carries out actions in their order.

        A launch that the backend refuses is recorded, and keeps nothing else from being carried out.
        """
        for action in actions:
            match action:
                case StartProcesses(processes):
                    await self._start(cluster, processes)
                case StopProcesses(processes):
                    self.stop(cluster.id, processes)
                case StopAll():
                    self._start_errors.discard(cluster.id)
                    self.stop(cluster.id)
                case ScaleToZero(why):
                    await self._scale_to_zero(cluster, why)
                case FetchLogTail():  # read while planning
                    pass

    def stop(self, cluster: ClusterId, processes: Collection[str] | None = None) -> None:
        """Starts to stop processes, all by default; those that are being stopped already are left out."""
        claimed = self._under_way.claim(cluster, processes)
        if not claimed:
            return
        task = asyncio.create_task(self._stop(cluster, None if processes is None else sorted(claimed)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._under_way.release(cluster, claimed))

    async def log_tail(self, cluster: ClusterId, process: str, max_bytes: int) -> str:
        """Returns the last lines of a process's log; "" if they cannot be read."""
        content = b""
        try:
            async with asyncio.timeout(_TAIL_SECONDS):
                async for piece in self._backend.logs(cluster, process, tail_lines=_TAIL_LINES):
                    content = (content + piece.lines)[-max_bytes:]
        except (BackendError, TimeoutError) as error:
            log.warning("cannot read a log", cluster=cluster, process=process, error=str(error))
        except Exception:  # logged in full; the cluster ends without its log
            log.exception("reading a log failed", cluster=cluster, process=process)
        return content.decode(errors="replace")

    async def close(self) -> None:
        """Abandons stops that are under way; the next replica asks for them again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _start(self, cluster: Cluster, processes: Sequence[str]) -> None:
        record = cluster.workers.get(WorkerId(processes[0]))
        group = record.group if record else None
        manifest = await self._manifests.initial(cluster) if SCHEDULER in processes else b""
        try:
            await self._backend.start(self._specs.make(cluster, processes, manifest))
        except BackendError as error:
            log.warning(
                "cannot launch processes; will try again" if error.cause is None else "can never launch processes",
                cluster=cluster.id,
                group=group,
                error=str(error),
                cause=error.cause,
            )
            if SCHEDULER in processes:
                self._manifests.launch_failed(cluster.id)
            self._start_errors.record(
                cluster.id, group, str(error), cause=error.cause, wait=error.wait, processes=processes
            )
            self._queue.add(cluster.id)
        else:
            self._start_errors.clear(cluster.id, group)

    async def _stop(self, cluster: ClusterId, processes: Sequence[str] | None) -> None:
        if processes is None:
            await self._manifests.written(cluster)  # otherwise it could be adopted as a running cluster
        try:
            await self._backend.stop(cluster, processes)
        except BackendError as error:
            log.warning("cannot stop processes; will try again", cluster=cluster, error=str(error))
            self._queue.add_after(cluster, _STOP_RETRY_SECONDS)
        except Exception:  # logged in full; the plan asks again
            log.exception("stopping processes failed", cluster=cluster)
