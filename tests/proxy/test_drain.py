"""Moving the connections of an Envoy that is about to end."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from tests.fake_routes import FakeRoutes
from tests.proxy.conftest import SUFFIX
from tests.proxy.fake_scheduler import Connection, FakeScheduler, connect
from tests.proxy.running_proxy import RunningProxy, environment

Eventually = Callable[..., Awaitable[None]]


@pytest.fixture
async def connection(
    proxy: RunningProxy,
    controller: FakeRoutes,
    start_scheduler: Callable[[str], Awaitable[FakeScheduler]],
    eventually: Eventually,
) -> AsyncIterator[Connection]:
    """A Dask client's connection, through Envoy."""
    scheduler = await start_scheduler("ca1")
    version = controller.set("ca1", scheduler.address)
    await eventually(lambda: controller.acknowledged == version)
    connection = await connect(proxy.public, scheduler, f"ca1.{SUFFIX}")
    assert await connection.say("1") == "ca1: 1"
    yield connection
    connection.close()


async def drain(proxy: RunningProxy, *arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "headrace_proxy", "drain", *arguments,
        env=environment(proxy.settings), stdout=PIPE, stderr=STDOUT,
    )  # fmt: skip


async def printed(process: Process) -> str:
    output, _ = await process.communicate()
    return output.decode()


async def test_the_drain_ends_once_clients_have_gone_elsewhere(
    proxy: RunningProxy, controller: FakeRoutes, connection: Connection, eventually: Eventually
) -> None:
    process = await drain(proxy, "--delay", "0", "--seconds", "600")
    await eventually(lambda: controller.redials == 1)
    assert await connection.say("2") == "ca1: 2", "who has not moved yet is served"
    assert process.returncode is None
    connection.close()
    output = await printed(process)
    assert process.returncode == 0
    assert "Open: 1 connection; new ones are accepted for 0 s" in output
    assert "Dask clients are asked to connect again" in output
    assert "Left: 0 connections\n" in output


async def test_while_load_balancers_do_not_know_new_connections_are_accepted(
    proxy: RunningProxy, controller: FakeRoutes, connection: Connection
) -> None:
    process = await drain(proxy, "--delay", "600")
    assert process.stdout
    assert "are accepted for 600 s" in (await process.stdout.readline()).decode()
    assert await connection.say("2") == "ca1: 2"
    assert controller.redials == 0
    process.kill()
    await process.wait()


async def test_who_stays_does_not_hold_the_drain_up(proxy: RunningProxy, connection: Connection) -> None:
    process = await drain(proxy, "--delay", "0", "--seconds", "0")
    assert "Left: 1 connection, until Envoy ends" in await printed(process)
    assert process.returncode == 0


async def test_few_connections_are_few_enough(proxy: RunningProxy, connection: Connection) -> None:
    process = await drain(proxy, "--delay", "0", "--seconds", "600", "--connections", "1")
    assert "Left: 1 connection, until" in await printed(process)
    assert process.returncode == 0


async def test_without_its_proxy_envoy_is_drained_all_the_same(proxy: RunningProxy, connection: Connection) -> None:
    await proxy.stop()
    process = await drain(proxy, "--delay", "0", "--seconds", "0")
    assert "nobody asks Dask clients to connect again" in await printed(process)
    assert process.returncode == 0


async def test_without_envoy_it_fails_with_a_sentence(proxy: RunningProxy) -> None:
    await proxy.envoy.kill()
    process = await drain(proxy, "--delay", "0")
    assert "envoy-admin.sock" in (output := await printed(process))
    assert "is it running?" in output
    assert process.returncode == 1


async def test_a_proxy_that_starts_meanwhile_asks_for_it_as_soon_as_it_can(
    idle_proxy: RunningProxy, controller: FakeRoutes, eventually: Eventually
) -> None:
    directory = idle_proxy.state_directory
    directory.mkdir()
    os.mkfifo(directory / "routes.binpb")  # the proxy waits for the routes of its last run
    await idle_proxy.spawn()
    lock = directory / "proxy.lock"
    await eventually(lambda: lock.exists() and lock.read_text().isdecimal(), within=60)
    idle_proxy.ask_for_redial()
    await eventually(lambda: _is_read_to_the_end(directory / "routes.binpb"))
    await eventually(lambda: controller.redials == 1)


def _is_read_to_the_end(pipe: Path) -> bool:
    """Whether somebody reads a pipe, which ends then."""
    try:
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:  # nobody has opened it yet
        return False
    return True
