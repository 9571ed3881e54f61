"""The streams on which processes in standby wait until they are given to clusters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from headrace.errors import SessionReplaced, StoreUnavailable, TokenInvalid, TooManyRequests
from headrace.internal.v1 import agent_service_pb2 as pb
from headrace_chassis import logs
from headrace_chassis.identity.caller import AgentCaller
from headrace_controller import metrics
from headrace_controller.backends.base import Assignment, BackendError
from headrace_controller.backends.process import Role

log = logs.get_logger()

_MAX_STREAMS = 5000
_RETRY_SECONDS = 10.0
_ROLES = {Role.SCHEDULER: pb.PROCESS_ROLE_SCHEDULER, Role.WORKER: pb.PROCESS_ROLE_WORKER}


class Waits(Protocol):
    """What the streams need of a backend that keeps processes in standby."""

    async def stand_by(self, launch: str) -> Assignment: ...


class Standbys:
    """Serves the streams of this replica. A newer stream of a process ends the older one, whose connection broke."""

    def __init__(self, backend: Waits, *, maximum: int = _MAX_STREAMS) -> None:
        self._backend = backend
        self._maximum = maximum
        self._waiting: dict[str, asyncio.Task[Assignment]] = {}

    async def serve(self, caller: AgentCaller) -> AsyncIterator[pb.StandbyResponse]:
        """Yields at once, and again what the process becomes. That alone is said to a process of a cluster."""
        if not caller.launch:
            raise TokenInvalid("a process that has enrolled is in standby no more")
        older = self._waiting.get(caller.launch)
        if older is None and len(self._waiting) >= self._maximum:
            raise TooManyRequests.of(
                f"{self._maximum} processes wait in standby with this replica, which is the maximum", _RETRY_SECONDS
            )
        waiting = self._waiting[caller.launch] = asyncio.create_task(self._backend.stand_by(caller.launch))
        metrics.STANDBYS.set(len(self._waiting))
        if older is not None:
            older.cancel()
        try:
            yield pb.StandbyResponse()
            yield _response(await self._assigned(waiting))
        finally:
            waiting.cancel()
            if self._waiting.get(caller.launch) is waiting:
                del self._waiting[caller.launch]
            metrics.STANDBYS.set(len(self._waiting))

    async def _assigned(self, waiting: asyncio.Task[Assignment]) -> Assignment:
        await asyncio.wait((waiting,))
        if waiting.cancelled():
            raise SessionReplaced("the process has opened a newer stream")
        try:
            return waiting.result()
        except BackendError as error:
            raise StoreUnavailable(f"the process cannot wait for a cluster now: {error}; try again") from error


def _response(given: Assignment) -> pb.StandbyResponse:
    log.info("a process in standby was given to a cluster", cluster=given.key.cluster, process=given.key.process)
    return pb.StandbyResponse(
        cluster=given.key.cluster,
        process=given.key.process,
        role=_ROLES[given.role],
        generation=given.generation,
    )
