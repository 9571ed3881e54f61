"""The sessions that this replica holds: one for each cluster, the newest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial

from headrace.errors import SessionReplaced
from headrace.internal.v1 import agent_service_pb2 as pb
from headrace_controller import metrics
from headrace_controller.admission import Admission
from headrace_controller.agents.address_checks import AddressChecks
from headrace_controller.agents.agent_events import AgentEvents
from headrace_controller.agents.pace import Paces
from headrace_controller.agents.reports import check_hello
from headrace_controller.agents.scale_requests import ScaleRequests
from headrace_controller.agents.session import AgentSession
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import Cluster, ClusterId
from headrace_controller.store import Change, ChangeKind, Store

# An agent that has lost its connection is back sooner, and nothing is written then.
_RETURN_SECONDS = 1.0
_CLOSE_SECONDS = 1.0


class Sessions:
    """Serves sessions. As a handler of the mirror it passes each change of a record to the session of that cluster.

    Parameters
    ----------
    replica
        Name of this replica.
    adopt
        Rebuilds the record of a cluster if the store has lost it; returns whether there is one again.
    """

    def __init__(
        self,
        store: Store,
        mirror: ClusterMirror,
        admission: Admission,
        *,
        addresses: AddressChecks,
        events: AgentEvents,
        replica: str,
        adopt: Callable[[str], Awaitable[bool]],
        clock: Callable[[], float],
        silence_seconds: float,
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._admission = admission
        self._addresses = addresses
        self._events = events
        self._replica = replica
        self._adopt = adopt
        self._clock = clock
        self._silence_seconds = silence_seconds
        self._sessions: dict[ClusterId, AgentSession] = {}
        self._leaving: dict[ClusterId, asyncio.Task[None]] = {}
        self._closing = asyncio.Event()
        self._paces = Paces()

    async def serve(
        self, cluster: Cluster, first: pb.SessionRequest, requests: AsyncIterator[pb.SessionRequest]
    ) -> AsyncGenerator[pb.SessionResponse]:
        """Serves a session from its first message on.

        Raises `InvalidRequest` for a hello that cannot be believed, `SessionReplaced` if a newer session has reported.
        """
        hello = check_hello(first)
        await self._paces.hellos.wait(cluster.id)
        await self._addresses.check(cluster, hello)
        cluster = self._mirror.get(cluster.id) or cluster  # from here on the session receives every change
        session = AgentSession(
            cluster,
            first,
            replica=self._replica,
            store=self._store,
            mirror=self._mirror,
            events=self._events,
            scale_requests=ScaleRequests(self._store, self._mirror, self._admission, self._events),
            paces=self._paces,
            adopt=self._adopt,
            clock=self._clock,
            silence_seconds=self._silence_seconds,
        )
        del first, hello  # a large hello is not kept as long as its session
        self._enter(cluster, session)
        try:
            with metrics.SESSIONS.track_inprogress():
                async for instruction in session.serve(requests):
                    yield instruction
        finally:
            self._leave(cluster.id, session)

    def added(self, cluster: Cluster) -> None:
        self._accept(cluster.id, cluster)

    def updated(self, old: Cluster, new: Cluster) -> None:  # noqa: ARG002 a handler of the mirror
        self._accept(new.id, new)

    def removed(self, cluster: Cluster) -> None:
        self._accept(cluster.id, None)

    def on_change(self, change: Change) -> None:
        """Accepts an entry of the change stream."""
        if change.kind is ChangeKind.REDIAL:
            for session in self._sessions.values():
                session.redial()

    async def close(self) -> None:
        """Waits, for a short time, until all is saved that was reported.

        Of no agent it is saved that it is away: others see that this replica has gone, and agents return to them.
        """
        self._closing.set()
        if self._leaving:
            await asyncio.wait(self._leaving.values(), timeout=_CLOSE_SECONDS)
        await self._events.close()

    def _accept(self, cluster: ClusterId, record: Cluster | None) -> None:
        if session := self._sessions.get(cluster):
            session.accept(record)

    def _enter(self, cluster: Cluster, session: AgentSession) -> None:
        older = self._sessions.get(cluster.id)
        if session.number < max(cluster.report.session, older.number if older else 0):
            raise _replaced(cluster.id)
        if older is not None:
            older.end(_replaced(cluster.id))
        self._sessions[cluster.id] = session
        if leaving := self._leaving.pop(cluster.id, None):
            leaving.cancel()

    def _leave(self, cluster: ClusterId, session: AgentSession) -> None:
        if self._sessions.get(cluster) is not session:
            return
        del self._sessions[cluster]
        task = self._leaving[cluster] = asyncio.create_task(self._disconnect(session, self._clock()))
        task.add_done_callback(partial(self._forget, cluster))

    async def _disconnect(self, session: AgentSession, since: float) -> None:
        if session.saved:
            with suppress(TimeoutError):
                async with asyncio.timeout(_RETURN_SECONDS):
                    await self._closing.wait()
                    return
        await session.disconnect(since)

    def _forget(self, cluster: ClusterId, task: asyncio.Task[None]) -> None:
        if self._leaving.get(cluster) is task:
            del self._leaving[cluster]


def _replaced(cluster: ClusterId) -> SessionReplaced:
    return SessionReplaced(f"a newer session of cluster {cluster} has reported; this one is over")
