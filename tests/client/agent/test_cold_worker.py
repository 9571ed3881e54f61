"""``python -m headrace.agent`` as a worker: Dask is imported once, by the nanny, and the worker process is forked."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from tests.client.agent import tasks
from tests.client.agent.fake_controller import TOKEN
from tests.client.agent.plain_processes import command_line, log_of, run_by_file
from tests.client.agent.running import Cluster

from headrace.agent import spawn_environment

Start = Callable[..., Awaitable[asyncio.subprocess.Process]]
_NAMES = [f"default-{number}-abc234" for number in (1, 2)]
_ROOT = Path(__file__).parents[3]  # for what tests compute on workers
# A worker could import these, and joins without them.
_NOT_NEEDED = {"bokeh", "distributed.dashboard", "opentelemetry", "pandas", "pyarrow", "rich", "typer"}


@pytest.fixture
async def start(cluster: Cluster) -> AsyncIterator[Start]:
    """Starts a worker and waits until it has joined. Given variables are added to its environment."""
    await cluster.start_scheduler()
    started: list[asyncio.subprocess.Process] = []

    async def start(name: str = _NAMES[0], **variables: str) -> asyncio.subprocess.Process:
        process, _ = await run_by_file(cluster, name, variables={"PYTHONPATH": str(_ROOT), **variables})
        started.append(process)
        await cluster.eventually(lambda: name in cluster.controller.state.workers, within=60)
        return process

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
            await log_of(process)


async def log_at_end(process: asyncio.subprocess.Process) -> str:
    process.send_signal(signal.SIGTERM)
    return await log_of(process)


async def test_its_worker_process_is_forked_and_has_neither_token_nor_needless_modules(
    cluster: Cluster, start: Start
) -> None:
    process = await start()
    async with cluster.connect() as client:
        pid = await client.submit(os.getpid)
        assert command_line(pid) == command_line(process.pid)
        assert not await client.submit(tasks.finds, TOKEN[:8], TOKEN[8:])
        for nanny in (True, False):
            [imported] = (await client.run(tasks.imported, nanny=nanny)).values()
            assert not _NOT_NEEDED & set(imported)
    assert "start cold" not in await log_at_end(process)


async def test_its_worker_process_may_open_as_many_files_as_if_it_were_executed(cluster: Cluster, start: Start) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard // 4, hard))
        process = await start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    async with cluster.connect() as client:
        assert await client.submit(resource.getrlimit, resource.RLIMIT_NOFILE) == (hard // 2, hard)
    assert "start cold" not in await log_at_end(process)


async def test_texts_have_the_same_hash_in_all_workers(cluster: Cluster, start: Start) -> None:
    for name in _NAMES:
        await start(name)
    async with cluster.connect() as client:
        assert len(set((await client.run(hash, "text")).values())) == 1


async def test_the_worker_process_has_the_environment_of_its_enrolment(
    cluster: Cluster, start: Start, tmp_path: Path
) -> None:
    cluster.controller.enrollment.environment["TMPDIR"] = str(tmp_path)
    await start()
    async with cluster.connect() as client:
        assert await client.submit(tempfile.gettempdir) == str(tmp_path)
        assert await client.submit(os.getenv, "OMP_NUM_THREADS") == "1"


async def test_a_configured_environment_of_worker_processes_is_set_before_they_are_executed(
    cluster: Cluster, start: Start
) -> None:
    threads = {"OMP_NUM_THREADS": 3, "MKL_NUM_THREADS": None}
    cluster.controller.enrollment.dask_config.update({"distributed": {"nanny": {"pre-spawn-environ": threads}}})
    process = await start()
    async with cluster.connect() as client:
        assert await client.submit(os.getenv, "OMP_NUM_THREADS") == "3"
        assert await client.submit(os.getenv, "MKL_NUM_THREADS") is None
    assert "start cold: OMP_NUM_THREADS" in await log_at_end(process)


async def test_a_variable_that_is_set_already_stays(cluster: Cluster, start: Start) -> None:
    process = await start(OMP_NUM_THREADS="2")
    async with cluster.connect() as client:
        assert await client.submit(os.getenv, "OMP_NUM_THREADS") == "2"
    assert "start cold" not in await log_at_end(process)


@pytest.fixture
def with_thread(tmp_path: Path) -> str:
    """A path for imports, with a library that starts a thread in the agent's process."""
    return image_with(tmp_path, "from threading import *; Thread(target=Event().wait, daemon=True).start()")


def image_with(directory: Path, statement: str) -> str:
    """Returns a path for imports by which Python runs a statement when the agent's process starts."""
    (directory / "sitecustomize.py").write_text(f"import sys\nif 'headrace.agent' in sys.orig_argv:\n    {statement}\n")
    return f"{directory}{os.pathsep}{_ROOT}"


async def test_nothing_is_forked_where_a_library_has_started_a_thread(
    cluster: Cluster, start: Start, with_thread: str
) -> None:
    process = await start(PYTHONPATH=with_thread)
    async with cluster.connect() as client:
        assert await client.submit(sum, [1, 2]) == 3
    assert "starts threads" in await log_at_end(process)


async def test_a_configured_environment_is_set_where_nothing_is_forked(
    cluster: Cluster, start: Start, with_thread: str
) -> None:
    threads = {"OMP_NUM_THREADS": 3}
    cluster.controller.enrollment.dask_config.update({"distributed": {"nanny": {"pre-spawn-environ": threads}}})
    await start(PYTHONPATH=with_thread)
    async with cluster.connect() as client:
        assert await client.submit(os.getenv, "OMP_NUM_THREADS") == "3"


async def test_it_is_executed_again_only_once(cluster: Cluster, start: Start, tmp_path: Path) -> None:
    path = image_with(tmp_path, "import os; os.environ.pop('MALLOC_TRIM_THRESHOLD_', None)")
    process = await start(PYTHONPATH=path)
    async with cluster.connect() as client:
        assert await client.submit(sum, [1, 2]) == 3
    assert "start cold: MALLOC_TRIM_THRESHOLD_" in await log_at_end(process)


def test_nothing_is_forked_where_no_directory_is_writable() -> None:
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "from headrace.agent import forkserver; forkserver.start_own(); print(forkserver.usable())"
    )
    environment = {**os.environ, **spawn_environment.DASK_DEFAULTS}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
