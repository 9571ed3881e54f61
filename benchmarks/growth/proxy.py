"""A proxy without Envoy: uses every route at once and acknowledges it."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio

from headrace.internal.v1 import route_service_pb2 as pb
from headrace.internal.v1.route_service_pb2_grpc import RouteServiceStub


async def acknowledge_routes(endpoint: str) -> None:
    """Runs until cancelled."""
    while True:
        try:
            await _watch(endpoint)
        except grpc.aio.AioRpcError:
            await asyncio.sleep(0.05)


async def _watch(endpoint: str) -> None:
    async with grpc.aio.insecure_channel(endpoint) as channel:
        call = RouteServiceStub(channel).WatchRoutes()
        subscription = pb.Subscription(reader="proxy-0", acknowledges=True)
        await call.write(pb.WatchRoutesRequest(subscription=subscription))
        async for response in call:
            acknowledgement = pb.Acknowledgement(version=response.version)
            await call.write(pb.WatchRoutesRequest(acknowledgement=acknowledgement))
