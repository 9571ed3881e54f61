"""The agent's one connection to the controller."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

import grpc
import grpc.aio

from headrace.agent.identity import Identity
from headrace.internal.v1 import agent_service_pb2_grpc
from headrace.tracing import KEY, TRACEPARENT

if TYPE_CHECKING:
    from headrace.internal.v1.agent_service_pb2_grpc import AgentServiceAsyncStub

_OPTIONS: tuple[tuple[str, int], ...] = (
    # Reconnects soon after the controller was away.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 2000),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # A proxy that the user configured for the internet does not lead to the controller.
    ("grpc.enable_http_proxy", 0),
)
# Detects a half-open connection within half a minute; a unix socket is never half open.
_KEEPALIVE: tuple[tuple[str, int], ...] = (("grpc.keepalive_time_ms", 20_000), ("grpc.keepalive_timeout_ms", 5_000))


class ControllerChannel:
    """A channel with the agent's token: that of its launch, until it has enrolled."""

    def __init__(self, identity: Identity) -> None:
        self._channel = _open(identity)
        self.metadata: tuple[tuple[str, str], ...] = ()
        self.authenticate(identity.token)
        if parent := os.environ.get(TRACEPARENT):
            self.trace(parent)
        self.stub = cast("AgentServiceAsyncStub", agent_service_pb2_grpc.AgentServiceStub(self._channel))

    def authenticate(self, token: str) -> None:
        """Sends another token from now on."""
        self.metadata = (("authorization", f"Agent {token}"), *self.metadata[1:])

    def trace(self, traceparent: str) -> None:
        """Relates all calls from now on to a span of the agent."""
        self.metadata = (self.metadata[0], (KEY, traceparent))

    async def close(self) -> None:
        await self._channel.close()


def _open(identity: Identity) -> grpc.aio.Channel:
    if identity.endpoint.startswith(("unix:", "unix-abstract:")):
        return grpc.aio.insecure_channel(identity.endpoint, options=_OPTIONS)
    credentials = grpc.ssl_channel_credentials(identity.ca_pem.encode() or None)
    return grpc.aio.secure_channel(identity.endpoint, credentials, options=(*_OPTIONS, *_KEEPALIVE))
