"""The table of rights: complete, and obeyed by the real interceptor for every RPC and every kind of caller."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.descriptor import FileDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from tests.chassis.running import Running

from headrace.internal.v1 import agent_service_pb2, route_service_pb2
from headrace.v1 import auth_service_pb2, cluster_service_pb2, options_service_pb2
from headrace_chassis.identity.rights import RIGHTS, Right

OURS = (auth_service_pb2, cluster_service_pb2, options_service_pb2, agent_service_pb2, route_service_pb2)
OTHERS = (health_pb2, reflection_pb2)
CALLERS = ("nobody", "owner", "admin", "without a role", "agent")
ALLOWED = {
    Right.ANYONE: set(CALLERS),
    Right.USER: {"owner", "admin"},
    Right.ADMIN: {"admin"},
    Right.AGENT: {"agent"},
    Right.SERVICE: set[str](),
}
REFUSED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}


def methods(file: FileDescriptor) -> Iterator[str]:
    for service in file.services_by_name.values():
        for method in service.methods:
            yield f"/{service.full_name}/{method.name}"


def test_each_rpc_of_each_service_has_a_right_and_no_right_is_without_an_rpc() -> None:
    assert set(RIGHTS) == {method for module in (*OURS, *OTHERS) for method in methods(module.DESCRIPTOR)}


def test_what_is_reserved_to_users_is_the_whole_public_api_but_login_and_keys() -> None:
    public = {m for module in OURS[:3] for m in methods(module.DESCRIPTOR)}
    assert {m for m in public if RIGHTS[m] is not Right.USER} == {
        "/headrace.v1.AuthService/Login",
        "/headrace.v1.AuthService/ListSigningKeys",
    }


@pytest.mark.parametrize("caller", CALLERS)
async def test_each_rpc_on_the_public_listener_lets_in_just_those_whom_the_table_names(
    running: Running, caller: str
) -> None:
    metadata = {
        "nobody": (),
        "owner": running.bearer(roles=("owner",)),
        "admin": running.bearer(roles=("admin",)),
        "without a role": running.bearer(roles=()),
        "agent": running.agent("c1"),
    }[caller]
    for module in OURS:
        for method in methods(module.DESCRIPTOR):
            code = await _code(running.channel, method, metadata)
            if code is grpc.StatusCode.UNIMPLEMENTED and method.startswith("/headrace.v1.OptionsService"):
                continue  # the fake service does not have it, so nobody can call it
            is_in = code not in REFUSED
            assert is_in == (caller in ALLOWED[RIGHTS[method]]), f"{method} for {caller}: {code}"


async def _code(channel: grpc.aio.Channel, method: str, metadata: tuple[tuple[str, str], ...]) -> grpc.StatusCode:
    """Calls without caring for the kind of the method: the answer's code is all that counts."""
    call = channel.stream_stream(method)(iter([b""]), metadata=metadata, timeout=5)
    try:
        await call.read()
    except grpc.aio.AioRpcError as error:
        return error.code()
    finally:
        call.cancel()
    return grpc.StatusCode.OK
