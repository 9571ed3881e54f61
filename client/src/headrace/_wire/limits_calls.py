"""The call to LimitsService, written once for the client and the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from headrace._wire.connection import Connection
from headrace.v1 import limits_service_pb2 as pb
from headrace.v1.limits_service_pb2_grpc import LimitsServiceStub

if TYPE_CHECKING:
    from headrace.v1.limits_service_pb2_grpc import LimitsServiceAsyncStub


async def limits(connection: Connection, user: str = "") -> pb.GetLimitsResponse:
    """Return the limits that bind a user's clusters (GetLimits). Default: the caller's."""
    stub = cast("LimitsServiceAsyncStub", LimitsServiceStub(connection.channel))
    name = f"users/{user.removeprefix('users/')}" if user else ""
    return await connection.call(stub.GetLimits, pb.GetLimitsRequest(user=name), doing="reading limits")
