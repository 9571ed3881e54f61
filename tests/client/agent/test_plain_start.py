"""``python -m headrace.agent``: started plainly, by its environment alone."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest
from tests.client.agent.fake_controller import TOKEN
from tests.client.agent.plain_processes import environments, log_of, run, run_by_file
from tests.client.agent.running import Cluster
from tests.held_port import held_ports
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from headrace.agent.dashboard import KEY_HEADER
from headrace.errors import StoreUnavailable, TokenInvalid


async def test_a_plain_scheduler_and_worker_compute(cluster: Cluster) -> None:
    scheduler, its_token = await run_by_file(cluster, "scheduler")
    await cluster.eventually(lambda: cluster.controller.state.hellos, within=60)
    worker, workers_token = await run_by_file(cluster, "default-1-abc234")
    await cluster.eventually(lambda: cluster.controller.state.workers, within=60)
    assert not its_token.exists()
    assert not workers_token.exists()
    for process in (scheduler, worker):
        assert not [shown for shown in environments(process.pid) if TOKEN.encode() in shown]
    async with cluster.connect() as client:
        assert await client.submit(sum, [1, 2]) == 3
    for process in (worker, scheduler):
        process.send_signal(signal.SIGTERM)
        await log_of(process)
        assert process.returncode == 0


async def test_a_scheduler_listens_on_the_ports_that_its_backend_wants(cluster: Cluster) -> None:
    with held_ports(2) as (port, dashboard):
        ports = {"HEADRACE_SCHEDULER_PORT": str(port), "HEADRACE_DASHBOARD_PORT": str(dashboard)}
        scheduler = await run(cluster, "scheduler", given={**cluster.identity("scheduler").to_environment(), **ports})
        await cluster.eventually(lambda: cluster.controller.state.hellos, within=60)
    (hello,) = cluster.controller.state.hellos
    assert hello.scheduler_address.endswith(f":{port}")
    assert hello.dashboard_address.endswith(f":{dashboard}")
    scheduler.send_signal(signal.SIGTERM)
    await log_of(scheduler)


async def test_a_command_finds_its_settings_in_the_environment(cluster: Cluster) -> None:
    cluster.controller.enrollment.scheduler_address = "tls://127.0.0.1:1"
    cluster.controller.enrollment.environment["MINE"] = "yes"
    cluster.controller.enrollment.dask_config.update({"distributed": {"scheduler": {"bandwidth": 7}}})
    script = (
        "import os, dask, distributed; s = distributed.Security();"
        "print(s.require_encryption, os.environ['MINE'], dask.config.get('distributed.scheduler.bandwidth'),"
        "s.get_connection_args('worker')['ssl_context'] is not None, 'HEADRACE_AGENT_TOKEN' in os.environ);"
        "print(os.stat(s.tls_worker_key).st_mode & 0o777, os.path.dirname(s.tls_worker_key)); raise SystemExit(7)"
    )
    process = await run(cluster, "default-1-abc234", "--", sys.executable, "-c", script)
    log = await log_of(process)
    assert "True yes 7 True False" in log
    assert process.returncode == 7
    mode, directory = log.splitlines()[-1].split()
    assert int(mode) == 0o600
    assert not os.path.exists(directory)  # noqa: ASYNC240, PTH110 a look, no more


async def test_a_signal_reaches_the_command(cluster: Cluster) -> None:
    script = "import signal, sys; print('up', flush=True); signal.sigwait([signal.SIGTERM]); sys.exit(5)"
    block = f"import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]); {script}"
    process = await run(cluster, "scheduler", "--", sys.executable, "-c", block)
    assert process.stdout is not None
    while b"up" not in await asyncio.wait_for(process.stdout.readline(), 60):
        pass
    process.send_signal(signal.SIGTERM)
    await log_of(process)
    assert process.returncode == 5


SIGNALLED = """
import signal, subprocess, sys
from headrace.agent import start

begin = subprocess.Popen

