"""Authenticate: who calls, and may they."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.errors import PermissionDenied, TokenInvalid
from headrace_chassis.identity.agent_tokens import AgentTokens
from headrace_chassis.identity.caller import ADMIN, OWNER, AgentCaller, Caller, set_caller
from headrace_chassis.identity.rights import Right
from headrace_chassis.identity.tokens import TokenVerifier
from headrace_chassis.interceptors.call import Call, Interceptor, Method, Serve

_USER_ROLES = frozenset({OWNER, ADMIN})


def authenticate(verifier: TokenVerifier, agent_tokens: AgentTokens, *, internal: bool) -> Interceptor:
    """Makes the interceptor of one listener; only on the internal one services are believed to be services."""

    async def caller_of(method: Method, metadata: Mapping[str, str | bytes]) -> Caller | AgentCaller | None:
        if method.right is Right.USER or method.right is Right.ADMIN:
            caller = await verifier.verify(_credential(metadata, "Bearer "))
            _check_roles(method, caller)
            return caller
        if method.right is Right.AGENT:
            return AgentCaller(agent_tokens.verify(_credential(metadata, "Agent ")))
        if method.right is Right.SERVICE and not internal:
            raise PermissionDenied(f"{method.name} is for headrace's own services, on their internal listener")
        if method.right is None:
            raise PermissionDenied(f"{method.name} is not in the table of rights: nobody may call it")
        return None

    def interceptor(method: Method, serve: Serve) -> Serve:
        async def authenticated(call: Call) -> Any:
            set_caller(await caller_of(method, call.metadata))
            return await serve(call)

        return authenticated

    return interceptor


def _check_roles(method: Method, caller: Caller) -> None:
    if method.right is Right.ADMIN and not caller.is_admin:
        raise PermissionDenied(f"{method.name} needs the role admin, which {caller.user} does not have")
    if not caller.roles & _USER_ROLES:
        raise PermissionDenied(f"{method.name} needs the role owner or admin, which {caller.user} does not have")


def _credential(metadata: Mapping[str, str | bytes], scheme: str) -> str:
    value = metadata.get("authorization")
    if not isinstance(value, str):
        raise TokenInvalid(f"this call needs `authorization: {scheme}<token>`, no credential was sent: log in first")
    if not value.startswith(scheme):
        raise TokenInvalid(f"this call needs `authorization: {scheme}<token>`, another kind of credential was sent")
    return value[len(scheme) :]
