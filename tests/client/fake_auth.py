"""AuthService of the fake headrace; `tests/contract/test_auth_service.py` holds it to the real one."""

# ruff: noqa: N802 - the names of the contract

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from headrace import errors
from headrace.resource_names import last_part, user_name
from headrace.v1 import auth_service_pb2 as pb
from headrace.v1 import auth_service_pb2_grpc

SECRETS = {"ann-secret": "ann", "bob-secret": "bob"}
_PAGE = re.compile(r"[\w.~-]+(/[\w.~-]+)*/?")
_SESSION = timedelta(hours=12)


class FakeAuth(auth_service_pb2_grpc.AuthServiceServicer):
    """Logs ann and bob in with their tokens, and any user with a password that ends in "sesame".

    Parameters
    ----------
    find_running
        Raises `ClusterNotFound` unless the caller of this context may see a running cluster of that name.
    """

    def __init__(self, find_running: Callable[[str, Any], object]) -> None:
        self._find_running = find_running
        self.token_seconds = 900.0
        self.server_version = "0.1.0"
        self.signed_in: dict[str, tuple[str, float]] = {}
        self.secrets = dict(SECRETS)
        self.admins = set[str]()
        self.api_tokens: dict[str, pb.ApiToken] = {}
        self.login_methods = [
            pb.LoginMethod(method="api-token", label="API token", credential_kind=pb.CREDENTIAL_KIND_TOKEN),
            pb.LoginMethod(method="password", label="Password", credential_kind=pb.CREDENTIAL_KIND_PASSWORD),
        ]
        self.sessions_ended: list[str] = []
        self._token_of_secret: dict[str, str] = {}

    def caller(self, context: Any) -> str:
        """users/{user} of the token of a call."""
        header = dict(context.invocation_metadata()).get("authorization", "")
        user, until = self.signed_in.get(header.removeprefix("Bearer "), ("", 0.0))
        if not user:
            raise errors.TokenInvalid("no token that this deployment signed")
        if time.time() > until:
            raise errors.TokenExpired("the token has run out")
        return user_name(user)

    def GetServerInfo(self, request: pb.GetServerInfoRequest, context: Any) -> pb.ServerInfo:
        return pb.ServerInfo(
            version=self.server_version,
            login_methods=self.login_methods,
            features=[pb.FEATURE_API_TOKENS, pb.FEATURE_DASHBOARD_LINKS],
        )

    def Login(self, request: pb.LoginRequest, context: Any) -> pb.LoginResponse:
        self._check_login(request)
        user = self._user_of(request)
        token = secrets.token_hex(8)
        self.signed_in[token] = (user, time.time() + self.token_seconds)
        answer = pb.LoginResponse(access_token=token, user=_user(user_name(user)))
        answer.expire_time.FromMilliseconds(int((time.time() + self.token_seconds) * 1000))
        return answer

    def WhoAmI(self, request: pb.WhoAmIRequest, context: Any) -> pb.User:
        user = _user(self.caller(context))
        if user.name in self.admins:
            user.roles.append(pb.ROLE_ADMIN)
        return user

    def CreateDashboardLink(
        self, request: pb.CreateDashboardLinkRequest, context: Any
    ) -> pb.CreateDashboardLinkResponse:
        self._find_running(request.name, context)
        page = request.page or "status"
        if not _PAGE.fullmatch(page) or ".." in page:
            raise _wrong("page", "is not a path below the dashboard")
        answer = pb.CreateDashboardLinkResponse(path=f"/{request.name}/{page}?link=signed")
        answer.expire_time.FromSeconds(int(time.time()) + 900)
        answer.session_duration.FromTimedelta(_SESSION)
        return answer

    def EndDashboardSessions(
        self, request: pb.EndDashboardSessionsRequest, context: Any
    ) -> pb.EndDashboardSessionsResponse:
        caller = self.caller(context)
        owner = request.owner or caller
        last_part(owner, "users", "owner")
        if owner != caller:
            raise errors.PermissionDenied("only admins end the sessions of others")
        self.sessions_ended.append(owner)
        return pb.EndDashboardSessionsResponse()

    def CreateApiToken(self, request: pb.CreateApiTokenRequest, context: Any) -> pb.CreateApiTokenResponse:
        owner, asked, secret = self.caller(context), request.api_token, secrets.token_hex(16)
        _check_token(asked)
        token = pb.ApiToken(
            name=f"apiTokens/t{len(self._token_of_secret) + 1}",
            owner=owner,
            note=asked.note,
            roles=asked.roles or [pb.ROLE_USER],
            expire_time=asked.expire_time if asked.HasField("expire_time") else None,
        )
        token.create_time.GetCurrentTime()
        self.api_tokens[token.name] = token
        self.secrets[secret] = last_part(owner, "users")
        self._token_of_secret[secret] = token.name
        return pb.CreateApiTokenResponse(api_token=token, secret=secret)

    def ListApiTokens(self, request: pb.ListApiTokensRequest, context: Any) -> pb.ListApiTokensResponse:
        """One a page."""
        owner = request.owner or self.caller(context)
        last_part(owner, "users", "owner")
        if not 0 <= request.page_size <= 1000:
            raise _wrong("page_size", "must be 0 to 1000")
        if not re.fullmatch("[0-9]*", request.page_token):
            raise _wrong("page_token", "is of another request")
        if owner != self.caller(context):
            raise errors.PermissionDenied("only admins list the API tokens of others")
        mine = [token for token in reversed(self.api_tokens.values()) if token.owner == owner]
        first = int(request.page_token or 0)
        more = str(first + 1) if first + 1 < len(mine) else ""
        return pb.ListApiTokensResponse(api_tokens=mine[first : first + 1], next_page_token=more)

    def DeleteApiToken(self, request: pb.DeleteApiTokenRequest, context: Any) -> pb.DeleteApiTokenResponse:
        caller = self.caller(context)
        last_part(request.name, "apiTokens")
        token = self.api_tokens.get(request.name)
        if token is None or token.owner != caller:
            raise errors.ApiTokenNotFound(f"there is no API token {request.name} that you may see")
        del self.api_tokens[request.name]
        return pb.DeleteApiTokenResponse()

    def ListSigningKeys(self, request: pb.ListSigningKeysRequest, context: Any) -> pb.ListSigningKeysResponse:
        """None: clients do not read tokens, and these are no JWTs."""
        return pb.ListSigningKeysResponse()

    def _check_login(self, request: pb.LoginRequest) -> None:
        match request.WhichOneof("credential"):
            case "password":
                kind = pb.CREDENTIAL_KIND_PASSWORD
                _check_length("password.username", request.password.username, 1, 256)
                _check_length("password.password", request.password.password, 0, 1024)
            case "token":
                kind = pb.CREDENTIAL_KIND_TOKEN
                _check_length("token.token", request.token.token, 1, 8192)
            case None:
                raise _wrong("credential", "is missing")
        if request.method not in {"", *(one.method for one in self.login_methods if one.credential_kind == kind)}:
            raise _wrong("method", "does not take this kind of credential")

    def _user_of(self, request: pb.LoginRequest) -> str:
        if request.HasField("token") and request.token.token in self.secrets:
            self._record_use(request.token.token)
            return self.secrets[request.token.token]
        if request.HasField("password") and request.password.password == f"{request.password.username} sesame":
            return request.password.username
        raise errors.BadCredentials("wrong user name or password; your administrator can give you a new one")

    def _record_use(self, secret: str) -> None:
        if (name := self._token_of_secret.get(secret)) is None:
            return
        if name not in self.api_tokens:
            raise errors.TokenRevoked("the API token has been revoked")
        self.api_tokens[name].last_use_time.GetCurrentTime()


def _user(name: str) -> pb.User:
    return pb.User(name=name, groups=["groups/people"], roles=[pb.ROLE_USER], method="password")


def _check_token(token: pb.ApiToken) -> None:
    _check_length("api_token.note", token.note, 0, 256)
    if not token.note.isprintable():
        raise _wrong("api_token.note", "has control characters")
    if pb.ROLE_UNSPECIFIED in token.roles:
        raise _wrong("api_token.roles", "is not a role")
    if token.HasField("expire_time") and token.expire_time.seconds <= time.time():
        raise _wrong("api_token.expire_time", "is in the past")
    if pb.ROLE_ADMIN in token.roles:
        raise errors.PermissionDenied("a token has no role that its owner lacks")


def _check_length(field: str, value: str, least: int, most: int) -> None:
    if not least <= len(value.encode()) <= most:
        raise _wrong(field, f"must have {least} to {most} bytes")


def _wrong(field: str, description: str) -> errors.InvalidRequest:
    return errors.InvalidRequest.of(errors.Violation(field, description))
