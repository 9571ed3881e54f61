"""Dask's own scheduler, workers and client, with a proxy between client and scheduler that harms connections."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from distributed import Client, Scheduler, Worker
from distributed.comm.registry import backends
from distributed.security import Security
from tests.client.resumable.conftest import Authorities, BreakingProxy

from headrace._dask import comm
from headrace._dask.scheduler_access import SchedulerAccess
from headrace._dask.security import GatewaySecurity
from headrace._resumable import listening
from headrace._resumable.listening import SessionTable


class _Security(Security):
    def __init__(self, authorities: Authorities) -> None:
        super().__init__(require_encryption=True)
        self._authorities = authorities

    def get_listen_args(self, role: str) -> dict[str, Any]:
        return {"ssl_context": self._authorities.server(), "require_encryption": True}

    def get_connection_args(self, role: str) -> dict[str, Any]:
        return {"ssl_context": self._authorities.client(resumable=False), "require_encryption": True}


@contextlib.asynccontextmanager
async def computing() -> AsyncGenerator[tuple[Any, BreakingProxy]]:
    """Return a client, and the proxy before its scheduler."""
    authorities = Authorities()
    security = _Security(authorities)
    ordinary = backends["tls"]
    listening.install(SessionTable(60))
    comm.register()
    access = SchedulerAccess(cluster="c1")
    access.use(authorities.answer("ann"))
    options: dict[str, Any] = {
        "security": security,
        "host": "127.0.0.1",
        "dashboard": False,
        "dashboard_address": "127.0.0.1:0",  # its default is a port that another test may have
    }
    try:
        async with contextlib.AsyncExitStack() as stack:
            scheduler = await stack.enter_async_context(Scheduler(protocol="tls", port=0, **options))
            for _ in range(2):
                await stack.enter_async_context(Worker(scheduler.address, nthreads=1, **options))
            proxy = BreakingProxy(int(scheduler.address.rpartition(":")[2]))
            stack.enter_context(proxy.held)
            await proxy.start()
            stack.push_async_callback(proxy.stop)
            client = Client(f"gateway://127.0.0.1:{proxy.port}/c1", asynchronous=True, security=GatewaySecurity(access))
            yield await stack.enter_async_context(client), proxy
            proxy.next_cut, proxy.next_delay, proxy.next_mute = lambda: None, lambda: 0.0, lambda: False
    finally:
        backends["tls"] = ordinary


@pytest.mark.parametrize("seed", range(2))
async def test_results_are_right_over_a_bad_line(seed: int) -> None:
    numbers = random.Random(seed)

    def pair(x: int, y: bytes) -> tuple[int, int]:
        return x, len(y)

    def first(both: tuple[int, int]) -> int:
        return both[0]

    async def cut_often(proxy: BreakingProxy) -> None:
        while True:
            await asyncio.sleep(0.5 * numbers.random())
            proxy.cut()

    async with computing() as (client, proxy):
        # Within the handshake of TLS, the hello, the welcome, the first messages, and later.
        proxy.next_cut = lambda: numbers.choice([None, numbers.randrange(1, 6_000), *[numbers.randrange(100_000)] * 3])
        proxy.next_delay = lambda: numbers.choice([0.0, 0.0, 0.01 * numbers.random()])
        proxy.next_mute = lambda: numbers.random() < 0.1
        cutting = asyncio.create_task(cut_often(proxy))
        data = [await client.scatter(numbers.randbytes(50_000)) for _ in range(3)]
        while proxy.accepted <= 2:  # a fast machine computes all of it before the line is cut
            futures = client.map(pair, range(60), data * 20, pure=False)
            sums = client.map(first, futures, pure=False)
            assert await client.gather(sums) == list(range(60))
            assert await client.gather(futures) == [(x, 50_000) for x in range(60)]
        cutting.cancel()


@pytest.mark.parametrize("size", [1, 300, 1_500, 2_500, 3_500])
async def test_a_cut_of_each_redial_at_its_beginning(size: int) -> None:
    async with computing() as (client, proxy):
        future = client.submit(sum, [1, 2], pure=False)
        assert await future == 3
        cuts = [size] * 4
        proxy.next_cut = lambda: cuts.pop() if cuts else None
        proxy.cut()
        assert await client.submit(max, future, 4, pure=False) == 4
        assert len(cuts) < 4
