"""Authenticate: who calls, and may they."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from headrace.errors import PermissionDenied, TokenInvalid
from headrace_chassis.agent_tokens import AgentTokens
from headrace_chassis.caller import ADMIN, OWNER, AgentCaller, Caller, set_caller
from headrace_chassis.interceptors.call import Call, Context, Interceptor
from headrace_chassis.rights import Right
from headrace_chassis.tokens import TokenVerifier

_USER_ROLES = frozenset({OWNER, ADMIN})


def authenticate(verifier: TokenVerifier, agent_tokens: AgentTokens, *, internal: bool) -> Interceptor:
    """Makes the interceptor of one listener; only on the internal one services are believed to be services."""

    async def caller_of(call: Call, context: Context) -> Caller | AgentCaller | None:
        if call.right is Right.USER or call.right is Right.ADMIN:
            caller = await verifier.verify(_credential(context, "Bearer "))
            _check_roles(call, caller)
            return caller
        if call.right is Right.AGENT:
            return AgentCaller(agent_tokens.verify(_credential(context, "Agent ")))
        if call.right is Right.SERVICE and not internal:
            raise PermissionDenied(f"{call.name} is for headrace's own services, on their internal listener")
        if call.right is None:
            raise PermissionDenied(f"{call.name} is not in the table of rights: nobody may call it")
        return None

    @asynccontextmanager
    async def interceptor(call: Call, context: Context) -> AsyncGenerator[None]:
        set_caller(await caller_of(call, context))
        yield

    return interceptor


def _check_roles(call: Call, caller: Caller) -> None:
    if call.right is Right.ADMIN and not caller.is_admin:
        raise PermissionDenied(f"{call.name} needs the role admin, which {caller.user} does not have")
    if not caller.roles & _USER_ROLES:
        raise PermissionDenied(f"{call.name} needs the role owner or admin, which {caller.user} does not have")


def _credential(context: Context, scheme: str) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == "authorization" and isinstance(value, str):
            if value.startswith(scheme):
                return value[len(scheme) :]
            raise TokenInvalid(f"this call needs `authorization: {scheme}<token>`, another kind of credential was sent")
    raise TokenInvalid(f"this call needs `authorization: {scheme}<token>`, no credential was sent: log in first")
