"""Envoy's Authorization service (ext_authz), on the internal listener."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
from envoy.service.auth.v3 import external_auth_pb2_grpc
from typing_extensions import override

from headrace_auth import metrics
from headrace_auth.authz.answer import answer
from headrace_auth.authz.decision import Authorizer, Refuse
from headrace_auth.authz.request import DashboardRequest
from headrace_chassis.logs import get_logger

SERVICE = "envoy.service.auth.v3.Authorization"

log = get_logger()


@dataclass(frozen=True)
class AuthorizationServicer(external_auth_pb2_grpc.AuthorizationServicer):
    """Serves `envoy.service.auth.v3.Authorization`."""

    authorizer: Authorizer

    @override
    async def Check(self, request: Any, context: Any) -> Any:  # Envoy's messages have no types
        http = request.attributes.request.http
        asked = DashboardRequest.parse(http.method, http.host, http.path, dict(http.headers))
        decision = await self.authorizer.decide(asked)
        if isinstance(decision, Refuse):
            log.info("dashboard refused", cluster=asked.cluster, status=decision.status, title=decision.title)
        metrics.DECISIONS.labels(decision.status).inc()
        return answer(decision, asked, self.authorizer.session_seconds)

    def register(self, server: grpc.aio.Server) -> str:
        external_auth_pb2_grpc.add_AuthorizationServicer_to_server(self, server)
        return SERVICE
