"""AgentService: enrolment of processes, and the sessions of schedulers' agents."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc.aio
from typing_extensions import override

from headrace.errors import ClusterNotFound, InvalidRequest, StoreUnavailable, TokenInvalid, Violation
from headrace.internal.v1 import agent_service_pb2 as pb
from headrace.internal.v1.agent_service_pb2_grpc import AgentServiceServicer, add_AgentServiceServicer_to_server
from headrace.tracing import traceparent
from headrace_chassis.identity.caller import AgentCaller, current_agent
from headrace_controller.agents.enrolment import Enrolment
from headrace_controller.agents.sessions import Sessions
from headrace_controller.agents.standbys import Standbys
from headrace_controller.backends.process import SCHEDULER
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import Cluster, ClusterId
from headrace_controller.store import RecordUnreadable

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, kw_only=True)
class AgentService(AgentServiceServicer):
    """Called by the agents inside Dask processes. `adopt` rebuilds a record that the store has lost."""

    enrolment: Enrolment
    sessions: Sessions
    standbys: Standbys
    mirror: ClusterMirror
    adopt: Callable[[str], Awaitable[bool]]

    @override
    async def Enroll(self, request: pb.EnrollRequest, context: Context) -> pb.EnrollResponse:
        caller = current_agent()
        if not caller.cluster:
            raise StoreUnavailable("this process is in standby, and has not been given to a cluster yet; try again")
        response = await self.enrolment.enrol(caller, await self._cluster(caller), request)
        if response.tracing_endpoint:
            response.traceparent = traceparent()
        return response

    @override
    async def Standby(self, request: pb.StandbyRequest, context: Context) -> AsyncIterator[pb.StandbyResponse]:
        async for response in self.standbys.serve(current_agent()):
            yield response

    @override
    async def Session(
        self, request_iterator: AsyncIterator[pb.SessionRequest], context: Context
    ) -> AsyncIterator[pb.SessionResponse]:
        caller = current_agent()
        if caller.process != SCHEDULER or caller.launch:
            raise TokenInvalid("a session needs the credential that the scheduler received when it enrolled")
        if (first := await anext(aiter(request_iterator), None)) is None:
            raise InvalidRequest.of(Violation("hello", "the session ended before its first message"))
        instructions = self.sessions.serve(await self._cluster(caller), first, request_iterator)
        del first  # a large hello is not kept as long as its session
        async for instruction in instructions:
            yield instruction

    def register(self, server: grpc.aio.Server) -> str:
        """Add the service to a server; return its full name."""
        add_AgentServiceServicer_to_server(self, server)
        return pb.DESCRIPTOR.services_by_name["AgentService"].full_name

    async def _cluster(self, caller: AgentCaller) -> Cluster:
        """The caller's cluster. A record that the store has lost is adopted first."""
        cluster = ClusterId(caller.cluster)
        await self.mirror.fresh()
        if found := self.mirror.get(cluster):
            return found
        if self.mirror.set_aside(cluster) is not None:
            raise RecordUnreadable.of(cluster)  # its agent waits, and may reach a newer replica
        if await self.adopt(cluster) and (found := self.mirror.get(cluster)):
            return found
        raise ClusterNotFound(f"there is no cluster {cluster}; it may have ended long ago and been removed")
