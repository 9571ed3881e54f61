"""AuthService of the fake headrace."""

# ruff: noqa: N802 - the names of the contract

from __future__ import annotations

import secrets
import time
from typing import Any

from headrace import errors
from headrace.v1 import auth_service_pb2 as pb
from headrace.v1 import auth_service_pb2_grpc

SECRETS = {"ann-secret": "ann", "bob-secret": "bob"}


class FakeAuth(auth_service_pb2_grpc.AuthServiceServicer):
    """Logs ann and bob in with their tokens, and everybody with a password that ends in "sesame"."""

    def __init__(self) -> None:
        self.token_seconds = 900.0
        self.server_version = "0.1.0"
        self.signed_in: dict[str, tuple[str, float]] = {}
        self.secrets = dict(SECRETS)
        self.api_tokens: dict[str, pb.ApiToken] = {}
        self.login_methods = [
            pb.LoginMethod(method="password", label="Password", credential_kind=pb.CREDENTIAL_KIND_PASSWORD),
            pb.LoginMethod(method="api-token", label="API token", credential_kind=pb.CREDENTIAL_KIND_TOKEN),
        ]

    def caller(self, context: Any) -> str:
        """users/{user} of the token of a call."""
        header = dict(context.invocation_metadata()).get("authorization", "")
        user, until = self.signed_in.get(header.removeprefix("Bearer "), ("", 0.0))
        if not user:
            raise errors.TokenInvalid("no token that this deployment signed")
        if time.time() > until:
            raise errors.TokenExpired("the token has run out")
        return f"users/{user}"

    def GetServerInfo(self, request: pb.GetServerInfoRequest, context: Any) -> pb.ServerInfo:
        return pb.ServerInfo(
            version=self.server_version,
            login_methods=self.login_methods,
            features=[pb.FEATURE_API_TOKENS, pb.FEATURE_DASHBOARD_LINKS],
        )

    def Login(self, request: pb.LoginRequest, context: Any) -> pb.LoginResponse:
        user = self._user_of(request)
        token = secrets.token_hex(8)
        self.signed_in[token] = (user, time.time() + self.token_seconds)
        answer = pb.LoginResponse(access_token=token, user=pb.User(name=f"users/{user}"))
        answer.expire_time.FromMilliseconds(int((time.time() + self.token_seconds) * 1000))
        return answer

    def WhoAmI(self, request: pb.WhoAmIRequest, context: Any) -> pb.User:
        return pb.User(name=self.caller(context), groups=["groups/people"], roles=[pb.ROLE_USER], method="api-token")

    def CreateDashboardLink(
        self, request: pb.CreateDashboardLinkRequest, context: Any
    ) -> pb.CreateDashboardLinkResponse:
        self.caller(context)
        answer = pb.CreateDashboardLinkResponse(path=f"/{request.name}/{request.page or 'status'}?link=signed")
        answer.expire_time.FromSeconds(int(time.time()) + 900)
        return answer

    def CreateApiToken(self, request: pb.CreateApiTokenRequest, context: Any) -> pb.CreateApiTokenResponse:
        owner, secret = self.caller(context), secrets.token_hex(16)
        token = pb.ApiToken(name=f"apiTokens/t{len(self.api_tokens) + 1}", owner=owner)
        token.MergeFrom(request.api_token)
        self.api_tokens[token.name] = token
        self.secrets[secret] = owner.removeprefix("users/")
        return pb.CreateApiTokenResponse(api_token=token, secret=secret)

    def ListApiTokens(self, request: pb.ListApiTokensRequest, context: Any) -> pb.ListApiTokensResponse:
        """One a page."""
        owner = request.owner or self.caller(context)
        mine = [token for token in self.api_tokens.values() if token.owner == owner]
        first = int(request.page_token or 0)
        more = str(first + 1) if first + 1 < len(mine) else ""
        return pb.ListApiTokensResponse(api_tokens=mine[first : first + 1], next_page_token=more)

    def DeleteApiToken(self, request: pb.DeleteApiTokenRequest, context: Any) -> pb.DeleteApiTokenResponse:
        if self.api_tokens.pop(request.name, None) is None:
            raise errors.ApiTokenNotFound(f"there is no API token {request.name} that you may see")
        return pb.DeleteApiTokenResponse()

    def ListSigningKeys(self, request: pb.ListSigningKeysRequest, context: Any) -> pb.ListSigningKeysResponse:
        return pb.ListSigningKeysResponse()

    def _user_of(self, request: pb.LoginRequest) -> str:
        if request.HasField("token") and request.token.token in self.secrets:
            return self.secrets[request.token.token]
        if request.HasField("password") and request.password.password == f"{request.password.username} sesame":
            return request.password.username
        raise errors.BadCredentials("the user name or the password is wrong")
