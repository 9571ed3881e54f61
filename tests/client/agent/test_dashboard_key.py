"""A scheduler's HTTP server answers only requests that carry its key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import cast

import pytest
from distributed import Scheduler
from distributed.http.routing import RoutingApplication
from tests.client.agent.running import Cluster
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler, websocket_connect

from headrace.agent.dashboard import KEY_HEADER, protect

KEY = "1" * 64 + "," + "2" * 64
Start = Callable[[str], str]


class _Page(RequestHandler):
    def get(self) -> None:
        self.write(self.request.headers.get(KEY_HEADER, "no key is shown"))


class _Socket(WebSocketHandler):
    def open(self, *args: str, **kwargs: str) -> None:
        self.write_message("open")


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts the server of a scheduler with a key; returns its address."""
    servers: list[HTTPServer] = []

    def start(key: str) -> str:
        application = RoutingApplication([("/health", _Page)])
        protect(cast("Scheduler", SimpleNamespace(http_application=application)), key)
        # Bokeh's application is added later.
        application.add_application(Application([("/status", _Page), ("/ws", _Socket)]))
        server = HTTPServer(application)
        socket, port = bind_unused_port()
        server.add_socket(socket)
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop()
        await server.close_all_connections()


@pytest.mark.parametrize("given", [None, "", ",", "1" * 63, "3" * 64, KEY.replace(",", ";"), "ü"])
@pytest.mark.parametrize("path", ["/health", "/status", "/ws", "/no-such-page", "/sitemap.json"])
async def test_without_the_key_it_says_where_to_go(start: Start, given: str | None, path: str) -> None:
    headers = {} if given is None else {KEY_HEADER: given}
    for method, body in (("GET", None), ("POST", "x")):
        request = HTTPRequest(f"http://{start(KEY)}{path}", method, headers, body)
        answer = await AsyncHTTPClient().fetch(request, raise_error=False)
        assert answer.code == 403
        assert b"through the gateway" in answer.body


@pytest.mark.parametrize("given", ["1" * 64, "2" * 64, KEY, "0" * 64 + "," + "1" * 64])
async def test_with_one_key_in_common_it_answers(start: Start, given: str) -> None:
    address = start(KEY)
    for path in ("/health", "/status"):
        answer = await AsyncHTTPClient().fetch(f"http://{address}{path}", headers={KEY_HEADER: given})
        assert answer.body == b"no key is shown"
    socket = await websocket_connect(HTTPRequest(f"ws://{address}/ws", headers={KEY_HEADER: given}))
    assert await socket.read_message() == "open"
    socket.close()
    with pytest.raises(HTTPClientError, match="403"):
        await websocket_connect(f"ws://{address}/ws")


async def test_without_a_key_of_its_own_it_answers_everybody(start: Start) -> None:
    answer = await AsyncHTTPClient().fetch(f"http://{start('')}/status")
    assert answer.code == 200


async def test_a_scheduler_demands_the_key_of_its_enrolment(cluster: Cluster) -> None:
    cluster.controller.enrollment.dashboard_key = KEY
    await cluster.start_scheduler()
    url = f"http://{cluster.controller.state.hellos[0].dashboard_address}/status"
    answer = await AsyncHTTPClient().fetch(url, raise_error=False, request_timeout=20)
    assert answer.code == 403
    answer = await AsyncHTTPClient().fetch(url, headers={KEY_HEADER: KEY}, request_timeout=20)
    assert b"docs_json" in answer.body
