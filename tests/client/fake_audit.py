"""AuditService of the fake headrace: it has what a test gives it, and no filters."""

# ruff: noqa: N802 - the names of the contract

from __future__ import annotations

from typing import Any

from headrace.v1 import audit_service_pb2 as pb
from headrace.v1.audit_service_pb2_grpc import AuditServiceServicer

_PAGE = 2


class FakeAudit(AuditServiceServicer):
    """Pages of two; `records` are newest first."""

    def __init__(self) -> None:
        self.records: list[pb.AuditRecord] = []

    def ListAuditRecords(self, request: pb.ListAuditRecordsRequest, context: Any) -> pb.ListAuditRecordsResponse:
        start = int(request.page_token or 0)
        end = start + _PAGE
        more = str(end) if end < len(self.records) else ""
        return pb.ListAuditRecordsResponse(records=self.records[start:end], next_page_token=more)
