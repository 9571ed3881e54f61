"""Runs a service: start, health, readiness, drain, stop."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from headrace_chassis import logs
from headrace_chassis.audit.log import AuditLog
from headrace_chassis.health import NAME as HEALTH_SERVICE
from headrace_chassis.health import Check, Health
from headrace_chassis.identity.agent_tokens import AgentTokens, VerifyAgent
from headrace_chassis.identity.seal import read_deployment_keys
from headrace_chassis.identity.tokens import TokenVerifier, keys_from_auth, no_keys
from headrace_chassis.interceptors import order
from headrace_chassis.interceptors.audit import audit
from headrace_chassis.interceptors.authenticate import authenticate
from headrace_chassis.interceptors.deadline import Deadlines
from headrace_chassis.interceptors.lift import lift
from headrace_chassis.interceptors.limit import Limits
from headrace_chassis.interceptors.trace import trace
from headrace_chassis.metrics_page import Page, metrics_page
from headrace_chassis.readiness import report_ready
from headrace_chassis.settings import ServiceSettings
from headrace_chassis.tls.channels import open_channel
from headrace_chassis.tls.listener import bind, bind_plain, new_health_server, new_server
from headrace_chassis.traces import spans_of_calls, tracing_of

S = TypeVar("S", bound=ServiceSettings)
Registration = Callable[[grpc.aio.Server], str]
Task = Callable[[], Awaitable[None]]

_LAST_SPANS_SECONDS = 0.5

log = logs.get_logger()


@dataclass(frozen=True, kw_only=True)
class App:
    """A service, as the chassis runs it.

    Attributes
    ----------
    public, internal
        Each adds a servicer and returns its service's full name. Internal ones serve headrace's own services and Envoy.
    check
        Raises while the service is not healthy.
    tasks
        Run as long as the service. The service ends if one of them ends or fails.
    verifier
        Verifies access tokens. Default: with the keys of the auth service.
    verify_agent
        Verifies tokens of agents. Default: takes those only that this deployment has issued.
    audit
        Records calls, if the service has users.
    pages
        Further pages beside that of the metrics, by path.
    """

    public: Sequence[Registration]
    internal: Sequence[Registration] = ()
    check: Check
    tasks: Sequence[Task] = ()
    verifier: TokenVerifier | None = None
    verify_agent: VerifyAgent | None = None
    audit: AuditLog | None = None
    pages: Mapping[str, Page] = field(default_factory=dict[str, Page])


async def serve(settings: S, build: Callable[[S, AsyncExitStack], Awaitable[App]]) -> None:
    """Run a service until SIGTERM or SIGINT."""
    async with AsyncExitStack() as stack:
        app = await build(settings, stack)
        verifier = app.verifier or await _verifier(settings, stack)
        stack.enter_context(metrics_page(settings.metrics_listen, settings.metrics_token_file, app.pages))
        await _Service(settings, app, verifier).run()
    log.info("stopped")


async def _verifier(settings: ServiceSettings, stack: AsyncExitStack) -> TokenVerifier:
    if not settings.auth_address:
        return TokenVerifier(no_keys, settings.deployment)
    channel = await stack.enter_async_context(open_channel(settings.auth_address, settings, spans_of_calls(settings)))
    return TokenVerifier(keys_from_auth(channel), settings.deployment)


class _Service:
    """A service from start to stop."""

    def __init__(self, settings: ServiceSettings, app: App, verifier: TokenVerifier) -> None:
        self._settings = settings
        self._app = app
        self._verifier = verifier
        own_tokens = AgentTokens(read_deployment_keys(settings.deployment_key_file), settings.deployment)
        self._verify_agent = app.verify_agent or own_tokens.verify_own
        self._health = Health(app.check)
        self._deadlines = Deadlines(settings.default_deadline_seconds)
        self._limits = Limits(settings.calls, settings.trusted_proxies)
        self._tracing = tracing_of(settings)
        self._servers: list[grpc.aio.Server] = []
        self._health_server: grpc.aio.Server | None = None

    async def run(self) -> None:
        stopping = asyncio.Event()
        with _signals(stopping):
            await self._run_until(stopping)
        if self._tracing:
            await asyncio.to_thread(self._tracing.close, _LAST_SPANS_SECONDS)

    async def _run_until(self, stopping: asyncio.Event) -> None:
        recording = [self._app.audit.run] if self._app.audit else []
        tasks = (self._verifier.run, self._health.run, self._report_ready, *recording, *self._app.tasks)
        async with asyncio.TaskGroup() as group:
            running: list[asyncio.Task[None]] = []
            try:
                await self._start()
                running += [group.create_task(_never_ending(task)) for task in tasks]
                await stopping.wait()
                await self._leave()
                await self._drain()
            finally:
                await self._stop(0)
                if self._health_server:
                    await self._health_server.stop(0)
                for task in running:
                    task.cancel()

    async def _start(self) -> None:
        settings = self._settings
        await self._listen(settings.listen, self._app.public, internal=False)
        if settings.internal_listen:
            await self._listen(settings.internal_listen, self._app.internal, internal=True)
        if settings.health_listen:
            self._health_server = new_health_server()
            self._health.serve_checks(self._health_server)
            log.info("listening", address=bind_plain(self._health_server, settings.health_listen), services=["health"])
            await self._health_server.start()
        for server in self._servers:
            await server.start()

    async def _listen(self, address: str, registrations: Sequence[Registration], *, internal: bool) -> None:
        server = new_server(self._interceptor(internal=internal))
        self._servers.append(server)
        services = [register(server) for register in registrations]
        await self._health.register(services)
        health_pb2_grpc.add_HealthServicer_to_server(self._health.servicer, server)
        reflection.enable_server_reflection([*services, HEALTH_SERVICE, reflection.SERVICE_NAME], server)
        bound = bind(server, address, self._settings, internal=internal)
        log.info("listening", address=bound, services=services, internal=internal)

    def _interceptor(self, *, internal: bool) -> grpc.aio.ServerInterceptor:
        who = authenticate(self._verifier, self._verify_agent, internal=internal)
        recorder = None if self._app.audit is None else audit(self._app.audit, self._settings.trusted_proxies)
        interceptors = order(who, self._deadlines.deadline, self._limits.limit, recorder)
        return lift(trace(self._tracing), *interceptors) if self._tracing else lift(*interceptors)

    async def _report_ready(self) -> None:
        await self._health.passed_once.wait()
        # Objects of the start stay. Collecting them takes 50 ms, in which no call would be answered.
        gc.collect()
        gc.freeze()
        log.info("ready", replica=self._settings.replica)
        report_ready()
        await asyncio.Event().wait()

    async def _leave(self) -> None:
        """Report NOT_SERVING, and serve on until callers go elsewhere."""
        await self._health.drain()
        if delay := self._settings.shutdown_delay_seconds:
            log.info("leaving: health checks answer NOT_SERVING, calls are served", seconds=delay)
            await asyncio.sleep(delay)

    async def _drain(self) -> None:
        log.info("draining", seconds=self._settings.drain_seconds)
        self._deadlines.drain()
        await self._stop(self._settings.drain_seconds)

    async def _stop(self, grace: float) -> None:
        await asyncio.gather(*(server.stop(grace) for server in self._servers))


@contextmanager
def _signals(stopping: asyncio.Event) -> Generator[None]:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _never_ending(task: Task) -> None:
    await task()
    name = getattr(task, "__qualname__", repr(task))
    raise RuntimeError(f"{name} has ended, though it should run as long as the service")
