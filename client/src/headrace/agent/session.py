"""The stream between a scheduler's agent and whichever controller answers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import grpc

from headrace._wire.status import from_rpc_error
from headrace.agent.backoff import delays
from headrace.agent.channel import ControllerChannel
from headrace.agent.outbox import Outbox
from headrace.internal.v1 import agent_service_pb2 as pb

if TYPE_CHECKING:
    Call = grpc.aio.StreamStreamCall[pb.SessionRequest, pb.SessionResponse]

logger = logging.getLogger("headrace.agent")

_BATCH_SECONDS = 0.005
# A record that is gone for so long is not being adopted back any more.
GONE_SECONDS = 60.0
# A leftover of an earlier start waits until nothing newer is there; it never takes the cluster over.
_LEFTOVER_SECONDS = 30.0


class Session:
    """Tells the controller what changes, and obeys.

    Parameters
    ----------
    hello
        Makes the whole state; the number of the session is filled in here.
    obey
        Carries out an instruction; must not wait.
    """

    def __init__(
        self,
        channel: ControllerChannel,
        outbox: Outbox,
        hello: Callable[[], pb.SchedulerHello],
        obey: Callable[[pb.SessionResponse], None],
        *,
        gone_seconds: float = GONE_SECONDS,
    ) -> None:
        self._channel = channel
        self._outbox = outbox
        self._hello = hello
        self._obey = obey
        self._gone_seconds = gone_seconds
        self._gone_since: float | None = None
        self.number = 0
        self._waits = delays()
        self._last_problem = ""

    async def run(self) -> None:
        """Keeps a session open; returns only when the cluster's record is gone for good."""
        self.number = time.time_ns()
        while True:
            try:
                await self._speak()
                wait = self._after(None)
            except grpc.aio.AioRpcError as error:
                wait = self._after(error)
            if wait is None:
                return
            await asyncio.sleep(wait)

    async def _speak(self) -> None:
        call = self._channel.stub.Session(metadata=self._channel.metadata)
        writing = asyncio.create_task(self._write(call), name="headrace session writer")
        try:
            async for response in call:
                self._answered()
                self._obey(response)
        finally:
            writing.cancel()
            call.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    async def _write(self, call: Call) -> None:
        request = self._outbox.begin(self._hello)
        request.hello.session = self.number
        request.sequence = sequence = 1
        await call.write(request)
        while True:
            await self._outbox.wait()
            await asyncio.sleep(_BATCH_SECONDS)
            for request in self._outbox.take():
                request.sequence = sequence = sequence + 1
                await call.write(request)

    def _answered(self) -> None:
        if self._last_problem:
            logger.info("the controller answers again")
        self._gone_since, self._last_problem, self._waits = None, "", delays()

    def _after(self, error: grpc.aio.AioRpcError | None) -> float | None:
        """Says when to open the next session; None: never."""
        code = error.code() if error is not None else grpc.StatusCode.UNAVAILABLE
        self._log_problem(code, from_rpc_error(error).message if error is not None else "it closed the session")
        if code is not grpc.StatusCode.ABORTED:
            # After ABORTED the number stays: with a newer one, two schedulers would take the cluster from one another.
            self.number = time.time_ns()
        if code is not grpc.StatusCode.NOT_FOUND:
            self._gone_since = None
            return _LEFTOVER_SECONDS if code is grpc.StatusCode.ABORTED else next(self._waits)
        now = time.monotonic()
        self._gone_since = now if self._gone_since is None else self._gone_since
        return None if now - self._gone_since >= self._gone_seconds else next(self._waits)

    def _log_problem(self, code: grpc.StatusCode, message: str) -> None:
        if code.name != self._last_problem:
            logger.warning("no session with the controller; the cluster computes on meanwhile: %s", message)
        self._last_problem = code.name
