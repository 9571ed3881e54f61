"""What a share opens on a running system, and that all of it ends when the share does."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import dask.config
import pytest
from distributed.client import FutureCancelledError
from distributed.comm.core import connect
from tests.conftest import Eventually
from tests.e2e.conftest import MEMBER, USERS
from tests.e2e.running import Running
from tests.e2e.tasks import wait_for_file
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from headrace import BasicAuth, Gateway, GatewayCluster
from headrace._wire import calls
from headrace._wire.auth_calls import dashboard_link
from headrace._wire.watch import watch_cluster
from headrace.errors import ClusterNotFound, PermissionDenied

AsyncGateway = Gateway[Literal[True]]


@pytest.fixture
async def ann(headrace: Running) -> AsyncIterator[AsyncGateway]:
    async with _gateway(headrace, ("ann", USERS["ann"])) as gateway:
        yield gateway


@pytest.fixture
async def bob(headrace: Running) -> AsyncIterator[AsyncGateway]:
    async with _gateway(headrace, ("bob", USERS["bob"])) as gateway:
        yield gateway


def _gateway(headrace: Running, user: tuple[str, str]) -> AsyncGateway:
    address, ca = headrace.gateway_file["address"], headrace.gateway_file["ca_file"]
    return Gateway(address, auth=BasicAuth(*user), tls_ca_file=ca, asynchronous=True)


@pytest.fixture(params=[("direct", "10m"), ("proxied", "10m"), ("proxied", 0)], ids=["direct", "proxied", "plain"])
def connecting(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each way to a scheduler, and connections without a session."""
    way, grace = request.param
    with dask.config.set({"headrace.connect": way, "headrace.session-grace": grace}):
        yield


@pytest.mark.usefixtures("connecting")
async def test_what_a_share_has_opened_ends_with_it(
    ann: AsyncGateway, bob: AsyncGateway, headrace: Running, eventually: Eventually, tmp_path: Path
) -> None:
    done = tmp_path / "done"
    async with await ann.new_cluster() as cluster:
        await cluster.scale(1)
        await cluster.share("bob")
        async with await bob.connect(cluster.name) as shared, await shared.get_client(set_as_default=False) as client:
            assert await client.submit(sum, [1, 2]) == 3
            browser = Browser(headrace)
            page = await browser.open(await _fresh_link(shared))
            opened = asyncio.Barrier(5)
            ends = [
                asyncio.create_task(end)
                for end in (
                    _end_of_task(client, done, opened),
                    _end_of_socket(await browser.open_socket(page), opened),
                    _end_of_watch(bob, cluster.name, opened),
                    _end_of_logs(shared, opened),
                )
            ]
            async with asyncio.timeout(60):
                await opened.wait()
                await cluster.unshare("bob")
                await asyncio.gather(*ends)
            for call in (bob.get_cluster(cluster.name), shared.scale(2), shared.logs("scheduler"), shared.events()):
                with pytest.raises(ClusterNotFound, match=cluster.name):
                    await call
            with pytest.raises(HTTPClientError, match="403"):
                await browser.open_socket(page)
            await eventually(lambda: client.status == "closed")
            with pytest.raises(OSError, match="no longer shared with you"):
                await shared.get_client(set_as_default=False)
        done.touch()
        async with await cluster.get_client(set_as_default=False) as owners:
            assert await owners.submit(sum, [3, 4]) == 7


async def test_guests_reach_the_scheduler_and_no_worker(ann: AsyncGateway, bob: AsyncGateway) -> None:
    """Workers hear of no share that ends."""
    async with await ann.new_cluster() as cluster:
        await cluster.scale(1)
        await cluster.share("bob")
        async with (
            await bob.connect(cluster.name) as shared,
            await shared.get_client(set_as_default=False) as made,
            await cluster.get_client(set_as_default=False),
        ):
            client: Any = made
            future = client.submit(sum, [1, 2])
            assert await future == 3
            ((address, worker),) = (await client.scheduler.identity())["workers"].items()
            for process in (worker["nanny"], address):
                with pytest.raises(OSError, match=r"in <TLS|closed|unknown ca"):
                    await connect(process, **shared.security.get_connection_args("client"))
                comm = await connect(process, **cluster.security.get_connection_args("client"))
                await comm.close()
            assert await client.gather(future, direct=True) == 3  # through the scheduler, then


async def test_an_operator_opens_the_dashboards_of_members(
    headrace: Running, ann: AsyncGateway, bob: AsyncGateway
) -> None:
    async with (
        _gateway(headrace, *MEMBER.items()) as olga,
        await olga.new_cluster() as members,
        await ann.new_cluster() as strangers,
    ):
        browser, connection = Browser(headrace), bob._session.connection
        link = await dashboard_link(connection, members.name)
        socket = await browser.open_socket(await browser.open(f"{bob.public_address}{link.path}"))
        assert await socket.read_message() is not None
        socket.close()
        with pytest.raises(ClusterNotFound):
            await dashboard_link(connection, strangers.name)
        with pytest.raises(PermissionDenied):
            await calls.connect(connection, members.name)


async def _end_of_task(client: Any, done: Path, opened: asyncio.Barrier) -> None:
    future = client.submit(wait_for_file, str(done))
    await client.scheduler.identity()
    await opened.wait()
    with pytest.raises(FutureCancelledError, match="scheduler-connection-lost"):
        await future.result()


async def _end_of_socket(socket: WebSocketClientConnection, opened: asyncio.Barrier) -> None:
    assert await socket.read_message() is not None
    await opened.wait()
    while await socket.read_message() is not None:
        pass
    socket.close()


async def _end_of_watch(gateway: AsyncGateway, cluster: str, opened: asyncio.Barrier) -> None:
    steps = watch_cluster(gateway._session.connection, f"clusters/{cluster}")
    await anext(steps)
    await opened.wait()
    with pytest.raises(ClusterNotFound, match="no longer shared"):
        async for _ in steps:
            pass


async def _end_of_logs(cluster: GatewayCluster[Literal[True]], opened: asyncio.Barrier) -> None:
    pieces: Any = cluster.follow_logs("scheduler")
    await anext(pieces)
    await opened.wait()
    with pytest.raises(ClusterNotFound, match=cluster.name):
        async for _ in pieces:
            pass


async def _fresh_link(cluster: GatewayCluster[Literal[True]]) -> str:
    assert cluster._life.dashboard is not None
    return await cluster._life.dashboard.refresh()


class Browser:
    """Opens dashboards at the public port."""

    def __init__(self, headrace: Running) -> None:
        self._tls = ssl.create_default_context(cafile=headrace.gateway_file["ca_file"])

    async def open(self, link: str, **headers: str) -> str:
        """Open a link; return the address of the page that it leads to, and the token of its websocket."""
        request = HTTPRequest(link, headers=headers, ssl_options=self._tls, request_timeout=60)
        answer = await AsyncHTTPClient().fetch(request)
        found = re.search(r'"token":"([^"]+)"', answer.body.decode())
        assert found is not None
        return f"{answer.effective_url}#{found[1]}"

    async def open_socket(self, page: str) -> WebSocketClientConnection:
        address, _, token = page.partition("#")
        parts = urlsplit(address)
        request = HTTPRequest(
            f"wss://{parts.netloc}{parts.path}/ws",
            headers={"Origin": f"https://{parts.netloc}"},
            ssl_options=self._tls,
            request_timeout=60,
        )
        return await websocket_connect(request, subprotocols=["bokeh", token])
