"""Authenticate: verifies who calls, and the right that the RPC needs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from headrace.access import CLUSTER_RIGHTS, may
from headrace.errors import PermissionDenied, TokenInvalid
from headrace.v1.enums import Right
from headrace_chassis.identity.agent_tokens import VerifyAgent
from headrace_chassis.identity.caller import ROLES, AgentCaller, Caller, set_caller
from headrace_chassis.identity.rights import set_right
from headrace_chassis.identity.tokens import TokenVerifier
from headrace_chassis.interceptors.call import Call, Interceptor, Method, Serve

Metadata = Mapping[str, str | bytes]


def authenticate(verifier: TokenVerifier, verify_agent: VerifyAgent, *, internal: bool) -> Interceptor:
    """Make the interceptor of one listener. RPCs for services are served on the internal one only."""

    def interceptor(method: Method, serve: Serve) -> Serve:
        async def authenticated(call: Call) -> Any:
            if (right := method.right) is None:
                raise PermissionDenied(f"nobody may call {method.name}: the contract names no right for it")
            set_caller(await caller_of(method, right, call.metadata))
            set_right(right)
            return await serve(call)

        return authenticated

    async def caller_of(method: Method, right: Right, metadata: Metadata) -> Caller | AgentCaller | None:
        match right:
            case Right.ANYONE:
                return None
            case Right.SERVICE:
                _check_service(method, internal=internal)
                return None
            case Right.AGENT:
                return await verify_agent(_credential(metadata, "Agent "))
            case _:
                caller = await verifier.verify(_credential(metadata, "Bearer "))
                set_caller(caller)  # for the log, also if they are refused
                _check_user(method, right, caller)
                return caller

    return interceptor


def _check_service(method: Method, *, internal: bool) -> None:
    if not internal:
        raise PermissionDenied(f"{method.name} is for headrace's own services, on their internal listener")


def _check_user(method: Method, right: Right, caller: Caller) -> None:
    if not caller.roles & ROLES:
        raise PermissionDenied(f"{caller.user} has no role in this deployment: ask the administrator for one")
    # Rights on one cluster are the service's to check: it knows whose the cluster is.
    if right not in CLUSTER_RIGHTS and not may(caller, right, now=time.time()):
        raise PermissionDenied(f"{caller.user} may not call {method.name}: it needs the right {right}")


def _credential(metadata: Metadata, scheme: str) -> str:
    value = metadata.get("authorization")
    if not isinstance(value, str):
        raise TokenInvalid(f"this call needs `authorization: {scheme}<token>`, and none was sent: log in first")
    if not value.startswith(scheme):
        raise TokenInvalid(f"this call needs `authorization: {scheme}<token>`, and another kind was sent")
    return value[len(scheme) :]
