"""What the start of a cold worker costs beside `dask worker`, without Kubernetes: processor time, memory and time."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

from tests.client.agent.fake_controller import TOKEN, FakeController

from headrace.agent.identity import Identity

_Start: TypeAlias = Callable[[str], Awaitable[asyncio.subprocess.Process]]
_TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cost:
    """Of all processes of a worker when it has joined."""

    seconds: float
    cpu_ms: float
    mib: float


async def measure(rounds: int) -> dict[str, list[Cost]]:
    """Starts a worker of each kind in turn, in a cluster whose scheduler and controller run here."""
    costs: dict[str, list[Cost]] = defaultdict(list)
    with TemporaryDirectory(prefix="hr-cold-", ignore_cleanup_errors=True) as path:
        cluster = _Cluster(Path(path))
        await cluster.start()
        for number in range(rounds + 1):
            for kind, start in {"headrace": cluster.start_ours, "dask worker": cluster.start_dasks}.items():
                cost = await cluster.cost_of(f"{kind.replace(' ', '-')}-{number}-abc234", start)
                if number:  # the first round reads files from the disk
                    costs[kind].append(cost)
        await cluster.end()
    return costs


class _Cluster:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._controller = FakeController(str(directory / "s"))

    async def start(self) -> None:
        await self._controller.start()
        self._scheduler = await self.start_ours("scheduler")
        await _until(lambda: bool(self._controller.state.hellos))
        self._address = self._controller.state.hellos[-1].scheduler_address
        self._controller.enrollment.scheduler_address = self._address
        leaf = self._controller.authority.issue("worker", timedelta(hours=1))
        self._files: list[str] = []
        for name, pem in (
            ("ca-file", self._controller.authority.cert_pem),
            ("cert", leaf.cert_pem),
            ("key", leaf.key_pem),
        ):
            file = self._directory / name
            file.write_bytes(pem)
            self._files += [f"--tls-{name}", str(file)]

    async def end(self) -> None:
        self._scheduler.send_signal(signal.SIGTERM)
        await self._scheduler.wait()
        await self._controller.stop()

    async def start_ours(self, process: str) -> asyncio.subprocess.Process:
        identity = Identity(
            deployment="bench",
            cluster="c1",
            process=process,
            role="scheduler" if process == "scheduler" else "worker",
            generation=1,
            endpoint=self._controller.endpoint,
            token=TOKEN,
        )
        return await self._execute("headrace.agent", **identity.to_environment())

    async def start_dasks(self, process: str) -> asyncio.subprocess.Process:
        options = ("--host", "127.0.0.1", "--nthreads", "1", "--memory-limit", "1GiB", "--no-dashboard")
        return await self._execute("dask", "worker", self._address, *self._files, *options, "--name", process)

    async def cost_of(self, process: str, start: _Start) -> Cost:
        workers = self._controller.state.workers
        began = time.perf_counter()
        started = await start(process)
        await _until(lambda: process in workers or started.returncode is not None)
        seconds = time.perf_counter() - began
        assert started.returncode is None, f"{process} has failed, see above"
        family = list(_family(started.pid))
        cost = Cost(seconds, sum(map(_cpu_ms, family)), sum(map(_mib, family)))
        started.send_signal(signal.SIGTERM)
        await started.wait()
        await _until(lambda: process not in workers)
        return cost

    async def _execute(self, module: str, *arguments: str, **variables: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            *arguments,
            env={**os.environ, **variables, "DASK_LOGGING__DISTRIBUTED": "error"},
            cwd=self._directory,
        )


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not condition():  # noqa: ASYNC110 what is waited for has no event
            await asyncio.sleep(0.002)


def _family(pid: int) -> Generator[int]:
    """A process, its children and theirs."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _family(int(child))


def _cpu_ms(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) * _TICK_MS  # its own, and that of children that have ended


def _mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def table(costs: Mapping[str, Sequence[Cost]]) -> str:
    """Markdown; medians with the least and the most."""
    lines = ["| a cold worker | CPU, ms | memory (PSS), MiB | joined after, s |", "|---|---:|---:|---:|"]
    for kind, each in costs.items():
        columns = ([one.cpu_ms for one in each], [one.mib for one in each], [one.seconds for one in each])
        shown = (
            f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f}-{max(values):.{digits}f}]"
            for values, digits in zip(columns, (0, 0, 2), strict=True)
        )
        lines.append(f"| {kind} | {' | '.join(shown)} |")
    return "\n".join(lines)
