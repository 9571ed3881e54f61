"""An Envoy as the control plane knows it: reads delta ADS responses, and answers when the test says so.

All tests of `tests/proxy` but those of `xds` have a real Envoy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

import grpc
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from headrace_proxy.xds.messages import DELTA_METHOD, UPSTREAM_TYPE

_messages = discovery_pb2.DESCRIPTOR.message_types_by_name
_Request: Callable[..., Message] = GetMessageClass(_messages["DeltaDiscoveryRequest"])
_Response = GetMessageClass(_messages["DeltaDiscoveryResponse"])


class DeltaResource(Protocol):
    name: str
    version: str


class DeltaResponse(Protocol):
    nonce: str

    @property
    def resources(self) -> Sequence[DeltaResource]: ...
    @property
    def removed_resources(self) -> Sequence[str]: ...


@dataclass(eq=False)
class FakeEnvoy:
    """One stream to the control plane; `has` is what it uses."""

    node: str
    channel: grpc.aio.Channel
    has: dict[str, str] = field(default_factory=dict[str, str])
    _call: grpc.aio.StreamStreamCall[Message, DeltaResponse] | None = None

    async def connect(self) -> None:
        method = "/".join(("", *DELTA_METHOD))
        call = self.channel.stream_stream(method, _serialize, _parse)()
        self._call = call
        await self._send({"node": {"id": self.node}, "initial_resource_versions": self.has})

    async def connect_and_take(self) -> DeltaResponse:
        await self.connect()
        return await self.take()

    async def read(self) -> DeltaResponse:
        assert self._call
        return cast("DeltaResponse", await self._call.read())

    async def take(self) -> DeltaResponse:
        """Read the next response, use and acknowledge it."""
        response = await self.read()
        for name in response.removed_resources:
            self.has.pop(name, None)
        self.has.update((r.name, r.version) for r in response.resources)
        await self.acknowledge(response)
        return response

    async def acknowledge(self, response: DeltaResponse) -> None:
        await self._send({"response_nonce": response.nonce})

    async def reject(self, reason: str) -> DeltaResponse:
        """Reject the next response."""
        response = await self.read()
        await self._send({"response_nonce": response.nonce, "error_detail": {"code": 13, "message": reason}})
        return response

    def leave(self) -> None:
        assert self._call
        self._call.cancel()

    async def _send(self, fields: Mapping[str, object]) -> None:
        assert self._call
        await self._call.write(_Request(type_url=UPSTREAM_TYPE, **fields))


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _parse(data: bytes) -> DeltaResponse:
    return cast("DeltaResponse", _Response.FromString(data))
