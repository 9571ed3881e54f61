"""Tokens of agents: each is valid for one cluster and for AgentService only. They are derived, so none is stored."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence

from headrace.errors import TokenInvalid
from headrace_chassis.identity.seal import derive


class AgentTokens:
    """Issues tokens with the first deployment key and verifies them with any."""

    def __init__(self, keys: Sequence[bytes], deployment: str) -> None:
        self._keys = [derive(key, f"agent-token/{deployment}") for key in keys]

    def issue(self, cluster: str) -> str:
        return f"{cluster}.{_signature(self._keys[0], cluster)}"

    def verify(self, token: str) -> str:
        """Return the cluster that the token is valid for."""
        cluster, _, signature = token.rpartition(".")
        given = signature.encode()
        if not cluster or not any(hmac.compare_digest(_signature(key, cluster).encode(), given) for key in self._keys):
            raise TokenInvalid("this deployment did not issue the agent's token")
        return cluster


def _signature(key: bytes, cluster: str) -> str:
    return base64.urlsafe_b64encode(hmac.digest(key, cluster.encode(), "sha256")).decode().rstrip("=")
