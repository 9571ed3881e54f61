"""The dashboard behind a proxy that strips a prefix."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urljoin
from urllib.request import HTTPRedirectHandler, Request, build_opener

from distributed import Scheduler
from tests.client.agent.running import Cluster
from tornado.websocket import websocket_connect

from headrace.agent import dashboard


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *args: object, **kwargs: object) -> None:
        return None


async def _get(cluster: Cluster, path: str) -> tuple[int, str, str]:
    """Status, where it redirects to, and body."""
    url = f"http://{cluster.controller.state.hellos[0].dashboard_address}{path}"

    def ask() -> tuple[int, str, str]:
        try:
            with build_opener(_NoRedirect).open(Request(url), timeout=60) as answer:
                return answer.status, "", answer.read().decode(errors="replace")
        except HTTPError as error:
            with error:
                return error.code, error.headers.get("Location", ""), ""

    return await asyncio.to_thread(ask)


async def test_the_status_page_is_built_when_it_is_asked_for(cluster: Cluster) -> None:
    scheduler = await cluster.start_scheduler()
    assert (await _get(cluster, "/health"))[2] == "ok"
    assert "building the dashboard" not in scheduler.log
    status, _, body = await _get(cluster, "/status")
    assert status == 200
    assert "docs_json" in body
    assert "building the dashboard" in scheduler.log


async def test_no_link_of_a_page_leaves_the_prefix(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    for path in ("/status", "/workers", "/info/main/workers.html", "/individual-task-stream"):
        _, _, body = await _get(cluster, path)
        links = re.findall(r"""(?:href|src)=["']([^"'#]+)["']""", body)
        assert links
        here = f"https://gateway/clusters/c1{path}"
        inside = [urljoin(here, link) for link in links if not link.startswith(("https://", "javascript:"))]
        assert [link for link in inside if not link.startswith("https://gateway/clusters/c1/")] == []


async def test_static_files_that_a_page_names_are_there(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    _, _, body = await _get(cluster, "/status")
    files = [urljoin("/status", f) for f in re.findall(r"""src=["']([^"']+\.js[^"']*)["']""", body)]
    assert files
    for file in files:
        assert (await _get(cluster, file))[0] == 200


async def test_the_root_redirects_within_the_prefix(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    status, location, _ = await _get(cluster, "/")
    assert status == 302
    assert urljoin("https://gateway/clusters/c1/", location) == "https://gateway/clusters/c1/status"


async def test_the_plots_are_listed_for_the_jupyterlab_extension(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    plots = json.loads((await _get(cluster, "/individual-plots.json"))[2])
    assert plots["Individual Task Stream"] == "/individual-task-stream"


async def test_every_page_is_in_the_site_map(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    paths = json.loads((await _get(cluster, "/sitemap.json"))[2])["paths"]
    assert {"/status", "/metrics", "/individual-task-stream"} <= set(paths)


async def test_bokehs_websocket_opens_with_the_origin_of_the_gateway(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    _, _, body = await _get(cluster, "/status")
    token = _token(body)
    address = cluster.controller.state.hellos[0].dashboard_address
    from tornado.httpclient import HTTPRequest

    request = HTTPRequest(f"ws://{address}/status/ws", headers={"Origin": "https://gateway"})
    socket = await websocket_connect(request, subprotocols=["bokeh", token])
    message = await asyncio.wait_for(socket.read_message(), 60)
    assert isinstance(message, str)
    assert json.loads(message)["msgtype"] == "ACK" or "msgid" in message
    socket.close()
    while await socket.read_message() is not None:
        pass


async def test_a_page_gets_its_websocket_back_hours_later() -> None:
    """Bokeh's tokens are good for five minutes, and its pages give up after five attempts."""
    made: Any = Scheduler(dashboard=False, dashboard_address="127.0.0.1:0", host="127.0.0.1", port=0)
    dashboard.connect(made)
    async with made as scheduler:
        built = scheduler.http_application.applications[-1]._build()
        assert built.session_token_expiration > 3600
        document = built._applications["/status"].application.create_document()
        assert "connection_lost" in document.callbacks.js_event_callbacks


def _token(body: str) -> str:
    token = re.search(r'"token":"([^"]+)"', body)
    assert token is not None
    return token.group(1)
