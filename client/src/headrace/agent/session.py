"""The stream between a scheduler's agent and any controller."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING

import grpc

from headrace._wire.status import from_rpc_error
from headrace.agent.channel import ControllerChannel
from headrace.agent.pending_reports import PendingReports
from headrace.backoff import delays
from headrace.errors import TooManyRequests
from headrace.internal.v1 import agent_service_pb2 as pb

if TYPE_CHECKING:
    Call = grpc.aio.StreamStreamCall[pb.SessionRequest, pb.SessionResponse]

logger = logging.getLogger("headrace.agent")

_BATCH_SECONDS = 0.005
_SESSION_BITS = 32
HEARTBEAT_SECONDS = 10.0
# A record that was lost with its store is adopted back sooner than this.
GONE_SECONDS = 60.0
# A scheduler left over from an earlier start asks at this interval whether the newer one has gone.
_REPLACED_PAUSE_SECONDS = 30.0


class Outcome(Enum):
    """Why a session needs no successor."""

    CLOSING_ACKNOWLEDGED = auto()
    CLUSTER_GONE = auto()


class Session:
    """Sends reports to the controller and applies its instructions.

    Parameters
    ----------
    hello
        Returns the whole state; the number of the session is filled in here.
    apply
        Called with each instruction; must not block.
    enrolment
        Number of this scheduler's enrolment, after which its sessions are numbered.
    gone_seconds
        Time for which controllers must not know the cluster before it counts as gone.
    """

    def __init__(
        self,
        channel: ControllerChannel,
        pending: PendingReports,
        hello: Callable[[], pb.SchedulerHello],
        apply: Callable[[pb.SessionResponse], None],
        *,
        enrolment: int,
        gone_seconds: float = GONE_SECONDS,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
    ) -> None:
        self._channel = channel
        self._pending = pending
        self._hello = hello
        self._apply = apply
        self._gone_seconds = gone_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._gone_since: float | None = None
        self._enrolment = enrolment
        self._closing_written = False
        self.number = 0
        self._delays = delays(0.05, 2.0)
        self._last_problem = ""

    async def run(self) -> Outcome:
        """Keeps a session open, with any controller, until none is needed any more."""
        self.number = self.next_number()
        while True:
            error = None
            try:
                if await self._exchange():
                    return Outcome.CLOSING_ACKNOWLEDGED
            except grpc.aio.AioRpcError as caught:
                error = caught
            pause = self._pause_after(error)
            if pause is None:
                return Outcome.CLUSTER_GONE
            await asyncio.sleep(pause)

    def next_number(self) -> int:
        """Greater than all before, of this scheduler and of those that enrolled before it; no clock decides."""
        if self._enrolment:
            return max(self.number, self._enrolment << _SESSION_BITS) + 1
        return max(self.number + 1, time.time_ns())  # a controller that numbers no enrolments

    async def _exchange(self) -> bool:
        """Holds one session; returns whether the controller ended it after it had received all, `closing` included."""
        call = self._channel.stub.Session(metadata=self._channel.metadata)
        self._closing_written = False
        writing = asyncio.create_task(self._write(call), name="headrace session writer")
        try:
            async for response in call:
                self._answered()
                self._apply(response)
        finally:
            writing.cancel()
            call.cancel()
            await asyncio.gather(writing, return_exceptions=True)
        return self._closing_written

    async def _write(self, call: Call) -> None:
        """Writes until cancelled, or until it has written that the scheduler closes."""
        request = self._pending.start_session(self._hello)
        request.hello.session = self.number
        request.hello.heartbeat_seconds = self._heartbeat_seconds
        request.sequence = sequence = 1
        await call.write(request)
        while not request.HasField("closing"):
            if await self._pending.wait(self._heartbeat_seconds):
                await asyncio.sleep(_BATCH_SECONDS)
                requests = self._pending.take()
            else:  # written by the event loop, so it shows that the loop turns
                requests = iter([pb.SessionRequest(heartbeat=pb.SchedulerHeartbeat())])
            for request in requests:
                request.sequence = sequence = sequence + 1
                await call.write(request)
        # The controller may end the session before this task has heard that its side is closed.
        self._closing_written = True
        await call.done_writing()

    def _answered(self) -> None:
        if self._last_problem:
            logger.info("the controller answers again")
        self._gone_since, self._last_problem, self._delays = None, "", delays(0.05, 2.0)

    def _pause_after(self, error: grpc.aio.AioRpcError | None) -> float | None:
        """Returns the seconds until the next session, None for never."""
        code = error.code() if error is not None else grpc.StatusCode.UNAVAILABLE
        problem = from_rpc_error(error) if error is not None else None
        self._log_problem(code, problem.message if problem is not None else "it closed the session")
        if code is not grpc.StatusCode.ABORTED:
            # After ABORTED the number stays: with newer ones, two schedulers would replace each other's sessions.
            self.number = self.next_number()
        if code is not grpc.StatusCode.NOT_FOUND:
            self._gone_since = None
            if isinstance(problem, TooManyRequests):
                return max(next(self._delays), problem.retry_after)
            return _REPLACED_PAUSE_SECONDS if code is grpc.StatusCode.ABORTED else next(self._delays)
        now = time.monotonic()
        self._gone_since = now if self._gone_since is None else self._gone_since
        return None if now - self._gone_since >= self._gone_seconds else next(self._delays)

    def _log_problem(self, code: grpc.StatusCode, message: str) -> None:
        if code.name != self._last_problem:
            logger.warning("no session with the controller, the cluster keeps computing: %s", message)
        self._last_problem = code.name
