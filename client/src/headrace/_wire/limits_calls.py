"""The calls to LimitsService, written once for the client and the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, cast

from headrace._wire.connection import Connection
from headrace.v1 import limits_service_pb2 as pb
from headrace.v1.limits_service_pb2_grpc import LimitsServiceStub

if TYPE_CHECKING:
    from headrace.v1.limits_service_pb2_grpc import LimitsServiceAsyncStub


async def limits(connection: Connection, user: str = "") -> pb.GetLimitsResponse:
    """Return the limits that bind a user's clusters (GetLimits). Default: the caller's."""
    name = f"users/{user.removeprefix('users/')}" if user else ""
    return await connection.call(_stub(connection).GetLimits, pb.GetLimitsRequest(user=name), doing="reading limits")


async def set_exceptions(
    connection: Connection, subject: str, limits: Mapping[str, str], seconds: float, reason: str
) -> list[pb.LimitException]:
    """Give a user or a group other limits for this time from now (SetLimitExceptions)."""
    request = pb.SetLimitExceptionsRequest(subject=subject, limits=limits, reason=reason)
    request.duration.FromMilliseconds(round(seconds * 1000))
    doing = f"setting limits of {subject}"
    return list((await connection.call(_stub(connection).SetLimitExceptions, request, doing=doing)).exceptions)


async def exceptions(connection: Connection) -> list[pb.LimitException]:
    """Return the limits that admins have set and that have not ended (ListLimitExceptions)."""
    request = pb.ListLimitExceptionsRequest()
    answer = await connection.call(_stub(connection).ListLimitExceptions, request, doing="listing limits that are set")
    return list(answer.exceptions)


async def remove_exceptions(connection: Connection, subject: str, resources: Iterable[str]) -> list[pb.LimitException]:
    """End limits that admins have set, of all resources if none is named; return them (RemoveLimitExceptions)."""
    request = pb.RemoveLimitExceptionsRequest(subject=subject, resources=resources)
    doing = f"ending limits of {subject}"
    return list((await connection.call(_stub(connection).RemoveLimitExceptions, request, doing=doing)).exceptions)


def _stub(connection: Connection) -> LimitsServiceAsyncStub:
    return cast("LimitsServiceAsyncStub", LimitsServiceStub(connection.channel))
