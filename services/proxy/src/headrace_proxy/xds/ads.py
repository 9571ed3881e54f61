"""Delta ADS for Envoys: a gRPC server of its own, since it serves none of headrace's RPCs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
from google.protobuf.message import Message

from headrace_chassis.logs import get_logger
from headrace_chassis.tls.listener import bind
from headrace_proxy import metrics
from headrace_proxy.config import Settings
from headrace_proxy.xds.distribution import Distribution, Subscriber
from headrace_proxy.xds.messages import DELTA_METHOD, UPSTREAM_TYPE, DeltaRequest, parse_request, serialize
from headrace_proxy.xds.node_session import NodeSession

Context = grpc.aio.ServicerContext[DeltaRequest, Message]

_OPTIONS = (
    # Envoy pings every 5 s; by default gRPC closes the connection of a client that pings so often.
    ("grpc.http2.min_ping_interval_without_data_ms", 1000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    # The first request of an Envoy lists everything it has.
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.so_reuseport", 0),
)

log = get_logger()


async def start_xds_server(settings: Settings, distribution: Distribution) -> grpc.aio.Server:
    """Start the server at `xds_listen`."""
    server = grpc.aio.server(options=_OPTIONS)
    service, method = DELTA_METHOD
    stream = grpc.stream_stream_rpc_method_handler(
        _DeltaDiscovery(distribution).stream, request_deserializer=parse_request, response_serializer=serialize
    )
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {method: stream})])
    bind(server, settings.xds_listen, settings, internal=True)
    await server.start()
    return server


class _DeltaDiscovery:
    """Serves `DeltaAggregatedResources`: one bidirectional stream per Envoy, upstreams only."""

    def __init__(self, distribution: Distribution) -> None:
        self._distribution = distribution

    async def stream(self, requests: AsyncIterator[DeltaRequest], context: Context) -> None:
        # Only the first request says who the Envoy is and what it has.
        first = await anext(requests, None)
        if first is None:
            return
        session = NodeSession(dict(first.initial_resource_versions))
        log.info("envoy connected", node=first.node.id, resources=len(session.sent))
        with self._distribution.subscribed(first.node.id, session) as subscriber:
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(self._write(subscriber, context))
                async for request in requests:
                    self._read(request, subscriber)
                writer.cancel()
        log.info("envoy disconnected", node=first.node.id)

    def _read(self, request: DeltaRequest, subscriber: Subscriber) -> None:
        if request.type_url != UPSTREAM_TYPE or not request.response_nonce:
            return
        if request.error_detail.code:
            reason = request.error_detail.message
            rejected = subscriber.session.reject(request.response_nonce, reason)
            metrics.REJECTIONS.inc()
            log.error("envoy rejected routes", node=subscriber.node, upstreams=rejected, reason=reason)
        else:
            subscriber.session.acknowledge(request.response_nonce)
        subscriber.wake.set()
        self._distribution.advanced()

    async def _write(self, subscriber: Subscriber, context: Context) -> None:
        while True:
            await subscriber.wake.wait()
            subscriber.wake.clear()
            if (published := self._distribution.published) is None:
                continue
            for response in subscriber.session.respond(published):
                await context.write(response)
            self._distribution.advanced()
