"""The calls to AuditService."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, cast

from headrace._wire.connection import Connection
from headrace.v1 import audit_service_pb2 as pb
from headrace.v1.audit_service_pb2_grpc import AuditServiceStub

if TYPE_CHECKING:
    from headrace.v1.audit_service_pb2_grpc import AuditServiceAsyncStub


async def records(
    connection: Connection,
    request: pb.ListAuditRecordsRequest,
    *,
    since: datetime | None,
    until: datetime | None,
    count: int,
    without: Collection[str] = (),
) -> list[pb.AuditRecord]:
    """Return the newest records that match, oldest first (ListAuditRecords); none of the methods `without`."""
    if since is not None:
        request.since.FromDatetime(since)
    if until is not None:
        request.until.FromDatetime(until)
    stub = cast("AuditServiceAsyncStub", AuditServiceStub(connection.channel))
    found = list[pb.AuditRecord]()
    async for page in connection.pages(stub.ListAuditRecords, request, doing="reading the audit log"):
        found += (one for one in page.records if one.method.rpartition(".")[2] not in without)
        if len(found) >= count:
            break
    return found[:count][::-1]
