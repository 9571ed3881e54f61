"""A browser before the public port."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from tornado.websocket import WebSocketClientConnection, websocket_connect

TOKEN = {"authorization": "Bearer good"}
UPGRADE = {
    "connection": "upgrade",
    "upgrade": "websocket",
    "sec-websocket-key": "x" * 24,
    "sec-websocket-version": "13",
}
"""Headers with which a browser opens a websocket."""


@dataclass(frozen=True)
class Browser:
    """Asks `https://{public}`."""

    public: str
    tls: ssl.SSLContext

    async def get(self, path: str, headers: Mapping[str, str] = TOKEN, method: str = "GET") -> HTTPResponse:
        request = self._request("https", path, headers)
        request.method, request.follow_redirects = method, False
        return await AsyncHTTPClient().fetch(request, raise_error=False)

    async def open_socket(self, path: str, headers: Mapping[str, str] = TOKEN) -> WebSocketClientConnection:
        return await websocket_connect(self._request("wss", path, headers))

    def _request(self, scheme: str, path: str, headers: Mapping[str, str]) -> HTTPRequest:
        address = f"{scheme}://{self.public}{path}"
        return HTTPRequest(address, headers=dict(headers), ssl_options=self.tls, connect_timeout=60, request_timeout=60)


@dataclass(frozen=True)
class Asked:
    """The request as the dashboard received it."""

    uri: str
    server: str
    headers: Mapping[str, str]


def asked(response: HTTPResponse) -> Asked:
    assert response.code == 200, response.body
    content = cast("dict[str, object]", json.loads(response.body))
    return Asked(
        cast("str", content["uri"]), cast("str", content["server"]), cast("dict[str, str]", content["headers"])
    )
