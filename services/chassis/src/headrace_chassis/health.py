"""gRPC health, from a real check of what the service depends on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import grpc
from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer

from headrace_chassis import metrics
from headrace_chassis.logs import get_logger

Check = Callable[[], Awaitable[object]]
CHECK_SECONDS = 2.0
# Until the first success, because others wait for it.
FIRST_CHECK_SECONDS = 0.05
NAME = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
LIVE = "live"
"""Name under which health checks ask whether the process answers at all, for probes of liveness."""

log = get_logger()
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """Health of all services of this process. One check stands for all of them."""

    def __init__(self, check: Check) -> None:
        self.servicer = HealthServicer()
        self.passed_once = asyncio.Event()
        self._check = check
        self._services: list[str] = [""]
        self._serving: bool | None = None
        self._draining = False
        self._logged = ""

    async def register(self, services: Sequence[str]) -> None:
        self._services += services
        await self.servicer.set(LIVE, _SERVING)
        await self._set(serving=False)

    def serve_checks(self, server: grpc.aio.Server) -> None:
        """Add `Check` alone: strangers who reach a health listener could hold any number of `Watch` streams open."""
        check = grpc.unary_unary_rpc_method_handler(
            self.servicer.Check,
            request_deserializer=health_pb2.HealthCheckRequest.FromString,
            response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
        )
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(NAME, {"Check": check})])

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            await self._check_once()
            await asyncio.sleep(CHECK_SECONDS if self.passed_once.is_set() else FIRST_CHECK_SECONDS)

    async def drain(self) -> None:
        """Report NOT_SERVING from now on, whatever the check finds."""
        self._draining = True
        await self._set(serving=False)

    async def _check_once(self) -> None:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await self._check()
        except Exception as error:  # noqa: BLE001 any failure means not healthy
            self._log(str(error) or type(error).__name__)
            await self._set(serving=False)
        else:
            self._logged = ""
            if not self._draining:
                await self._set(serving=True)
                self.passed_once.set()

    def _log(self, error: str) -> None:
        """Log a failure, once until there is another one or success: at the start it is met 20 times a second."""
        if error != self._logged:
            self._logged = error
            log.warning("not healthy", error=error)

    async def _set(self, *, serving: bool) -> None:
        if serving is self._serving:
            return
        self._serving = serving
        metrics.HEALTHY.set(serving)
        for service in self._services:
            await self.servicer.set(service, _SERVING if serving else _NOT_SERVING)
