"""What tests compute on workers."""

from __future__ import annotations

import asyncio
import functools
import importlib
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.config
import distributed
from distributed.diagnostics.plugin import NannyPlugin
from distributed.nanny import WorkerProcess


def settings() -> tuple[str | None, float, int, str | None]:
    config = dask.config
    token = os.environ.get("HEADRACE_AGENT_TOKEN")
    return os.environ.get("MY_VARIABLE"), config.get("distributed.worker.memory.target"), config.get("my.number"), token


def pid_and_group() -> tuple[int, int]:
    return os.getpid(), os.getpgrp()


def finds(first: str, second: str) -> bool:
    """Whether one text, directly followed by the other, is in the heap of this process."""
    with Path("/proc/self/maps").open() as maps, Path("/proc/self/mem").open("rb", buffering=0) as memory:
        for line in maps:
            start, end = (int(number, 16) for number in line.split()[0].split("-"))
            if "rw-p" in line and end - start <= 16 << 20:
                memory.seek(start)
                if re.search(f"[{first[0]}]{first[1:]}(?:{second})".encode(), memory.read(end - start)):
                    return True
    return False


def imported() -> list[str]:
    return sorted(sys.modules)


def sleep(seconds: float, result: int = 0) -> int:
    time.sleep(seconds)
    return result


def take_memory(size: int) -> None:
    block = bytearray(size)
    block[:] = b"x" * size
    time.sleep(30)


def block(size: int) -> bytes:
    return os.urandom(size)


class Marks(NannyPlugin):
    name = "marks"
    restart = True

    def setup(self, nanny: distributed.Nanny) -> None:
        nanny.env["MARKED"] = "yes"


def marked_answer() -> tuple[str | None, int]:
    return os.environ.get("MARKED"), importlib.import_module("their_module").answer


def nanny_status(dask_worker: distributed.Nanny) -> str:
    return dask_worker.status.name


def shout(word: str) -> None:
    print(word, flush=True)


def counted(directory: str, number: int, *needs: int) -> int:
    """Writes down that it runs; while there is a file ``hold-<number>``, it goes on running."""
    with (Path(directory) / "runs").open("a") as runs:
        runs.write(f"{number}\n")
    while (Path(directory) / f"hold-{number}").exists():
        time.sleep(0.01)
    return number + sum(needs)


async def counted_coroutine(directory: str, number: int, *needs: int) -> int:
    """As `counted`, on the worker's event loop."""
    with (Path(directory) / "runs").open("a") as runs:
        runs.write(f"{number}\n")
    while (Path(directory) / f"hold-{number}").exists():  # noqa: ASYNC110 a file
        await asyncio.sleep(0.01)
    return number + sum(needs)


def workers(dask_scheduler: distributed.Scheduler) -> list[str]:
    return list(dask_scheduler.workers)


def worker_statuses(dask_scheduler: distributed.Scheduler) -> dict[str, str]:
    return {address: worker.status.name for address, worker in dask_scheduler.workers.items()}


def is_leaving(name: str, dask_scheduler: distributed.Scheduler) -> bool:
    """Whether the worker has left, or is about to."""
    return worker_statuses(dask_scheduler).get(dask_scheduler.aliases.get(name, "")) != "running"


def task_state(key: str, dask_worker: distributed.Worker) -> str | None:
    task = dask_worker.state.tasks.get(key)
    return task and task.state


def know_late(directory: str) -> None:
    """Has the nanny of this process find out that its worker runs when there is no file ``hold-nanny`` any more."""
    processes: Any = WorkerProcess
    wait = processes._wait_until_connected

    async def wait_longer(process: WorkerProcess, *arguments: Any) -> Any:
        while (Path(directory) / "hold-nanny").exists():  # noqa: ASYNC110 a file
            await asyncio.sleep(0.01)
        return await wait(process, *arguments)

    processes._wait_until_connected = wait_longer


def gather_late(directory: str, dask_worker: distributed.Worker) -> None:
    """Has the worker fetch results for its scheduler when there is no file ``hold-gather`` any more."""
    gather = dask_worker.handlers["gather"]

    async def gather_once_allowed(**request: Any) -> Any:
        (Path(directory) / "gathers").touch()
        while (Path(directory) / "hold-gather").exists():  # noqa: ASYNC110 a file
            await asyncio.sleep(0.01)
        return await gather(**request)

    dask_worker.handlers["gather"] = gather_once_allowed


def speak_late(seconds: float, dask_worker: distributed.Worker) -> None:
    """Has the scheduler hear late what the worker has computed."""
    stream: Any = dask_worker.batched_stream
    stream.send = functools.partial(dask_worker.loop.call_later, seconds, stream.send)


def hear_late(dask_worker: distributed.Worker) -> None:
    """Has the worker hear what the scheduler wants of it only after it has answered the next function to run."""
    loop, handlers = dask_worker.loop, dask_worker.stream_handlers
    run = dask_worker.handlers["run"]
    unheard: list[Callable[[], Any]] = []

    async def run_and_hear(comm: Any, **request: Any) -> Any:
        answer = await run(comm, **request)
        while unheard:
            loop.add_callback(unheard.pop(0))
        return answer

    def hear(handler: Any, **message: Any) -> None:
        unheard.append(functools.partial(handler, **message))

    dask_worker.handlers["run"] = run_and_hear
    for name, handler in handlers.items():
        handlers[name] = functools.partial(hear, handler)
