"""The calls to UsageService, written once for the client and the command line."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import TYPE_CHECKING, Any, cast

from headrace._wire.connection import Connection
from headrace.errors import InvalidRequest, Violation
from headrace.v1 import usage_service_pb2 as pb
from headrace.v1.usage_service_pb2_grpc import UsageServiceStub

if TYPE_CHECKING:
    from headrace.v1.usage_service_pb2_grpc import UsageServiceAsyncStub

BY = ("day", "month", "user", "group", "profile", "cluster", "tag")
_HOUR = 3600.0
_ARGUMENTS = {"start_day": "since", "end_day": "until", "subject": "of"}
"""The arguments of `usage`, which are options of the command too, by field of the request."""


async def usage(
    connection: Connection,
    *,
    by: Iterable[str] = (),
    since: date | str | None = None,
    until: date | str | None = None,
    of: str = "",
) -> list[dict[str, Any]]:
    """Return what was used, one row for each sum (ListUsage).

    Parameters
    ----------
    by
        What to sum by: of `BY`, or ``tag:{key}`` for the values of one tag.
    since, until
        First and last day in UTC. Default: the first day of this month, and today.
    of
        ``users/{user}``, ``groups/{group}``, ``clusters/{cluster}``, or "-" for everybody. Default: the caller.
    """
    dimensions, tag_key = _dimensions(by)
    request = pb.ListUsageRequest(
        subject=of,
        start_day=_day(since),
        end_day=_day(until),
        group_by=[pb.UsageDimension.Value(f"USAGE_DIMENSION_{name.upper()}") for name in dimensions],
        tag_key=tag_key,
    )
    stub = cast("UsageServiceAsyncStub", UsageServiceStub(connection.channel))
    pages = connection.pages(stub.ListUsage, request, doing="reading usage")
    try:
        return [_row(row, dimensions, page.currency) async for page in pages for row in page.usage]
    except InvalidRequest as error:
        if not error.violations:
            raise
        raise InvalidRequest.of(
            *(Violation(_ARGUMENTS.get(v.field, v.field), v.description) for v in error.violations)
        ) from None


async def budgets(connection: Connection, user: str = "") -> pb.ListBudgetsResponse:
    """Return the budgets that bind a user, by default the caller, and their currency (ListBudgets)."""
    name = f"users/{user.removeprefix('users/')}" if user else ""
    stub = cast("UsageServiceAsyncStub", UsageServiceStub(connection.channel))
    return await connection.call(stub.ListBudgets, pb.ListBudgetsRequest(user=name), doing="reading budgets")


def columns(by: Iterable[str]) -> list[str]:
    """Return the keys of the rows of `usage`, which are the same if there are none."""
    return list(_row(pb.UsageRow(), _dimensions(by)[0], ""))


def _dimensions(by: Iterable[str]) -> tuple[list[str], str]:
    names: list[str] = []
    tag_key = ""
    for one in by:
        name, colon, key = one.partition(":")
        if name not in BY or (colon and (name != "tag" or not key)):
            raise InvalidRequest.of(Violation("by", f"{one!r} is none of {', '.join(BY)}, tag:KEY"))
        names.append(name)
        tag_key = tag_key or key
    return names, tag_key


def _day(day: date | str | None) -> str:
    if day is None:
        return ""
    return day if isinstance(day, str) else f"{day:%Y-%m-%d}"


def _row(row: pb.UsageRow, dimensions: Iterable[str], currency: str) -> dict[str, Any]:
    promised, measured = row.promised, row.measured if row.HasField("measured") else None
    keys: dict[str, Any] = {}
    for name in dimensions:
        value: str = getattr(row, name)
        keys[name] = value.removeprefix(f"{name}s/") if name in {"user", "group", "cluster"} else value
        if name == "cluster":
            keys["name"] = row.alias
    return {
        **keys,
        "cluster_hours": promised.cluster_seconds / _HOUR,
        "worker_hours": promised.worker_seconds / _HOUR,
        "core_hours": promised.core_seconds / _HOUR,
        "memory_gib_hours": promised.memory_gib_seconds / _HOUR,
        "gpu_hours": promised.gpu_seconds / _HOUR,
        "cost": promised.cost,
        "currency": currency,
        "measured_cluster_hours": measured and measured.cluster_seconds / _HOUR,
        "measured_core_hours": measured and measured.core_seconds / _HOUR,
        "measured_memory_gib_hours": measured and measured.memory_gib_seconds / _HOUR,
    }
