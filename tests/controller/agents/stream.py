"""The agent's side of a session, without gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.message import DecodeError

from headrace.errors import HeadraceError
from headrace.internal.v1 import agent_service_pb2 as pb
from headrace_controller.agents.sessions import Sessions
from headrace_controller.model import Cluster


class Stream:
    """Sends messages to a session and keeps its instructions; `error` is what has ended it."""

    def __init__(self, sessions: Sessions, cluster: Cluster, *workers: str, **facts: Any) -> None:
        self.instructions: list[pb.SessionResponse] = []
        self.error: HeadraceError | None = None
        self.sequence = 1
        self._messages: asyncio.Queue[pb.SessionRequest | Exception | None] = asyncio.Queue()
        hello = pb.SchedulerHello(scheduler_address="tls://127.0.0.1:1", workers=joined(*workers), **facts)
        first = pb.SessionRequest(sequence=1, hello=hello)
        self.task = asyncio.create_task(self._run(sessions, cluster, first))

    def send(self, **report: Any) -> None:
        self.sequence += 1
        self._messages.put_nowait(pb.SessionRequest(sequence=self.sequence, **report))

    def send_change(self, **change: Any) -> None:
        self.send(change=pb.SchedulerChange(**change))

    def send_garbage(self) -> None:
        """Send what gRPC cannot read as a message."""
        self._messages.put_nowait(DecodeError("corrupt"))

    def half_close(self) -> None:
        self._messages.put_nowait(None)

    async def cut(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def _run(self, sessions: Sessions, cluster: Cluster, first: pb.SessionRequest) -> None:
        try:
            async for instruction in sessions.serve(cluster, first, self._requests()):
                self.instructions.append(instruction)
        except HeadraceError as error:
            self.error = error

    async def _requests(self) -> AsyncIterator[pb.SessionRequest]:
        while (message := await self._messages.get()) is not None:
            if isinstance(message, Exception):
                raise message
            yield message


def joined(*workers: str) -> list[pb.JoinedWorker]:
    return [pb.JoinedWorker(process=worker, address="tls://127.0.0.1:2") for worker in workers]
