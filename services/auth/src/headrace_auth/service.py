"""AuthService: converts requests, calls, converts answers."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import grpc
from typing_extensions import override

from headrace.errors import InvalidRequest, Violation
from headrace.resource_names import last_part, user_name
from headrace.v1 import auth_service_pb2 as pb
from headrace.v1 import auth_service_pb2_grpc
from headrace_auth import convert
from headrace_auth.api_tokens import ApiTokens
from headrace_auth.authz.dashboard_links import DashboardLinks
from headrace_auth.login import Login
from headrace_auth.signer import Signer
from headrace_auth.signing_keys import SigningKeys
from headrace_chassis.audit.note import logged_in
from headrace_chassis.identity.caller import Caller, current_caller
from headrace_chassis.identity.source import Network, source_of
from headrace_chassis.paging import page_size

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

WARNING_KEY = "x-headrace-warning"


def _named(request: pb.LoginRequest) -> str:
    """Return who a login with a password says to be, for the audit log."""
    name = request.password.username
    return user_name(name) if name.isprintable() and name else ""


@dataclass(frozen=True)
class AuthServicer(auth_service_pb2_grpc.AuthServiceServicer):
    """Serves `headrace.v1.AuthService`."""

    login: Login
    signer: Signer
    keys: SigningKeys
    api_tokens: ApiTokens
    links: DashboardLinks
    trusted_proxies: Sequence[Network]
    features: Sequence[pb.Feature.ValueType]
    token_seconds: int
    session_seconds: int

    def register(self, server: grpc.aio.Server) -> str:
        auth_service_pb2_grpc.add_AuthServiceServicer_to_server(self, server)
        return pb.DESCRIPTOR.services_by_name["AuthService"].full_name

    @override
    async def GetServerInfo(self, request: pb.GetServerInfoRequest, context: Context) -> pb.ServerInfo:
        methods = [convert.login_method(method) for method in self.login.methods()]
        return pb.ServerInfo(version=version("headrace-auth"), login_methods=methods, features=self.features)

    @override
    async def Login(self, request: pb.LoginRequest, context: Context) -> pb.LoginResponse:
        metadata = dict(context.invocation_metadata() or ())
        logged_in(_named(request))
        caller = await self._log_in(request, source_of(context.peer(), metadata, self.trusted_proxies))
        if (realm := self.login.realms.get(caller.method)) is not None and realm.warning:
            context.set_trailing_metadata(((WARNING_KEY, realm.warning),))
        caller = replace(caller, token=caller.token or secrets.token_hex(6))
        logged_in(user_name(caller.user), caller.token)
        token, expires = self.signer.access_token(caller, self.token_seconds)
        return pb.LoginResponse(access_token=token, expire_time=convert.timestamp(expires), user=convert.user(caller))

    async def _log_in(self, request: pb.LoginRequest, source: str) -> Caller:
        match request.WhichOneof("credential"):
            case "password":
                password = request.password
                return await self.login.with_password(request.method, password.username, password.password, source)
            case "token":
                return await self.login.with_token(request.method, request.token.token, source)
            case None:
                raise InvalidRequest.of(Violation("credential", "is missing: set password or token"))

    @override
    async def WhoAmI(self, request: pb.WhoAmIRequest, context: Context) -> pb.User:
        return convert.user(current_caller())

    @override
    async def CreateApiToken(self, request: pb.CreateApiTokenRequest, context: Context) -> pb.CreateApiTokenResponse:
        asked = request.api_token
        token, secret = await self.api_tokens.create(
            current_caller(), note=asked.note, roles=convert.roles(asked), expires=convert.expires(asked)
        )
        return pb.CreateApiTokenResponse(api_token=convert.api_token(token), secret=secret)

    @override
    async def ListApiTokens(self, request: pb.ListApiTokensRequest, context: Context) -> pb.ListApiTokensResponse:
        page, next_page_token = await self.api_tokens.page(
            request,
            current_caller(),
            owner=last_part(request.owner, "users", "owner") if request.owner else "",
            size=page_size(request.page_size),
            page_token=request.page_token,
        )
        return pb.ListApiTokensResponse(
            api_tokens=[convert.api_token(token) for token in page], next_page_token=next_page_token
        )

    @override
    async def DeleteApiToken(self, request: pb.DeleteApiTokenRequest, context: Context) -> pb.DeleteApiTokenResponse:
        await self.api_tokens.revoke(current_caller(), last_part(request.name, "apiTokens"))
        return pb.DeleteApiTokenResponse()

    @override
    async def EndDashboardSessions(
        self, request: pb.EndDashboardSessionsRequest, context: Context
    ) -> pb.EndDashboardSessionsResponse:
        owner = last_part(request.owner, "users", "owner") if request.owner else ""
        await self.api_tokens.end_sessions(current_caller(), owner)
        return pb.EndDashboardSessionsResponse()

    @override
    async def CreateDashboardLink(
        self, request: pb.CreateDashboardLinkRequest, context: Context
    ) -> pb.CreateDashboardLinkResponse:
        cluster = last_part(request.name, "clusters")
        path, expires = await self.links.create(current_caller(), cluster, request.page)
        response = pb.CreateDashboardLinkResponse(path=path, expire_time=convert.timestamp(expires))
        response.session_duration.FromSeconds(self.session_seconds)
        return response

    @override
    async def ListSigningKeys(self, request: pb.ListSigningKeysRequest, context: Context) -> pb.ListSigningKeysResponse:
        await self.keys.refresh()
        return pb.ListSigningKeysResponse(signing_keys=[convert.signing_key(key) for key in self.keys.valid])