def begin_and_be_signalled(*arguments, **options):
    process = begin(*arguments, **options)
    signal.raise_signal(signal.SIGTERM)
    return process

subprocess.Popen = begin_and_be_signalled
sys.exit(start.run(["--", "sleep", "60"]))
"""


async def test_a_signal_that_comes_as_the_command_starts_reaches_it(cluster: Cluster) -> None:
    environment = os.environ | cluster.identity("scheduler").to_environment()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SIGNALLED, env=environment)
    assert await asyncio.wait_for(process.wait(), 30) == 128 + signal.SIGTERM


@pytest.mark.parametrize("command", [(), ("--", "true")])
async def test_the_last_line_of_the_log_says_that_it_was_refused(cluster: Cluster, command: tuple[str, ...]) -> None:
    cluster.controller.refusal = TokenInvalid("no such token")
    process = await run(cluster, "scheduler", *command)
    log = await log_of(process)
    assert process.returncode == 1
    assert "cannot enrol" in log.splitlines()[-1]


async def test_the_log_names_a_command_that_does_not_exist(cluster: Cluster) -> None:
    process = await run(cluster, "scheduler", "--", "no-such-command")
    log = await log_of(process)
    assert process.returncode == 1
    assert "cannot run 'no-such-command'" in log.splitlines()[-1]


async def test_without_an_identity_it_says_what_is_missing(cluster: Cluster) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "headrace.agent", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    log = await log_of(process)
    assert process.returncode == 1
    assert "HEADRACE_DEPLOYMENT is not set" in log


async def test_the_dashboard_of_a_command_is_closed_until_it_has_its_key(cluster: Cluster) -> None:
    cluster.controller.enrollment.dashboard_key = "the key"
    with held_ports(1) as (port,):
        address = ("--host", "127.0.0.1", "--port", "0", "--dashboard-address", f"127.0.0.1:{port}")
        scheduler = await run(cluster, "scheduler", "--", sys.executable, "-m", "dask", "scheduler", *address)
        await cluster.eventually(lambda: cluster.controller.enrolled)  # before the command runs
        cluster.controller.refusal = StoreUnavailable("the store is away")
        await cluster.eventually(lambda: cluster.controller.refused, within=60)
        assert await _answers(port) == [403, 403]
        cluster.controller.refusal = None
        await cluster.eventually(lambda: cluster.controller.state.hellos, within=60)
        assert await _answers(port) == [403, 200]
    scheduler.send_signal(signal.SIGTERM)
    await log_of(scheduler)


async def _answers(port: int) -> list[int]:
    """Returns what a dashboard answers without and with the key."""
    requests = [HTTPRequest(f"http://127.0.0.1:{port}/health", headers=h) for h in ({}, {KEY_HEADER: "the key"})]
    return [(await AsyncHTTPClient().fetch(request, raise_error=False)).code for request in requests]


async def test_dasks_own_commands_become_parts_of_the_cluster(cluster: Cluster) -> None:
    local = ("--host", "127.0.0.1")
    dask = (sys.executable, "-m", "dask")
    scheduler, token = await run_by_file(
        cluster, "scheduler", "--", *dask, "scheduler", *local, "--port", "0", "--dashboard-address", "127.0.0.1:0"
    )
    await cluster.eventually(lambda: cluster.controller.state.hellos, within=60)
    assert not token.exists()
    assert not [shown for shown in environments(scheduler.pid) if TOKEN.encode() in shown]
    worker = await run(cluster, "default-1-abc234", "--", *dask, "worker", *local, "--nthreads", "1")
    await cluster.eventually(lambda: "default-1-abc234" in cluster.controller.state.workers, within=60)
    async with cluster.connect() as client:
        assert await client.submit(os.getenv, "HEADRACE_AGENT_TOKEN") is None
        assert await client.run_on_scheduler(os.getenv, "HEADRACE_AGENT_TOKEN") is None
    for process in (worker, scheduler):
        process.send_signal(signal.SIGTERM)
        await log_of(process)
