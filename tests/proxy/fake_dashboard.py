"""A Dask dashboard as the proxy knows it: HTTP and a websocket on a port of its own; `tests/e2e` has real ones."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler

WIDENING = {
    "set-cookie": "of=the-tenant",
    "service-worker-allowed": "/",
    "clear-site-data": '"*"',
    "access-control-allow-origin": "*",
    "access-control-allow-credentials": "true",
    "strict-transport-security": "max-age=1",
    "www-authenticate": "Basic",
    "refresh": "0; url=/",
    "content-security-policy": "sandbox allow-same-origin allow-scripts",
    "referrer-policy": "unsafe-url",
}


class _Page(RequestHandler):
    def get(self) -> None:
        for name, value in WIDENING.items():
            self.set_header(name, value)
        headers = {name.lower(): value for name, value in self.request.headers.get_all()}
        self.write(json.dumps({"uri": self.request.uri, "server": self.settings["address"], "headers": headers}))


class _Socket(WebSocketHandler):
    def check_origin(self, origin: str) -> bool:
        return True

    def on_message(self, message: str | bytes) -> None:
        self.write_message(message)


@dataclass(eq=False)
class FakeDashboard:
    """Answers with what it was asked; echoes on `/ws`."""

    address: str = ""
    _server: HTTPServer | None = None

    def start(self) -> None:
        socket, port = bind_unused_port()
        self.address = f"127.0.0.1:{port}"
        server = HTTPServer(Application([("/ws", _Socket), ("/.*", _Page)], address=self.address))
        server.add_socket(socket)
        self._server = server

    async def stop(self) -> None:
        assert self._server is not None
        self._server.stop()
        await self._server.close_all_connections()
