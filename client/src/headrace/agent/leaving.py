"""A worker that has to leave, such as for a drained node or a spot machine: nothing that it has computed is lost.

Its scheduler gives it no more tasks and moves its results to other workers. What runs has a part of the time to finish.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from distributed.core import ConnectionPool, Status
from distributed.protocol.pickle import dumps

from headrace.agent.plugin import RETIRE_STIMULUS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distributed import Nanny, Security, Worker
    from distributed.nanny import WorkerProcess

logger = logging.getLogger("headrace.agent")

# Part of the time that tasks that run may take; the rest is for moving what they leave.
_TASKS_PART = 0.6
# Between two looks at running tasks, and two tries while no other worker has room for the data.
_POLL_SECONDS = 0.1
_RETRY_SECONDS = 0.5
_ANSWER_SECONDS = 0.5
# A scheduler that is gone would be dialled for half a minute.
_CONNECT_SECONDS = 5.0
# States of tasks whose results a worker has told its scheduler, which may not have heard it.
_ENDED = frozenset(("memory", "error"))


async def hand_over(nanny: Nanny, seconds: float) -> None:
    """Has the scheduler retire the worker and close it.

    Gives up when the scheduler or the worker process is gone, or the time is over.
    """
    if (process := nanny.process) is None:
        return  # there is no worker process: nothing is computed
    nanny.rpc.timeout = _CONNECT_SECONDS
    moving = asyncio.create_task(_hand_over_started(nanny, process, seconds))
    ended = asyncio.create_task(process.stopped.wait())
    try:
        await asyncio.wait((moving, ended), return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait((moving,), timeout=_ANSWER_SECONDS)  # the scheduler's answer may come after the end
    finally:
        moving.cancel()
        ended.cancel()


async def hand_over_of(process: str, scheduler_address: str, security: Security, seconds: float) -> None:
    """As `hand_over`, for a worker of whose process nothing is known but its name, such as that of a command."""
    async with AsyncExitStack() as stack:
        arguments: dict[str, Any] = security.get_connection_args("worker")
        pool = ConnectionPool(timeout=_CONNECT_SECONDS, connection_args=arguments)
        stack.push_async_callback(pool.close)
        await pool.start()
        scheduler: Any = pool(scheduler_address)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                workers: dict[str, Any] = (await scheduler.identity())["workers"]
        except OSError as error:  # comms that break, and time-outs
            logger.info("the scheduler takes nothing over: %s", error)
            return
        for address, worker in workers.items():
            if worker["name"] == process:
                await _hand_over(scheduler, pool(address), address, seconds)


async def _hand_over_started(nanny: Nanny, process: WorkerProcess, seconds: float) -> None:
    """Waits until the nanny knows that its worker has started, which may compute by then."""
    end = time.monotonic() + seconds
    try:
        async with asyncio.timeout(seconds):
            while process.status is Status.starting:
                await nanny.scheduler.processing(workers=[])  # fails if the scheduler is gone: then it does not start
                await asyncio.sleep(_POLL_SECONDS)
    except OSError as error:  # comms that break, and time-outs
        logger.info("the scheduler takes nothing over: %s", error)
        return
    if (address := process.worker_address) is not None:
        await _hand_over(nanny.scheduler, nanny.rpc(address), address, end - time.monotonic())


async def _hand_over(scheduler: Any, worker: Any, address: str, seconds: float) -> None:
    begun = time.monotonic()
    try:
        async with asyncio.timeout(seconds):
            await _retire(scheduler, address, close=False)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TASKS_PART * seconds - (time.monotonic() - begun)):
                    await _tasks_have_ended(scheduler, worker, address)
            await _retire(scheduler, address, close=True)
        logger.info("what this worker held has moved to other workers")
    except TimeoutError:
        logger.warning("the time to end is over: what this worker still holds is lost")
    except OSError as error:  # comms that break
        logger.info("the scheduler takes nothing over: %s", error)
    except Exception:  # of the scheduler, which answers with its own
        logger.exception("what this worker holds could not be moved")


async def _retire(scheduler: Any, address: str, *, close: bool) -> None:
    """Returns once the results have moved. As long as there is nobody to take them, it tries again."""
    while True:
        retired = await scheduler.retire_workers(
            workers=[address], close_workers=close, remove=close, stimulus_id=f"{RETIRE_STIMULUS}-{time.time()}"
        )
        if address in retired:
            return
        await asyncio.sleep(_RETRY_SECONDS)


async def _tasks_have_ended(scheduler: Any, worker: Any, address: str) -> None:
    """Waits until no task runs, and until the scheduler knows the results of those that did."""
    while True:
        processing = (await scheduler.processing(workers=[address])).get(address, ())
        if not processing or not await _have_begun(worker, processing):
            return
        await asyncio.sleep(_POLL_SECONDS)


async def _have_begun(worker: Any, processing: Sequence[Any]) -> bool:
    """Returns what the worker says; True if its process does not find this module, such as that of a command."""
    try:
        answer: bool = (await worker.run(function=dumps(_have_begun_here), args=dumps((processing,))))["result"]
    except (ImportError, AttributeError):
        return True
    return answer


def _have_begun_here(processing: Sequence[Any], dask_worker: Worker) -> bool:
    """Whether tasks of which the scheduler waits for results have begun, or may begin; called in a worker's process.

    What a thread computes ends before the scheduler hears of it, and until then would be computed again.
    """
    if dask_worker.status is not Status.closing_gracefully:  # it does not know yet that it leaves
        return True
    state = dask_worker.state
    running = {task.key for task in state.all_running_tasks}
    tasks = (state.tasks.get(key) for key in processing)
    return any(task is not None and (task.key in running or task.state in _ENDED) for task in tasks)
