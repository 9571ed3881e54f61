"""Tokens of agents: each is valid for one process and for AgentService only. They prove themselves, so none is stored.

The token of a launch is good for enrolling, for a short time. The credential of a process that has enrolled is good for
everything that its agent does later; it lives as long as the process may.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import msgspec

from headrace.errors import TokenExpired, TokenInvalid
from headrace_chassis.identity.caller import AgentCaller
from headrace_chassis.identity.seal import derive

_Claims = tuple[str, str, str, float]  # cluster, process, launch, end

VerifyAgent: TypeAlias = "Callable[[str], Awaitable[AgentCaller]]"
"""Returns the process whose token it is; raises `HeadraceError`."""


class AgentTokens:
    """Issues tokens with the first deployment key and verifies them with any."""

    def __init__(self, keys: Sequence[bytes], deployment: str, *, clock: Callable[[], float] = time.time) -> None:
        self._keys = [derive(key, f"agent-token/{deployment}") for key in keys]
        self._clock = clock

    def launch(self, cluster: str, process: str, seconds: float) -> str:
        """Make the token that a process is launched with."""
        return self._issue(AgentCaller(cluster, process, secrets.token_urlsafe(12)), seconds)

    def credential(self, cluster: str, process: str, seconds: float) -> str:
        """Make the credential of a process that has enrolled."""
        return self._issue(AgentCaller(cluster, process), seconds)

    def verify(self, token: str) -> AgentCaller:
        """Return the process whose token it is; raise `TokenInvalid` or `TokenExpired`."""
        caller, end = self._read(token)
        if end <= self._clock():
            raise TokenExpired(
                f"the token of {caller.process} of cluster {caller.cluster} has expired: it was launched long ago"
            )
        return caller

    def owner(self, token: str) -> AgentCaller:
        """Return the process whose token it is or was: it may have expired."""
        return self._read(token)[0]

    async def verify_own(self, token: str) -> AgentCaller:
        """Like `verify`, as a `VerifyAgent`: for services that take no other tokens."""
        return self.verify(token)

    def _read(self, token: str) -> tuple[AgentCaller, float]:
        text, _, signature = token.rpartition(".")
        given = signature.encode()
        if not text or not any(hmac.compare_digest(_signature(key, text).encode(), given) for key in self._keys):
            raise TokenInvalid("this deployment did not issue the agent's token")
        cluster, process, launch, end = _claims(text)
        return AgentCaller(cluster, process, launch), end

    def _issue(self, caller: AgentCaller, seconds: float) -> str:
        claims: _Claims = (caller.cluster, caller.process, caller.launch, self._clock() + seconds)
        text = base64.urlsafe_b64encode(msgspec.json.encode(claims)).decode()
        return f"{text}.{_signature(self._keys[0], text)}"


def _claims(text: str) -> _Claims:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text), type=_Claims)
    except (binascii.Error, msgspec.MsgspecError) as error:  # what an earlier version has signed
        raise TokenInvalid("the agent's token is of another version of headrace") from error


def _signature(key: bytes, text: str) -> str:
    return base64.urlsafe_b64encode(hmac.digest(key, text.encode(), "sha256")).decode().rstrip("=")
