"""A worker's metrics are on its scheduler's HTTP server; its own shows nothing."""

from __future__ import annotations

import asyncio

import pytest
from distributed import Scheduler, Worker
from tests.client.agent.running import Cluster
from tornado.httpclient import AsyncHTTPClient, HTTPResponse

from headrace.agent import dashboard, worker_metrics
from headrace.agent.dashboard import KEY_HEADER
from headrace.agent.metrics_page import WORKERS

KEY, DASHBOARD_KEY = "1" * 64, "3" * 64


async def get(address: str, path: str, **headers: str) -> HTTPResponse:
    url = f"http://{address}{path}"
    return await AsyncHTTPClient().fetch(url, headers=headers, raise_error=False, request_timeout=60)


def numbers(answer: HTTPResponse) -> dict[str, float]:
    """Return the page's lines that have no labels."""
    assert answer.code == 200
    lines = [line.split(" ") for line in answer.body.decode().splitlines() if line[0] != "#" and "{" not in line]
    return {name: float(value) for name, value in lines}


def _http_port(dask_worker: Worker) -> int:
    return dask_worker.http_server.port


async def test_a_workers_page_is_on_its_schedulers_server(cluster: Cluster) -> None:
    cluster.controller.enrollment.dashboard_key = DASHBOARD_KEY
    cluster.controller.enrollment.metrics_key = KEY
    await cluster.start_scheduler()
    [agent] = await cluster.start_workers()
    address = cluster.controller.state.hellos[0].dashboard_address
    page = f"{WORKERS}{agent.process}"
    async with cluster.connect() as client:
        held = client.submit(bytes, 10_000)
        await held

        async def shown() -> bool:
            found = numbers(await get(address, f"{page}?key={KEY}"))  # as its last heartbeat says
            return found["headrace_worker_memory_bytes"] > 0 == found["headrace_worker_executing_tasks"]

        await cluster.eventually(shown)
        answer = await get(address, f"{page}?key={KEY}")
        assert answer.body.endswith(b"# EOF\n")
        assert b'dask_worker_tasks{state="memory"} 1.0' in answer.body
        found = numbers(answer)
        assert found["headrace_worker_held_tasks"] == 1
        assert found["headrace_worker_held_bytes"] == 10_000
        assert found["headrace_worker_executing_tasks"] == found["headrace_worker_spilled_bytes"] == 0
        [port] = (await client.run(_http_port)).values()
        for path in ("/metrics", "/health", "/statics/js/individual-cluster-map.js", page):
            assert (await get(f"127.0.0.1:{port}", path)).code == 404
    assert (await get(address, page)).code == 403
    assert (await get(address, f"{page}?key={DASHBOARD_KEY}")).code == 403
    assert (await get(address, page, **{KEY_HEADER: DASHBOARD_KEY})).code == 200
    for nobody in ("default-9-nobody", "..%2f..%2fstatus"):
        assert (await get(address, f"{WORKERS}{nobody}?key={KEY}")).code == 404
    for other in ("", f"{agent.process}/", f"{agent.process}/status", "../../status"):
        assert (await get(address, f"{WORKERS}{other}?key={KEY}")).code == 403


async def test_a_worker_that_does_not_answer_shows_what_its_scheduler_knows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with (
        Scheduler(host="127.0.0.1", port=0, dashboard=False, dashboard_address="127.0.0.1:0") as scheduler,
        Worker(scheduler.address, name="w", nthreads=1, dashboard=False, dashboard_address="127.0.0.1:0") as worker,
    ):
        state = worker_metrics.find_worker(scheduler, "w")
        assert state is not None
        assert "dask_worker_tasks" in await worker_metrics.dask_metrics(scheduler, state)
        released = asyncio.Event()

        async def wait(*_: object, **__: object) -> None:
            await released.wait()

        worker.handlers["run"] = wait
        monkeypatch.setattr(worker_metrics, "_ANSWER_SECONDS", 0.2)
        assert await worker_metrics.dask_metrics(scheduler, state) == ""
        released.set()

        async def fail(*_: object, **__: object) -> dict[str, str]:
            return {"status": "error"}

        worker.handlers["run"] = fail
        assert await worker_metrics.dask_metrics(scheduler, state) == ""


async def test_pages_of_a_worker_that_a_command_runs_are_closed() -> None:
    async with (
        Scheduler(host="127.0.0.1", port=0, dashboard=False, dashboard_address="127.0.0.1:0") as scheduler,
        Worker(scheduler.address, name="w", nthreads=1, dashboard=True, dashboard_address="127.0.0.1:0") as worker,
    ):
        own = f"127.0.0.1:{worker.http_server.port}"
        assert (await get(own, "/metrics")).code == 200
        dashboard.refuse_all(worker)
        for path in ("/metrics", "/health", "/status", "/"):
            assert (await get(own, path)).code == 403
