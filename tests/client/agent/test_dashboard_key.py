"""A scheduler's HTTP server answers only requests that carry its key."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import cast
from urllib.parse import quote

import pytest
from distributed import Scheduler
from distributed.http.routing import RoutingApplication
from tests.client.agent.running import Cluster
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketClientConnection, WebSocketHandler, websocket_connect

from headrace._resumable.guests import Guests
from headrace.agent.dashboard import GUESTS_HEADER, KEY_HEADER, close_with_guests, protect

KEY = "1" * 64 + "," + "2" * 64


class Start:
    """Starts the server of a scheduler with a key; returns its address."""

    def __init__(self) -> None:
        self.guests = Guests()
        self.servers: list[HTTPServer] = []

    def __call__(self, key: str) -> str:
        application = RoutingApplication([("/health", _Page)])
        scheduler = cast("Scheduler", SimpleNamespace(http_application=application))
        protect(scheduler, key)
        close_with_guests(scheduler, self.guests)
        # Bokeh's application is added later.
        application.add_application(Application([("/status", _Page), ("/ws", _Socket)]))
        server = HTTPServer(application)
        socket, port = bind_unused_port()
        server.add_socket(socket)
        self.servers.append(server)
        return f"127.0.0.1:{port}"


class _Page(RequestHandler):
    def get(self) -> None:
        self.write(self.request.headers.get(KEY_HEADER, "no key is shown"))


class _Socket(WebSocketHandler):
    def open(self, *args: str, **kwargs: str) -> None:
        self.write_message("open")


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    made = Start()
    yield made
    for server in made.servers:
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
    answer = await AsyncHTTPClient().fetch(url, raise_error=False, request_timeout=60)
    assert answer.code == 403
    answer = await AsyncHTTPClient().fetch(url, headers={KEY_HEADER: KEY}, request_timeout=60)
    assert b"docs_json" in answer.body


async def test_a_websocket_ends_with_the_share_that_opened_it(start: Start) -> None:
    address = start(KEY)
    start.guests.set({"users/ann": math.inf, "groups/ü,x": math.inf})

    async def opened(*members: str) -> WebSocketClientConnection:
        headers = {KEY_HEADER: KEY, GUESTS_HEADER: ",".join(map(quote, members))}
        socket = await websocket_connect(HTTPRequest(f"ws://{address}/ws", headers=headers))
        assert await socket.read_message() == "open"
        return socket

    owner, guest = await opened("users/ann"), await opened("users/bob", "groups/ü,x")
    start.guests.set({"users/ann": math.inf})
    assert await guest.read_message() is None
    with pytest.raises(HTTPClientError, match="403"):
        await opened("users/bob", "groups/ü,x")
    assert owner.protocol is not None
    guest.close()
    owner.close()
