"""Calls of UsageService."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc.aio
from tests.controller.running import Replica, token

from headrace.v1 import usage_service_pb2 as pb
from headrace.v1.usage_service_pb2_grpc import UsageServiceStub


async def ask(
    controller: Replica, name: str, *roles: str, groups: Sequence[str] = (), method: str = "ListUsage", **request: Any
) -> Any:
    metadata = (("authorization", f"Bearer {token(name, *roles, groups=groups)}"),)
    type_ = getattr(pb, f"{method}Request")
    async with grpc.aio.insecure_channel(controller.endpoint) as channel:
        return await getattr(UsageServiceStub(channel), method)(type_(**request), metadata=metadata, timeout=60)
