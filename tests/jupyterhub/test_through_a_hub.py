"""From outside of a JupyterHub to headrace: every call through the hub's proxy, Dask through the proxy address."""

from __future__ import annotations

import asyncio
import re
import ssl
import urllib.request
from contextlib import closing

import pytest
from tests.jupyterhub.hub import Hub
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from headrace import BasicAuth, Gateway, JupyterHubAuth, errors
from headrace._target.target import Target
from headrace._wire.connection import Connection
from headrace.v1.auth_service_pb2 import GetServerInfoRequest


def test_a_users_day(gateway: Gateway, hub: Hub) -> None:
    with gateway.new_cluster() as cluster, cluster.get_client() as client:
        cluster.scale(1)
        assert client.submit(sum, [1, 2]).result(timeout=60) == 3
        cluster.adapt(minimum=0, maximum=2)
        assert [report.name for report in gateway.list_clusters()] == [cluster.name]
        assert cluster.events()
        assert "distributed.scheduler" in str(cluster.get_logs())
        assert client.submit(max, [1, 2]).result(timeout=60) == 2
        name = cluster.name
    assert name not in [report.name for report in gateway.list_clusters()]


def test_a_dashboard_opens_through_the_hub(gateway: Gateway, hub: Hub) -> None:
    with gateway.new_cluster() as cluster:
        link = cluster.dashboard_link
        assert link is not None
        assert link.startswith(f"{hub.address}/services/headrace/clusters/{cluster.name}/")
        address, page = _open(hub, link)
        [token] = re.findall('"token":"([^"]+)"', page)
        assert "ACK" in asyncio.run(_first_figures(hub, address.partition("?")[0], token))


def test_the_hubs_token_is_valid_there_and_goes_along(hub: Hub, outside: None) -> None:
    token = hub.token_of("ann")
    assert hub.call("GET", "/user", token)["name"] == "ann"
    # Until there is an authenticator for it, headrace answers that it does not know this way to log in.
    with (
        Gateway(auth=JupyterHubAuth(token)) as gateway,
        pytest.raises(errors.InvalidRequest, match=r"method.*jupyterhub"),
    ):
        gateway.list_clusters()


def test_a_wrong_password_is_told_as_without_a_hub(outside: None) -> None:
    with Gateway(auth=BasicAuth("ann", "guessed")) as gateway, pytest.raises(errors.BadCredentials):
        gateway.list_clusters()


def test_a_path_that_is_the_hubs_own(hub: Hub, outside: None) -> None:
    for path in ("", "/services/nowhere", "/user/ann"):
        with Gateway(f"{hub.address}{path or '/hub'}") as gateway, pytest.raises(errors.NotHeadrace) as raised:
            gateway.list_clusters()
        assert "see headrace.address, or ask who runs the hub" in raised.value.message


async def test_a_service_that_is_away(hub: Hub, outside: None) -> None:
    connection = Connection(Target.resolve(f"{hub.address}/services/nothing"))
    with pytest.raises(errors.Unreachable, match=r"HTTP 503.*does not reach headrace"):
        await connection.call(
            connection.auth.GetServerInfo, GetServerInfoRequest(), doing="asking", anonymous=True, retry=False
        )
    await connection.close()


def test_a_proxy_that_is_started_again_is_waited_for(gateway: Gateway, hub: Hub) -> None:
    with gateway.new_cluster() as cluster, cluster.get_client() as client:
        hub.kill_proxy()
        cluster.scale(1)
        assert client.submit(sum, [1, 2]).result(timeout=60) == 3


def _open(hub: Hub, link: str) -> tuple[str, str]:
    """Where the link leads to, and the page there."""
    context = ssl.create_default_context(cafile=str(hub.ca_file))
    opener = urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=context), urllib.request.HTTPCookieProcessor()
    )
    with opener.open(link, timeout=30) as answer:
        return answer.url, answer.read().decode()


async def _first_figures(hub: Hub, address: str, token: str) -> str:
    """What the page's websocket says first."""
    request = HTTPRequest(
        address.replace("https", "wss", 1) + "/ws", headers={"Origin": hub.address}, ca_certs=str(hub.ca_file)
    )
    async with asyncio.timeout(30):
        with closing(await websocket_connect(request, subprotocols=["bokeh", token])) as socket:
            return str(await socket.read_message())
