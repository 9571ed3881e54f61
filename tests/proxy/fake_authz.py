"""Envoy's ext_authz as auth answers it: a token opens a cluster's dashboard.

`tests/auth/authz` holds auth's own answers, and `tests/e2e` runs auth behind Envoy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, cast

import grpc
from envoy.service.auth.v3 import external_auth_pb2
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

_messages = external_auth_pb2.DESCRIPTOR.message_types_by_name
_Request = GetMessageClass(_messages["CheckRequest"])
_Response: Callable[..., Message] = GetMessageClass(_messages["CheckResponse"])


class _Http(Protocol):
    path: str
    headers: Mapping[str, str]


class _HttpRequest(Protocol):
    http: _Http


class _Attributes(Protocol):
    request: _HttpRequest


class CheckRequest(Protocol):
    attributes: _Attributes


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


@dataclass(eq=False)
class FakeAuthz:
    """Allows `Bearer good`, sends it to the dashboard that the path names, and sets a session cookie.

    A path with the session `~good` is allowed as well, while `open` is set, and may be remembered for `remembered`.
    """

    address: str
    dashboards: dict[str, str] = field(default_factory=dict[str, str])
    seen: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    open: bool = True
    remembered: float = 60.0
    _server: grpc.aio.Server | None = None

    async def start(self) -> None:
        check = grpc.unary_unary_rpc_method_handler(
            self.check,
            request_deserializer=lambda data: cast("CheckRequest", _Request.FromString(data)),
            response_serializer=_serialize,
        )
        handler = grpc.method_handlers_generic_handler("envoy.service.auth.v3.Authorization", {"Check": check})
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers([handler])
        self._server.add_insecure_port(self.address)
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def check(self, request: CheckRequest, _: object) -> Message:
        http = request.attributes.request.http
        self.seen.append(dict(http.headers))
        address = self.dashboards.get(http.path.split("/")[2])
        by_session = http.path.split("/")[3:4] == ["~good"] and self.open
        if address is None or not (http.headers.get("authorization") == "Bearer good" or by_session):
            denied = {"status": {"code": 403}, "body": "this dashboard is not yours\n"}
            return _Response(status={"code": 7}, denied_response=denied)
        to = {"header": {"key": "x-envoy-original-dst-host", "value": address}, "append_action": 2}
        cookie = {"header": {"key": "set-cookie", "value": "headrace_session=secret"}}
        key = {"header": {"key": "x-headrace-dashboard-key", "value": "the key"}, "append_action": 2}
        remembered = {"destination": address, "key": "the key", "seconds": self.remembered}
        return _Response(
            status={"code": 0},
            ok_response={"headers": [to, key], "response_headers_to_add": [cookie]},
            dynamic_metadata=remembered if by_session else None,
        )
