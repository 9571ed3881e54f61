"""AgentService: enrolment of processes and the sessions of schedulers' agents."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress

from headrace.errors import ClusterNotFound, InvalidRequest, Violation
from headrace.internal.v1 import agent_service_pb2 as pb
from headrace_chassis.identity.caller import current_agent
from headrace_controller import metrics
from headrace_controller.agents.enrolment import Enrolment
from headrace_controller.agents.session import AgentSession, SessionContext, replaced
from headrace_controller.model import Cluster, ClusterId
from headrace_controller.store import Change

_CLOSE_SECONDS = 1.0


class Agents:
    """The sessions that this replica holds: one for each cluster, of which the newest counts."""

    def __init__(self, enrolment: Enrolment, context: SessionContext) -> None:
        self._enrolment = enrolment
        self._context = context
        self._sessions: dict[ClusterId, AgentSession] = {}
        self._leaving: set[AgentSession] = set()
        self._left = asyncio.Event()

    async def enroll(self, request: pb.EnrollRequest) -> pb.EnrollResponse:
        return await self._enrolment.enrol(await self._record(), request)

    async def session(self, requests: AsyncIterator[pb.SessionRequest]) -> AsyncGenerator[pb.SessionResponse]:
        cluster = await self._record()
        if (first := await anext(aiter(requests), None)) is None:
            raise InvalidRequest.of(Violation("hello", "the session ended before it began"))
        session = AgentSession(cluster, first, self._context)
        self._enter(cluster.id, session)
        try:
            with metrics.SESSIONS.track_inprogress():
                async for instruction in session.serve(requests):
                    yield instruction
        finally:
            await self._leave(cluster.id, session)

    def on_change(self, change: Change) -> None:
        """Takes an entry of the change stream."""
        if session := self._sessions.get(change.cluster):
            session.look(change.revision)

    def adopted(self, cluster: Cluster) -> None:
        """The record was lost and made anew."""
        if session := self._sessions.get(cluster.id):
            session.renew(cluster)

    def take(self, cluster: Cluster) -> None:
        """The record has changed at this replica."""
        if session := self._sessions.get(cluster.id):
            session.take(cluster)

    async def close(self) -> None:
        """Waits until it is noted of all agents that they are away."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                while self._sessions or self._leaving:
                    self._left.clear()
                    await self._left.wait()

    async def _leave(self, cluster: ClusterId, session: AgentSession) -> None:
        if self._sessions.get(cluster) is not session:
            return
        del self._sessions[cluster]
        self._leaving.add(session)
        try:
            await session.disconnect()
        finally:
            self._leaving.discard(session)
            self._left.set()

    def _enter(self, cluster: ClusterId, session: AgentSession) -> None:
        if (older := self._sessions.get(cluster)) is not None:
            if older.number > session.number:
                raise replaced(cluster)
            older.end(replaced(cluster))
        self._sessions[cluster] = session

    async def _record(self) -> Cluster:
        """The caller's cluster; one that the store has lost is adopted before anything is said about it."""
        cluster = ClusterId(current_agent().cluster)
        try:
            return await self._context.store.get(cluster)
        except ClusterNotFound:
            if await self._context.adopt(cluster):
                return await self._context.store.get(cluster)
            raise
