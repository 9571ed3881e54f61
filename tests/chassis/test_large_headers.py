"""A call with headers beyond the limit ends alone: other calls of its connection go on."""

from __future__ import annotations

import grpc
import pytest
from tests.chassis.running import Running

from headrace.internal.v1 import agent_service_pb2
from headrace.v1 import auth_service_pb2

LOGIN = auth_service_pb2.LoginRequest()


async def test_one_call_is_refused_and_the_connection_lives(running: Running) -> None:
    session = running.agents.Session(metadata=running.agent("c1"))
    for number in range(5):
        with pytest.raises(grpc.aio.AioRpcError, match="metadata size exceeds"):
            await running.auth.Login(LOGIN, metadata=(("authorization", "Bearer " + "x" * (64 << 10)),))
        await session.write(agent_service_pb2.SessionRequest(sequence=number))
        answer = await session.read()
        assert isinstance(answer, agent_service_pb2.SessionResponse)
        assert answer.adaptive_groups[0].desired == number
    session.cancel()
