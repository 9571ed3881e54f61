"""Random calls of every method, by everybody who may come."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from tests.storms.messages import Messages

from headrace.internal.v1 import agent_service_pb2
from headrace.v1 import auth_service_pb2, cluster_service_pb2, options_service_pb2

# Where a watch or a followed log has said what it says at once, the next one is called.
_STREAM_SECONDS = 0.2
_CALL_SECONDS = 60.0
_FAULTS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS}

# What grpc.aio itself says where a stream has ended before all of its requests were sent.
_LATE = "Internal error from Core"


def methods(*files: FileDescriptor) -> list[MethodDescriptor]:
    return [method for file in files for service in file.services_by_name.values() for method in service.methods]


PUBLIC = methods(auth_service_pb2.DESCRIPTOR, cluster_service_pb2.DESCRIPTOR, options_service_pb2.DESCRIPTOR)
AGENTS = methods(agent_service_pb2.DESCRIPTOR)


@dataclass(frozen=True)
class Caller:
    """Who calls: through which channel, what, and with one of which credentials."""

    name: str
    channel: grpc.aio.Channel
    methods: Sequence[MethodDescriptor]
    credentials: Sequence[str | None]


@dataclass
class Outcome:
    """What came of the calls: how often which status, and each that shows a fault."""

    statuses: Counter[str] = field(default_factory=Counter[str])
    faults: list[str] = field(default_factory=list[str])


class Storm:
    """Makes calls side by side; the same seed makes the same calls.

    Parameters
    ----------
    known
        See `Messages`.
    address
        Where the scheduler of the agent listens.
    """

    def __init__(self, seed: int, known: Sequence[str], address: str) -> None:
        self._chance = random.Random(seed)
        self._messages = Messages(self._chance, known)
        self._address = address
        self._sessions = itertools.count(10**6)  # later ones than the agent's own
        self.outcome = Outcome()

    async def rage(self, callers: Sequence[Caller], calls: int, at_once: int = 16) -> None:
        """Makes that many calls, by all callers in turn."""
        numbers = iter(range(calls))

        async def work() -> None:
            for number in numbers:
                await self._call(callers[number % len(callers)])

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(work())

    async def _call(self, caller: Caller) -> None:
        method = self._chance.choice(caller.methods)
        credential = self._chance.choice(caller.credentials)
        metadata = () if credential is None else (("authorization", credential),)
        count = self._chance.randrange(1, 6) if method.client_streaming else 1
        requests = [self._messages.serialised(method.input_type) for _ in range(count)]
        if method.client_streaming and self._chance.random() < 0.9:
            requests[0] = self._hello()
        path = f"/{method.containing_service.full_name}/{method.name}"
        try:
            await self._made(caller.channel, method, path, requests, metadata)
        except grpc.aio.AioRpcError as error:
            status = error.code()
            if status in _FAULTS and error.details() != _LATE:
                self.outcome.faults.append(
                    f"{caller.name} {path} {credential!r:.20}: {status.name} {error.details()!r:.300} "
                    f"for {[request.hex()[:400] for request in requests]}"
                )
        else:
            status = grpc.StatusCode.OK
        self.outcome.statuses[f"{method.name} {status.name}"] += 1

    def _hello(self) -> bytes:
        """Begins a session as the agent may, or nearly so."""
        hello: Any = self._messages.message(agent_service_pb2.SchedulerHello.DESCRIPTOR)
        if self._chance.random() < 0.9:
            hello.session = next(self._sessions)
        if self._chance.random() < 0.9:
            hello.scheduler_address, hello.dashboard_address = self._address, ""
        return agent_service_pb2.SessionRequest(sequence=1, hello=hello).SerializeToString()

    async def _made(
        self,
        channel: grpc.aio.Channel,
        method: MethodDescriptor,
        path: str,
        requests: Sequence[bytes],
        metadata: tuple[tuple[str, str], ...],
    ) -> None:
        if not method.server_streaming:
            await channel.unary_unary(path)(requests[0], metadata=metadata, timeout=_CALL_SECONDS)
            return
        if method.client_streaming:
            call = channel.stream_stream(path)(iter(requests), metadata=metadata, timeout=_CALL_SECONDS)
        else:
            call = channel.unary_stream(path)(requests[0], metadata=metadata, timeout=_CALL_SECONDS)
        try:
            async with asyncio.timeout(_STREAM_SECONDS):
                async for _ in call:
                    pass
        except TimeoutError:
            pass
        finally:
            call.cancel()
