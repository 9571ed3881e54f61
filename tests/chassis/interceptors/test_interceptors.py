"""What every call passes, seen from the client's side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest
from prometheus_client import REGISTRY
from redis.exceptions import ConnectionError as RedisConnectionError
from tests.chassis.running import FakeService, Running, running_service, unix_channel
from tests.conftest import Eventually

from headrace import errors
from headrace._wire.status import from_rpc_error
from headrace.internal.v1 import agent_service_pb2, route_service_pb2
from headrace.v1 import (
    auth_service_pb2,
    auth_service_pb2_grpc,
    cluster_service_pb2,
    options_service_pb2,
    options_service_pb2_grpc,
)
from headrace_chassis.interceptors import deadline, order
from headrace_chassis.interceptors.call import Call, Interceptor, Method, Serve
from headrace_chassis.interceptors.errors import errors as errors_interceptor
from headrace_chassis.interceptors.lift import lift
from headrace_chassis.interceptors.observe import observe
from headrace_chassis.settings import ServiceSettings

if TYPE_CHECKING:
    from headrace.v1.options_service_pb2_grpc import OptionsServiceAsyncStub

LOGIN = auth_service_pb2.LoginRequest()
WHO_AM_I = auth_service_pb2.WhoAmIRequest()
WATCH = cluster_service_pb2.WatchClustersRequest()


async def failure(call: Awaitable[object]) -> errors.HeadraceError:
    """Returns the error that a call fails with, as our client would raise it."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


def raising(error: Exception) -> Any:
    async def behaviour() -> None:
        raise error

    return behaviour


async def test_what_authenticate_refuses_is_answered_by_errors_and_counted_by_observe(
    running: Running, eventually: Eventually
) -> None:
    def counted() -> float:
        labels = {"method": "AuthService.WhoAmI", "code": "UNAUTHENTICATED"}
        return REGISTRY.get_sample_value("headrace_rpc_seconds_count", labels) or 0

    before = counted()
    assert isinstance(await failure(running.auth.WhoAmI(WHO_AM_I)), errors.TokenInvalid)
    await eventually(lambda: counted() == before + 1)  # the answer may arrive before the server knows that it is sent


async def test_the_order_is_observe_errors_authenticate_deadline_limit() -> None:
    inner = SimpleNamespace(authenticate=object(), deadline=object(), limit=object())
    assert order(inner.authenticate, inner.deadline, inner.limit) == (
        observe,
        errors_interceptor,
        inner.authenticate,
        inner.deadline,
        inner.limit,
    )


async def test_the_first_lifted_interceptor_is_the_outermost(directory: Path) -> None:
    names = ["first", "second", "third"]
    seen: list[str] = []

    def named(name: str) -> Interceptor:
        def interceptor(_method: Method, serve: Serve) -> Serve:
            async def served(call: Call) -> Any:
                seen.append(f"+{name}")
                answer = await serve(call)
                seen.append(f"-{name}")
                return answer

            return served

        return interceptor

    server = grpc.aio.server(interceptors=[lift(*map(named, names))])
    auth_service_pb2_grpc.add_AuthServiceServicer_to_server(FakeService().auth, server)
    server.add_insecure_port(f"unix:{directory}/s")
    await server.start()
    async with unix_channel(f"unix:{directory}/s") as channel:
        await channel.unary_unary("/headrace.v1.AuthService/Login")(b"")
    await server.stop(0)
    assert seen == [f"+{name}" for name in names] + [f"-{name}" for name in reversed(names)]


@pytest.mark.parametrize(
    ("raised", "heard"),
    [
        (errors.QuotaExceeded.of(subject="users/ann", what="cores", limit=4, used=4, asked=1), errors.QuotaExceeded),
        (errors.InvalidRequest.of(errors.Violation("size", "is negative")), errors.InvalidRequest),
        (RedisConnectionError("gone"), errors.StoreUnavailable),
    ],
)
async def test_the_client_catches_the_class_that_the_server_raised(
    running: Running, raised: Exception, heard: type[errors.HeadraceError]
) -> None:
    running.fake.auth.behaviour = raising(raised)
    error = await failure(running.auth.Login(LOGIN))
    assert type(error) is heard


async def test_an_unexpected_error_is_answered_in_brief_with_a_request_id(running: Running) -> None:
    running.fake.auth.behaviour = raising(KeyError("the password is hunter2"))
    error = await failure(running.auth.Login(LOGIN, metadata=(("x-request-id", "r-17"),)))
    assert isinstance(error, errors.InternalError)
    assert error.details["request_id"] == "r-17"
    assert "hunter2" not in str(error)


