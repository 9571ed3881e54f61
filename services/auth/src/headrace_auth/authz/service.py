"""Envoy's Authorization service (ext_authz), on the internal listener."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import grpc
from envoy.service.auth.v3 import external_auth_pb2_grpc
from typing_extensions import override

from headrace.access import Role
from headrace.resource_names import cluster_name, user_name
from headrace_auth import metrics
from headrace_auth.authz.answer import answer
from headrace_auth.authz.decision import Authorizer, Redirect, Refuse, Visit
from headrace_auth.authz.request import DashboardRequest
from headrace_chassis.audit.log import AuditLog
from headrace_chassis.audit.record import Record, bounded
from headrace_chassis.identity.source import source_of
from headrace_chassis.logs import get_logger

SERVICE = "envoy.service.auth.v3.Authorization"

log = get_logger()


@dataclass(frozen=True)
class AuthorizationServicer(external_auth_pb2_grpc.AuthorizationServicer):
    """Serves `envoy.service.auth.v3.Authorization`."""

    authorizer: Authorizer
    audit: AuditLog

    @override
    async def Check(self, request: Any, context: Any) -> Any:  # Envoy's messages have no types
        http = request.attributes.request.http
        asked = DashboardRequest.parse(http.method, http.host, http.path, dict(http.headers))
        decision = await self.authorizer.decide(asked)
        if isinstance(decision, Refuse):
            log.info("dashboard refused", cluster=asked.cluster, status=decision.status, title=decision.title)
        metrics.DECISIONS.labels(decision.status).inc()
        if (visit := decision.visit) is not None and (visit.role != Role.OWNER or isinstance(decision, Redirect)):
            self._record(visit, asked, source_of("", dict(http.headers), ()))
        return answer(decision, asked, self.authorizer.session_seconds)

    def _record(self, visit: Visit, asked: DashboardRequest, source: str) -> None:
        caller = user_name(visit.user.user)
        record = Record(
            time=time.time(),
            service=self.audit.service,
            method="Dashboard",
            caller=caller,
            token=visit.user.token,
            source=source,
            target=bounded(cluster_name(asked.cluster)),
            owner=user_name(visit.owner),
            role=visit.role or "",
            code="OK" if visit.role else "PERMISSION_DENIED",
        )
        self.audit.add(record, by=caller)

    def register(self, server: grpc.aio.Server) -> str:
        external_auth_pb2_grpc.add_AuthorizationServicer_to_server(self, server)
        return SERVICE
