"""Each RPC of AuthService, called by each kind of caller."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.message import Message
from tests.auth.api_tokens import create
from tests.auth.authz.conftest import know
from tests.auth.conftest import BOOTSTRAP_SECRET
from tests.auth.running import Metadata, RunningAuth, bearer, route
from tests.conftest import Eventually
from tests.fake_routes import FakeRoutes

from headrace.v1 import auth_service_pb2 as pb
from headrace_chassis.identity.agent_tokens import AgentTokens
from headrace_chassis.identity.seal import read_deployment_keys

SERVICE = pb.DESCRIPTOR.services_by_name["AuthService"]
CALLERS = ("nobody", "a forger", "an agent", "the owner", "another user", "an admin")
ANYONE: set[str] = set(CALLERS)
USERS = {"the owner", "another user", "an admin"}
OWNER_AND_ADMIN = {"the owner", "an admin"}
REFUSED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND}

# Method, request about what is ann's, and who may do it.
TABLE: list[tuple[str, Message, set[str]]] = [
    ("GetServerInfo", pb.GetServerInfoRequest(), ANYONE),
    ("Login", pb.LoginRequest(token=pb.TokenCredential(token=BOOTSTRAP_SECRET)), ANYONE),
    ("ListSigningKeys", pb.ListSigningKeysRequest(), ANYONE),
    ("WhoAmI", pb.WhoAmIRequest(), USERS),
    ("CreateApiToken", pb.CreateApiTokenRequest(), USERS),
    ("ListApiTokens", pb.ListApiTokensRequest(), USERS),
    ("ListApiTokens", pb.ListApiTokensRequest(owner="users/ann"), OWNER_AND_ADMIN),
    ("DeleteApiToken", pb.DeleteApiTokenRequest(), OWNER_AND_ADMIN),
    ("EndDashboardSessions", pb.EndDashboardSessionsRequest(), USERS),
    ("EndDashboardSessions", pb.EndDashboardSessionsRequest(owner="users/ann"), OWNER_AND_ADMIN),
    ("CreateDashboardLink", pb.CreateDashboardLinkRequest(name="clusters/c1"), OWNER_AND_ADMIN),
]


def test_the_table_has_each_rpc() -> None:
    assert {method for method, _, _ in TABLE} == {method.name for method in SERVICE.methods}


@pytest.mark.parametrize("caller", CALLERS)
async def test_each_rpc_answers_those_who_may_and_nobody_else(
    auth: RunningAuth, routes: FakeRoutes, ann: Metadata, eventually: Eventually, caller: str
) -> None:
    await eventually(lambda: routes.subscriptions)
    routes.send(route("c1", "ann"))
    await know(auth, routes, eventually)
    metadata = await credentials(auth, caller, ann)
    for method, request, allowed in TABLE:
        if isinstance(request, pb.DeleteApiTokenRequest):
            request.name = (await create(auth, ann)).api_token.name
        assert await answers(auth, method, request, metadata) == (caller in allowed), f"{method} for {caller}"


async def credentials(auth: RunningAuth, caller: str, ann: Metadata) -> Metadata:
    match caller:
        case "nobody":
            return ()
        case "a forger":
            token = ann[0][1].removeprefix("Bearer ")
            return bearer(token[:-40] + token[-40:].swapcase())
        case "an agent":
            keys = read_deployment_keys(auth.settings.deployment_key_file)
            token = AgentTokens(keys, auth.settings.deployment).credential("c1", "scheduler", 60)
            return (("authorization", f"Agent {token}"),)
        case "the owner":
            return ann
        case "another user":
            return await auth.login("bob", "bob's")
        case _:
            return await auth.login("root", "root's")


async def answers(auth: RunningAuth, method: str, request: Message, metadata: Metadata) -> bool:
    call = auth.channel.unary_unary(f"/{SERVICE.full_name}/{method}")
    try:
        await call(request.SerializeToString(), metadata=metadata, timeout=30)
    except grpc.aio.AioRpcError as error:
        if error.code() not in REFUSED:
            raise
        return False
    return True
