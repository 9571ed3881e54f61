"""Delta ADS for Envoys: one bidirectional stream each, upstreams only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
from google.protobuf.message import Message

from headrace_chassis.logs import get_logger
from headrace_proxy import metrics
from headrace_proxy.xds.distribution import Distribution, Subscriber
from headrace_proxy.xds.messages import DELTA_METHOD, UPSTREAM_TYPE, DeltaRequest, parse_request, serialize
from headrace_proxy.xds.node_session import open_session

Context = grpc.aio.ServicerContext[DeltaRequest, Message]
log = get_logger()


class DeltaDiscovery:
    """Answers `DeltaAggregatedResources`."""

    def __init__(self, distribution: Distribution) -> None:
        self.distribution = distribution

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server takes."""
        service, method = DELTA_METHOD
        stream = grpc.stream_stream_rpc_method_handler(
            self.stream, request_deserializer=parse_request, response_serializer=serialize
        )
        return grpc.method_handlers_generic_handler(service, {method: stream})

    async def stream(self, requests: AsyncIterator[DeltaRequest], context: Context) -> None:
        """Serves one Envoy until it goes. It names itself and what it has in its first message only."""
        first = await anext(requests, None)
        if first is None:
            return
        session = open_session(first.initial_resource_versions)
        log.info("envoy connected", node=first.node.id, has=len(session.told))
        with self.distribution.subscribed(first.node.id, session) as subscriber:
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
            self._refused(request, subscriber)
        else:
            subscriber.session.acknowledged(request.response_nonce)
        subscriber.wake.set()
        self.distribution.advanced()

    def _refused(self, request: DeltaRequest, subscriber: Subscriber) -> None:
        reason = request.error_detail.message
        offenders = subscriber.session.refuse(request.response_nonce, reason)
        metrics.REFUSALS.inc()
        log.error("envoy refused routes", node=subscriber.node, upstreams=offenders, reason=reason)

    async def _write(self, subscriber: Subscriber, context: Context) -> None:
        while True:
            await subscriber.wake.wait()
            subscriber.wake.clear()
            if (published := self.distribution.published) is None:
                continue
            for response in subscriber.session.respond(published):
                await context.write(response)
            self.distribution.advanced()