async def test_each_answer_tells_the_version_of_the_service(running: Running) -> None:
    sent = ("headrace-version", version("headrace-chassis"))
    call = running.auth.Login(LOGIN)
    await call
    assert sent in list(await call.trailing_metadata())
    running.fake.auth.behaviour = raising(errors.InvalidRequest("no"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.auth.Login(LOGIN)
    assert sent in list(caught.value.trailing_metadata())


@pytest.mark.parametrize("serialised", [False, True])
async def test_an_answer_may_be_serialised_already(settings: ServiceSettings, serialised: bool) -> None:
    async def answer(request: options_service_pb2.ListOptionsRequest, context: object) -> Any:
        response = options_service_pb2.ListOptionsResponse(options=[options_service_pb2.Option(key=request.profile)])
        return response.SerializeToString() if serialised else response

    def register(server: grpc.aio.Server) -> str:
        handler = grpc.unary_unary_rpc_method_handler(
            answer,
            options_service_pb2.ListOptionsRequest.FromString,
            options_service_pb2.ListOptionsResponse.SerializeToString,
        )
        name = "headrace.v1.OptionsService"
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"ListOptions": handler}),))
        return name

    async with running_service(settings, register) as running:
        stub = cast("OptionsServiceAsyncStub", options_service_pb2_grpc.OptionsServiceStub(running.channel))
        request = options_service_pb2.ListOptionsRequest(profile="small")
        response = await stub.ListOptions(request, metadata=running.bearer())
    assert [option.key for option in response.options] == ["small"]


async def test_malformed_protobuf_is_an_invalid_request(running: Running) -> None:
    call = running.channel.unary_unary("/headrace.v1.AuthService/Login")
    error = await failure(call(b"\xff\xff\xff"))
    assert isinstance(error, errors.InvalidRequest)


async def test_malformed_protobuf_within_a_stream_is_an_invalid_request(running: Running) -> None:
    call = running.channel.stream_stream("/headrace.internal.v1.AgentService/Session")(
        iter([b"\xff\xff\xff"]), metadata=running.agent("c1")
    )
    assert isinstance(await failure(call.read()), errors.InvalidRequest)


async def test_a_request_beyond_256_kib_is_an_invalid_request(running: Running) -> None:
    request = auth_service_pb2.LoginRequest(password=auth_service_pb2.PasswordCredential(password="x" * (256 << 10)))
    error = await failure(running.auth.Login(request))
    assert isinstance(error, errors.InvalidRequest)
    assert str(error).startswith("a request may have at most 262144 bytes, this one has 2621")


async def test_a_message_beyond_4_mib_is_refused_with_its_size(running: Running) -> None:
    request = auth_service_pb2.LoginRequest(password=auth_service_pb2.PasswordCredential(password="x" * (200 << 20)))
    with pytest.raises(grpc.aio.AioRpcError, match=r"larger than max \(\d+ vs. 4194304\)") as caught:
        await running.auth.Login(request)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_an_unknown_method_is_unimplemented(running: Running) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.channel.unary_unary("/headrace.v1.AuthService/Nonsense")(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.fixture
async def hurried(settings: ServiceSettings) -> AsyncIterator[Running]:
    async with running_service(settings.model_copy(update={"default_deadline_seconds": 0.3})) as service:
        yield service


async def test_a_unary_call_without_a_deadline_is_given_the_default_one(hurried: Running) -> None:
    hurried.fake.auth.behaviour = asyncio.Event().wait  # type: ignore[assignment]
    error = await failure(hurried.auth.Login(LOGIN))
    assert isinstance(error, errors.DeadlineExceeded)
    assert "AuthService.Login took longer than its deadline of 0.3 s" in str(error)


async def test_a_callers_deadline_is_answered_before_the_caller_gives_up(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadline, "MAX_MARGIN_SECONDS", 59.5)  # a busy machine may take longer than 0.1 s to answer
    monkeypatch.setattr(deadline, "MARGIN_SHARE", 1.0)
    running.fake.auth.behaviour = asyncio.Event().wait  # type: ignore[assignment]
    error = await failure(running.auth.Login(LOGIN, timeout=60))
    assert "AuthService.Login took longer than its deadline of" in str(error)


async def test_a_cancelled_call_ends_the_servicer_and_is_no_error(running: Running, eventually: Eventually) -> None:
    call = running.clusters.WatchClusters(WATCH, metadata=running.bearer())
    await call.read()
    call.cancel()
    await eventually(running.fake.clusters.ended.is_set)

    def count() -> float | None:
        labels = {"method": "ClusterService.WatchClusters", "code": "CANCELLED"}
        return REGISTRY.get_sample_value("headrace_rpc_seconds_count", labels)

    await eventually(count)


async def test_a_stream_has_no_deadline_of_its_own(hurried: Running) -> None:
    call = hurried.clusters.WatchClusters(WATCH, metadata=hurried.bearer("ann"))
    first = await call.read()
    assert isinstance(first, cluster_service_pb2.WatchClustersResponse)
    assert first.resume_token == "ann"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(call.read())), 0.6)


async def test_both_directions_of_a_stream_know_their_agent(running: Running) -> None:
    requests = [agent_service_pb2.SessionRequest(sequence=n) for n in (1, 2)]
    call = running.agents.Session(iter(requests), metadata=running.agent("c17"))
    answers = [answer.adaptive_groups[0] async for answer in call]
    assert [(group.group, group.desired) for group in answers] == [("c17", 1), ("c17", 2)]


async def test_services_only_rpcs_answer_on_the_internal_listener(running: Running) -> None:
    request = route_service_pb2.WatchRoutesRequest()
    answers = [answer async for answer in running.routes(internal=True).WatchRoutes(iter([request]))]
    assert answers[0].snapshot
    # Without a request: one that is written as the refusal arrives fails by itself, with another status.
    refused = running.routes(internal=False).WatchRoutes(metadata=running.bearer(roles=("admin",)))
    assert isinstance(await failure(refused.read()), errors.PermissionDenied)
