"""Watches of clusters, as tests open and read them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from tests.controller.user import User

from headrace.v1 import cluster_service_pb2 as pb


@asynccontextmanager
async def watch(user: User, **request: Any) -> AsyncGenerator[Any]:
    """Opens a watch for at most a minute."""
    call = user.stream("WatchClusters", pb.WatchClustersRequest(**request))
    try:
        async with asyncio.timeout(60):
            yield call
    finally:
        call.cancel()


async def until_checkpoint(call: Any) -> list[pb.WatchClustersResponse]:
    steps: list[pb.WatchClustersResponse] = []
    while not steps or not steps[-1].HasField("checkpoint"):
        steps.append(await call.read())
    return steps
