"""The rights in the contract, applied by the real interceptor to every RPC and every kind of caller."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from tests.chassis.running import Running, running_service

from headrace.internal.v1 import agent_service_pb2, route_service_pb2
from headrace.v1 import audit_service_pb2, auth_service_pb2, cluster_service_pb2, options_service_pb2
from headrace.v1.enums import Right
from headrace_chassis.identity.rights import FOREIGN_SERVICES, right_of
from headrace_chassis.settings import ServiceSettings

PUBLIC = (audit_service_pb2, auth_service_pb2, cluster_service_pb2, options_service_pb2)
INTERNAL = (agent_service_pb2, route_service_pb2)
FOREIGN = (health_pb2, reflection_pb2)
CALLERS = ("nobody", "user", "admin", "without a role", "agent")
REFUSED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}


def methods(file: FileDescriptor) -> Iterator[str]:
    for service in file.services_by_name.values():
        for method in service.methods:
            yield f"/{service.full_name}/{method.name}"


OURS = [method for module in (*PUBLIC, *INTERNAL) for method in methods(module.DESCRIPTOR)]


def may_pass(caller: str, right: Right | None, *, internal: bool) -> bool:
    """Whether the interceptor lets a caller pass; on one cluster the service decides."""
    match right:
        case Right.ANYONE:
            return True
        case Right.SERVICE:
            return internal
        case Right.AGENT:
            return caller == "agent"
        case None:
            return False
        case _:
            return caller in {"user", "admin"}


def test_each_of_our_rpcs_names_its_right() -> None:
    assert [method for method in OURS if right_of(method) is None] == []


def test_login_its_discovery_and_the_keys_are_all_of_the_api_that_needs_no_token() -> None:
    public = {method for module in PUBLIC for method in methods(module.DESCRIPTOR)}
    assert {method for method in public if right_of(method) is Right.ANYONE} == {
        "/headrace.v1.AuthService/GetServerInfo",
        "/headrace.v1.AuthService/Login",
        "/headrace.v1.AuthService/ListSigningKeys",
    }


def test_health_and_reflection_are_open_and_envoys_questions_are_for_services() -> None:
    for module in FOREIGN:
        for method in methods(module.DESCRIPTOR):
            assert right_of(method) is Right.ANYONE
    assert {service for service, right in FOREIGN_SERVICES.items() if right is Right.SERVICE} == {
        "envoy.service.auth.v3.Authorization"
    }


@pytest.mark.parametrize(
    "path", ["", "/", "//", "/a/b", "/headrace.v1.AuthService/Nonsense", "/headrace.v1.Nonsense/Login"]
)
def test_what_the_contract_does_not_have_has_no_right(path: str) -> None:
    assert right_of(path) is None


@pytest.mark.parametrize("internal", [False, True])
@pytest.mark.parametrize("caller", CALLERS)
async def test_each_rpc_lets_those_pass_who_have_its_right(running: Running, caller: str, internal: bool) -> None:
    metadata = credentials(running, caller)
    for method in served(internal=internal):
        channel = running.internal_channel if internal else running.channel
        passed = await code(channel, method, metadata) not in REFUSED
        assert passed == may_pass(caller, right_of(method), internal=internal), f"{method} for {caller}"


def served(*, internal: bool) -> list[str]:
    """What the fake service serves on a listener."""
    modules = (route_service_pb2,) if internal else (auth_service_pb2, cluster_service_pb2, *INTERNAL)
    return [method for module in modules for method in methods(module.DESCRIPTOR)]


def without_an_option() -> str:
    """A service whose RPC has no right, as somebody may forget it."""
    file = descriptor_pb2.FileDescriptorProto(name="tests/forgotten.proto", package="tests.forgotten", syntax="proto3")
    file.message_type.add(name="Nothing")
    service = file.service.add(name="Forgotten")
    service.method.add(name="Call", input_type=".tests.forgotten.Nothing", output_type=".tests.forgotten.Nothing")
    descriptor_pool.Default().Add(file)
    return "tests.forgotten.Forgotten"


@pytest.mark.parametrize("service", [without_an_option(), "tests.unknown.Service"])
async def test_an_rpc_without_a_right_is_refused_to_everybody(settings: ServiceSettings, service: str) -> None:
    async def call(request: bytes, context: object) -> bytes:
        raise AssertionError("nobody may come here")

    def register(server: grpc.aio.Server) -> str:
        handlers = {"Call": grpc.unary_unary_rpc_method_handler(call)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        return service

    async with running_service(settings, register) as running:
        for caller in CALLERS:
            for channel in (running.channel, running.internal_channel):
                answer = await code(channel, f"/{service}/Call", credentials(running, caller))
                assert answer is grpc.StatusCode.PERMISSION_DENIED


def credentials(running: Running, caller: str) -> tuple[tuple[str, str], ...]:
    return {
        "nobody": (),
        "user": running.bearer(roles=("user",)),
        "admin": running.bearer(roles=("admin",)),
        "without a role": running.bearer(roles=()),
        "agent": running.agent("c1"),
    }[caller]


async def code(channel: grpc.aio.Channel, method: str, metadata: tuple[tuple[str, str], ...]) -> grpc.StatusCode:
    """Calls with one request and a stream of answers, whatever the kind of the method: only the status counts.

    A stream of requests, one of which is written as a refusal arrives, has another status.
    """
    call = channel.unary_stream(method)(b"", metadata=metadata, timeout=30)
    try:
        await call.read()
    except grpc.aio.AioRpcError as error:
        return error.code()
    finally:
        call.cancel()
    return grpc.StatusCode.OK
