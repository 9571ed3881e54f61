"""A controller as agents see it: enrols them, records their reports, and instructs them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

import grpc
import grpc.aio

from headrace._wire.status import to_status
from headrace.errors import HeadraceError, InvalidRequest, TokenInvalid, Violation
from headrace.internal.v1 import agent_service_pb2 as pb
from headrace.internal.v1 import agent_service_pb2_grpc
from headrace.v1 import cluster_pb2
from headrace_chassis.tls.certificates import Authority

TOKEN = "token-of-the-cluster"
Requests = AsyncIterator[pb.SessionRequest]
Context = grpc.aio.ServicerContext[pb.SessionRequest, pb.SessionResponse]


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
    def __init__(self, socket: str) -> None:
        self.endpoint = f"unix:{socket}"
        self.authority = Authority.create("cluster", timedelta(days=1))
        self.enrollment = pb.EnrollResponse(listen_host="127.0.0.1", worker_threads=1, worker_memory_bytes=1 << 30)
        self.certificate_lifetime = timedelta(hours=1)
        self.enrolled: list[pb.EnrollRequest] = []
        self.refusal: HeadraceError | None = None
        self.session_refusal: HeadraceError | grpc.StatusCode | None = None
        self.refused = 0
        self.state = State()
        self.instruction = pb.SessionResponse()
        self.on_scale_request: Callable[[pb.ScaleRequest], Awaitable[None]] | None = None
        self._open: set[asyncio.Queue[pb.SessionResponse | None]] = set()
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
        for queue in self._open:
            queue.put_nowait(instruction)

    async def Enroll(  # noqa: N802 the contract's name
        self, request: pb.EnrollRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> pb.EnrollResponse:
        self.enrolled.append(request)
        await self._check(context, self.refusal)
        leaf = self.authority.issue(request.process, self.certificate_lifetime)
        response = pb.EnrollResponse()
        response.CopyFrom(self.enrollment)
        response.ca_pem = self.authority.cert_pem.decode()
        response.certificate_pem = leaf.cert_pem.decode()
        response.private_key_pem = leaf.key_pem.decode()
        response.expire_time.FromDatetime(leaf.expire_time)
        if self.state.hellos and request.role == pb.PROCESS_ROLE_WORKER:
            response.scheduler_address = self.state.hellos[-1].scheduler_address
        return response

    async def Session(self, request_iterator: Requests, context: Context) -> AsyncIterator[pb.SessionResponse]:  # noqa: N802
        await self._check(context, self.session_refusal)
        await self._accept_hello(await anext(aiter(request_iterator)), context)
        queue: asyncio.Queue[pb.SessionResponse | None] = asyncio.Queue()
        queue.put_nowait(self.instruction)
        self._open.add(queue)
        reading = asyncio.create_task(self._read(request_iterator, queue))
        try:
            while (instruction := await queue.get()) is not None:
                yield instruction
        finally:
            self._open.discard(queue)
            reading.cancel()

    async def _accept_hello(self, first: pb.SessionRequest, context: Context) -> None:
        refusal = None
        if not first.HasField("hello") or first.hello.session <= 0:
            refusal = InvalidRequest.of(Violation("hello", "the first message must be a hello with a session"))
        await self._check(context, refusal)
        self.state.merge(first)

    async def _read(self, requests: Requests, queue: asyncio.Queue[pb.SessionResponse | None]) -> None:
        """Merges all requests; an agent that has sent its last one is answered by the end of the session."""
        with contextlib.suppress(grpc.aio.AioRpcError):
            async for request in requests:
                self.state.merge(request)
                if request.HasField("scale_request") and self.on_scale_request is not None:
                    await self.on_scale_request(request.scale_request)
            queue.put_nowait(None)

    async def _check(
        self,
        context: grpc.aio.ServicerContext[object, object] | Context,
        refusal: HeadraceError | grpc.StatusCode | None,
    ) -> None:
        shown = dict(context.invocation_metadata() or ()).get("authorization")
        if shown != f"Agent {TOKEN}":
            refusal = TokenInvalid(f"not the token: {shown!r}")
        self.refused += refusal is not None
        if isinstance(refusal, grpc.StatusCode):
            await context.abort(refusal, "refused by the test")
        if isinstance(refusal, HeadraceError):
            status = to_status(refusal)
            await context.abort(status.code, status.details, status.trailing_metadata)
