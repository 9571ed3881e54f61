"""AuditService: what was done, for administrators."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, cast

import grpc.aio
import msgspec
from google.protobuf.timestamp_pb2 import Timestamp
from redis.asyncio import Redis
from typing_extensions import override

from headrace.errors import InvalidRequest, Violation
from headrace.v1 import audit_service_pb2 as pb
from headrace.v1.audit_service_pb2_grpc import AuditServiceServicer, add_AuditServiceServicer_to_server
from headrace_chassis import paging
from headrace_chassis.audit.record import Record
from headrace_chassis.identity.caller import current_caller
from headrace_chassis.redis.connection import store_errors
from headrace_controller.api.access import require_admin
from headrace_controller.api.convert import timestamp

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

# Records that one call reads; a filter that matches few of them gives a short page.
_MOST_READ = 5000
_AT_ONCE = 500
_PLACE = re.compile(r"[0-9]{1,19}-[0-9]{1,19}", re.ASCII)
_MAX_TEXT = 512

_Entries = list[tuple[bytes, dict[bytes, bytes]]]


@dataclass(frozen=True, slots=True)
class AuditService(AuditServiceServicer):
    """Reads what all services keep in Redis below `key`."""

    redis: Redis
    key: str

    @override
    async def ListAuditRecords(
        self, request: pb.ListAuditRecordsRequest, context: Context
    ) -> pb.ListAuditRecordsResponse:
        caller = current_caller()
        require_admin(caller, "read the audit log")
        size = paging.page_size(request.page_size)
        cursor = paging.read_token(request, request.page_token, caller=caller.user)
        _check(request, cursor)
        found, place = await self._find(request, cursor, size)
        token = paging.make_token(request, place, caller=caller.user) if place else ""
        return pb.ListAuditRecordsResponse(records=found, next_page_token=token)

    async def _find(
        self, wanted: pb.ListAuditRecordsRequest, cursor: str, size: int
    ) -> tuple[Sequence[pb.AuditRecord], str]:
        """Return matching records before a place, and the place to go on from, "" at the end."""
        found, place, read = list[pb.AuditRecord](), cursor, 0
        since = wanted.since.ToNanoseconds() / 1e9 if wanted.HasField("since") else 0.0
        until = wanted.until.ToNanoseconds() / 1e9 if wanted.HasField("until") else inf
        while read < _MOST_READ:
            with store_errors():
                last = f"({place}" if place else "+"
                entries = cast("_Entries", await self.redis.xrevrange(self.key, last, "-", count=_AT_ONCE))
            for id_, fields in entries:
                place = id_.decode()
                record = _read(fields.get(b"record", b""))
                if record is None or not since <= record.time < until or not _matches(record, wanted):
                    continue
                found.append(_message(record))
                if len(found) == size:
                    return found, place
            if len(entries) < _AT_ONCE:
                return found, ""
            read += len(entries)
        return found, place

    def register(self, server: grpc.aio.Server) -> str:
        """Add the service to a server; return its full name."""
        add_AuditServiceServicer_to_server(self, server)
        return pb.DESCRIPTOR.services_by_name["AuditService"].full_name


def _check(request: pb.ListAuditRecordsRequest, cursor: str) -> None:
    if cursor and not _PLACE.fullmatch(cursor):
        raise InvalidRequest.of(Violation("page_token", "is not a page token of this service"))
    for field in ("caller", "owner", "cluster", "method", "token"):
        if len(getattr(request, field)) > _MAX_TEXT:
            raise InvalidRequest.of(Violation(field, f"may have at most {_MAX_TEXT} characters"))
    for field in ("since", "until"):
        if request.HasField(field) and not _is_time(getattr(request, field)):
            raise InvalidRequest.of(Violation(field, "is not a valid time"))


def _is_time(time: Timestamp) -> bool:
    try:
        time.ToNanoseconds()
    except ValueError:
        return False
    return True


def _read(line: bytes) -> Record | None:
    try:
        return Record.read(line)
    except msgspec.DecodeError:
        return None  # of a release that this one does not understand


def _matches(record: Record, wanted: pb.ListAuditRecordsRequest) -> bool:
    return (
        wanted.caller in {"", record.caller}
        and wanted.owner in {"", record.owner}
        and wanted.cluster in {"", record.target}
        and wanted.method in {"", record.method, record.method.rpartition(".")[2]}
        and wanted.token in {"", record.token, record.token.removeprefix("apiTokens/")}
        and (record.failed or not wanted.failed)
    )


def _message(record: Record) -> pb.AuditRecord:
    return pb.AuditRecord(
        time=timestamp(record.time),
        method=record.method,
        caller=record.caller,
        token=record.token,
        source=record.source,
        target=record.target,
        owner=record.owner,
        role=record.role,
        code=record.code,
        detail=record.detail,
        request_id=record.request_id,
        service=record.service,
    )
