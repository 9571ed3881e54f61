"""The ext_authz server: gRPC with threads, so that it shares no event loop with anything."""

from __future__ import annotations

import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
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
from headrace_chassis.settings import ServiceSettings
from headrace_chassis.tls.listener import OPTIONS, bind

SERVICE = "envoy.service.auth.v3.Authorization"
THREADS = 8
STOP_SECONDS = 1

log = get_logger()


@dataclass(frozen=True)
class AuthorizationServicer(external_auth_pb2_grpc.AuthorizationServicer):
    """Serves `envoy.service.auth.v3.Authorization`."""

    authorizer: Authorizer

    @override
    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:  # Envoy's messages have no types
        started = time.perf_counter()
        http = request.attributes.request.http
        asked = DashboardRequest.parse(http.method, http.path, dict(http.headers))
        decision = self.authorizer.decide(asked)
        if isinstance(decision, Refuse):
            log.info("dashboard refused", cluster=asked.cluster, status=decision.status, title=decision.title)
        metrics.DECISIONS.labels(decision.status).inc()
        metrics.DECISION_SECONDS.observe(time.perf_counter() - started)
        return answer(decision, asked, self.authorizer.session_seconds)


@contextmanager
def serving(settings: ServiceSettings, address: str, authorizer: Authorizer) -> Generator[None]:
    """Serves on the address until the block is left."""
    server = grpc.server(ThreadPoolExecutor(THREADS, thread_name_prefix="authz"), options=OPTIONS)
    external_auth_pb2_grpc.add_AuthorizationServicer_to_server(AuthorizationServicer(authorizer), server)
    log.info("listening", address=bind(server, address, settings, internal=True), services=[SERVICE], internal=True)
    server.start()
    try:
        yield
    finally:
        server.stop(STOP_SECONDS).wait()
