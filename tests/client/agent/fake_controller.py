"""A controller as agents see it: enrols them, records their reports, and instructs them.

`tests/contract/test_agent_service.py` holds it to the real one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import cast

import grpc
import grpc.aio
from cryptography import x509

from headrace._wire.status import to_status
from headrace.errors import (
    ClusterEnded,
    HeadraceError,
    InvalidRequest,
    SessionReplaced,
    TokenInvalid,
    Violation,
    WorkerNotFound,
)
from headrace.internal.v1 import agent_service_pb2 as pb
from headrace.internal.v1 import agent_service_pb2_grpc
from headrace.v1 import cluster_pb2
from headrace_chassis.tls.certificates import Authority

TOKEN = "token-of-the-cluster"
Requests = AsyncIterator[pb.SessionRequest]
Context = grpc.aio.ServicerContext[pb.SessionRequest, pb.SessionResponse]
# Instructions, then what ends the session: an error, or None.
Outbox = asyncio.Queue[pb.SessionResponse | HeadraceError | None]


@dataclass
class State:
    """Everything that agents have reported, merged."""

    hellos: list[pb.SchedulerHello] = field(default_factory=list[pb.SchedulerHello])
    workers: dict[str, str] = field(default_factory=dict[str, str])
    left: dict[str, pb.LeftWorker] = field(default_factory=dict[str, pb.LeftWorker])
    retired: set[str] = field(default_factory=set[str])
    activity: pb.Activity = field(default_factory=pb.Activity)
    requested: dict[str, int] = field(default_factory=dict[str, int])
    requested_sizes: list[int] = field(default_factory=list[int])
    events: list[pb.AgentEvent] = field(default_factory=list[pb.AgentEvent])
    closings: list[cluster_pb2.EndReason.ValueType] = field(default_factory=list[cluster_pb2.EndReason.ValueType])
    heartbeats: int = 0
    sequences: list[int] = field(default_factory=list[int])

    def merge(self, request: pb.SessionRequest) -> None:
        self.sequences.append(request.sequence)
        match request.WhichOneof("report"):
            case "hello":
                self.hellos.append(request.hello)
                self.workers = {w.process: w.address for w in request.hello.workers}
                self.activity = request.hello.activity
            case "change":
                self._merge_change(request.change)
            case "scale_request":
                self.requested[request.scale_request.group] = request.scale_request.size
                self.requested_sizes.append(request.scale_request.size)
            case "event":
                self.events.append(request.event)
            case "closing":
                self.closings.append(request.closing.reason)
            case "heartbeat":
                self.heartbeats += 1
            case None:
                raise AssertionError("a request without a report")

    def _merge_change(self, change: pb.SchedulerChange) -> None:
        for worker in change.left:
            self.left[worker.process] = worker
            self.workers.pop(worker.process, None)
        self.retired.update(worker.process for worker in change.left if worker.retired)
        self.workers |= {w.process: w.address for w in change.joined}
        if change.HasField("activity"):
            self.activity = change.activity


class FakeController(agent_service_pb2_grpc.AgentServiceServicer):
    """One cluster, which knows its scheduler and workers of any id; a test sets its instructions."""

    def __init__(self, socket: str) -> None:
        self.endpoint = f"unix:{socket}"
        self.authority = Authority.create("cluster", timedelta(days=1))
        self.enrollment = pb.EnrollResponse(listen_host="127.0.0.1", worker_threads=1, worker_memory_bytes=1 << 30)
        self.certificate_lifetime = timedelta(hours=1)
        self.enrolled: list[pb.EnrollRequest] = []
        self.enrolled_with: list[object] = []
        self.issued: dict[str, list[int]] = {}  # serial numbers of certificates, by process
        self.credential = ""
        self.platform_tokens: set[str] = set()
        self.standing_by: dict[str, asyncio.Future[pb.StandbyResponse]] = {}  # by token
        self.refusal: HeadraceError | None = None
        self.session_refusal: HeadraceError | grpc.StatusCode | None = None
        self.refused = 0
        self.state = State()
        self.instruction = pb.SessionResponse()
        self.on_scale_request: Callable[[pb.ScaleRequest], Awaitable[None]] | None = None
        self._open: dict[int, Outbox] = {}
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        self._server = grpc.aio.server()
        agent_service_pb2_grpc.add_AgentServiceServicer_to_server(self, self._server)
        self._server.add_insecure_port(self.endpoint)
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    def instruct(self, instruction: pb.SessionResponse) -> None:
        self.instruction = instruction
        for outbox in self._open.values():
            outbox.put_nowait(instruction)

    def end_sessions(self) -> None:
        """Ends all sessions, as a controller that is about to stop does; it goes on to answer."""
        for outbox in self._open.values():
            outbox.put_nowait(None)

    def end(self) -> None:
        """Ends the cluster."""
        self.refusal = ClusterEnded("the cluster has ended")
        self.instruct(pb.SessionResponse(stop=True))

    async def Enroll(  # noqa: N802 the contract's name
        self, request: pb.EnrollRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> pb.EnrollResponse:
        self.enrolled.append(request)
        self.enrolled_with.append(dict(context.invocation_metadata() or ()).get("authorization"))
        await self._check(
            context, self.refusal or self._refuse_process(request), TOKEN, self.credential, *self.platform_tokens
        )
        leaf = self.authority.issue(request.process, self.certificate_lifetime)
        self.issued.setdefault(request.process, []).append(x509.load_pem_x509_certificate(leaf.cert_pem).serial_number)
        response = pb.EnrollResponse()
        response.CopyFrom(self.enrollment)
        response.credential = self.credential
        response.ca_pem = self.authority.cert_pem.decode()
        response.certificate_pem = leaf.cert_pem.decode()
        response.private_key_pem = leaf.key_pem.decode()
        response.expire_time.FromDatetime(leaf.expire_time)
        if request.role == pb.PROCESS_ROLE_WORKER and self.state.hellos:
            response.scheduler_address = self.state.hellos[-1].scheduler_address
        return response

    async def Standby(  # noqa: N802
        self, request: pb.StandbyRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> AsyncIterator[pb.StandbyResponse]:
        await self._check(context, self.refusal, *self.platform_tokens)
        shown = str(dict(context.invocation_metadata() or ())["authorization"]).removeprefix("Agent ")
        assignment = self.standing_by[shown] = asyncio.get_running_loop().create_future()
        yield pb.StandbyResponse()
        yield await assignment

    def _refuse_process(self, request: pb.EnrollRequest) -> HeadraceError | None:
        """Workers are started after the scheduler has reported its address."""
        is_worker = request.role == pb.PROCESS_ROLE_WORKER
        has_address = bool(self.state.hellos or self.enrollment.scheduler_address)
        known = request.process != "scheduler" and has_address if is_worker else request.process == "scheduler"
        return None if known else WorkerNotFound(f"the cluster has no process {request.process!r} that may enrol")

    async def Session(self, request_iterator: Requests, context: Context) -> AsyncIterator[pb.SessionResponse]:  # noqa: N802
        await self._check(context, self.session_refusal)
        first = await anext(aiter(request_iterator), None)
        await self._check(context, self._refuse_hello(first))
        assert first is not None
        self.state.merge(first)
        outbox = self._replace(first.hello.session)
        reading = asyncio.create_task(self._read(request_iterator, outbox))
        try:
            while (sent := await outbox.get()) is not None:
                await self._check(context, sent if isinstance(sent, HeadraceError) else None)
                yield cast("pb.SessionResponse", sent)
        finally:
            if self._open.get(first.hello.session) is outbox:
                del self._open[first.hello.session]
            reading.cancel()

    def _refuse_hello(self, first: pb.SessionRequest | None) -> HeadraceError | None:
        if first is None or not first.HasField("hello") or first.hello.session <= 0:
            return InvalidRequest.of(Violation("hello", "the first message must be a hello with a session"))
        if first.hello.session < max((hello.session for hello in self.state.hellos), default=0):
            return _replaced()
        return None

    def _replace(self, session: int) -> Outbox:
        """Opens a session; all others end."""
        for older in self._open.values():
            older.put_nowait(_replaced())
        outbox = Outbox()
        outbox.put_nowait(self.instruction)
        self._open = {session: outbox}
        return outbox

    async def _read(self, requests: Requests, outbox: Outbox) -> None:
        """Merges all requests; an agent that has sent its last one is answered by the end of the session."""
        with contextlib.suppress(grpc.aio.AioRpcError):
            async for request in requests:
                self.state.merge(request)
                if request.HasField("scale_request") and self.on_scale_request is not None:
                    await self.on_scale_request(request.scale_request)
            outbox.put_nowait(None)

    async def _check(
        self,
        context: grpc.aio.ServicerContext[object, object] | Context,
        refusal: HeadraceError | grpc.StatusCode | None,
        *tokens: str,
    ) -> None:
        """Refuses a call; without `tokens`, what an enrolled process sends must be shown."""
        shown = dict(context.invocation_metadata() or ()).get("authorization")
        if shown not in [f"Agent {token}" for token in tokens or (self.credential or TOKEN,)]:
            refusal = TokenInvalid(f"not the token: {shown!r}")
        self.refused += refusal is not None
        if isinstance(refusal, grpc.StatusCode):
            await context.abort(refusal, "refused by the test")
        if isinstance(refusal, HeadraceError):
            status = to_status(refusal)
            await context.abort(status.code, status.details, status.trailing_metadata)


def _replaced() -> SessionReplaced:
    return SessionReplaced("a newer session of the cluster has reported")
