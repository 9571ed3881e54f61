"""A controller as agents see it: enrols them, records what they report, and instructs them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

import grpc
import grpc.aio

from headrace._wire.status import to_status
from headrace.errors import HeadraceError, TokenInvalid
from headrace.internal.v1 import agent_service_pb2 as pb
from headrace.internal.v1 import agent_service_pb2_grpc
from headrace_chassis.tls.certificates import Authority

TOKEN = "token-of-the-cluster"
Sessions = AsyncIterator[pb.SessionRequest]
Context = grpc.aio.ServicerContext[pb.SessionRequest, pb.SessionResponse]


@dataclass
class State:
    """What agents have reported so far, put together."""

    hellos: list[pb.SchedulerHello] = field(default_factory=list[pb.SchedulerHello])
    workers: dict[str, str] = field(default_factory=dict[str, str])
    left: list[str] = field(default_factory=list[str])
    retired: set[str] = field(default_factory=set[str])
    activity: pb.Activity = field(default_factory=pb.Activity)
    wishes: dict[str, int] = field(default_factory=dict[str, int])
    wish_history: list[int] = field(default_factory=list[int])
    events: list[pb.AgentEvent] = field(default_factory=list[pb.AgentEvent])
    sequences: list[int] = field(default_factory=list[int])

    def take(self, request: pb.SessionRequest) -> None:
        self.sequences.append(request.sequence)
        match request.WhichOneof("report"):
            case "hello":
                self.hellos.append(request.hello)
                self.workers = {w.process: w.address for w in request.hello.workers}
                self.activity = request.hello.activity
            case "change":
                self.workers |= {w.process: w.address for w in request.change.joined}
                self.left.extend(request.change.left)
                for process in request.change.left:
                    self.workers.pop(process, None)
                self.retired.update(request.change.retired)
                if request.change.HasField("activity"):
                    self.activity = request.change.activity
            case "adaptive_wish":
                self.wishes[request.adaptive_wish.group] = request.adaptive_wish.size
                self.wish_history.append(request.adaptive_wish.size)
            case "event":
                self.events.append(request.event)
            case None:
                raise AssertionError("a request without a report")


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
        self.on_wish: Callable[[pb.AdaptiveWish], Awaitable[None]] | None = None
        self._open: set[asyncio.Queue[pb.SessionResponse]] = set()
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
        if request.process != "scheduler":
            response.worker_group = request.process.rsplit("-", 2)[0]
        return response

    async def Session(self, request_iterator: Sessions, context: Context) -> AsyncIterator[pb.SessionResponse]:  # noqa: N802
        await self._check(context, self.session_refusal)
        queue: asyncio.Queue[pb.SessionResponse] = asyncio.Queue()
        queue.put_nowait(self.instruction)
        self._open.add(queue)
        reading = asyncio.create_task(self._read(request_iterator))
        try:
            while True:
                yield await queue.get()
        finally:
            self._open.discard(queue)
            reading.cancel()

    async def _read(self, requests: Sessions) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
            async for request in requests:
                self.state.take(request)
                if request.HasField("adaptive_wish") and self.on_wish is not None:
                    await self.on_wish(request.adaptive_wish)

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
            await context.abort(refusal, "as the test wants it")
        if isinstance(refusal, HeadraceError):
            status = to_status(refusal)
            await context.abort(status.code, status.details, status.trailing_metadata)
