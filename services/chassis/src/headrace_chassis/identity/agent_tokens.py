"""Tokens that agents show: good for one cluster, for nothing but AgentService, and kept nowhere."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence

from headrace.errors import TokenInvalid
from headrace_chassis.identity.seal import derive


class AgentTokens:
    """Issues with the first deployment key and verifies with any."""

    def __init__(self, keys: Sequence[bytes], deployment: str) -> None:
        self._keys = [derive(key, f"agent-token/{deployment}") for key in keys]

    def issue(self, cluster: str) -> str:
        return f"{cluster}.{_signature(self._keys[0], cluster)}"

    def verify(self, token: str) -> str:
        """Returns the cluster that the token is good for."""
        cluster, _, signature = token.rpartition(".")
        shown = signature.encode()
        if not cluster or not any(hmac.compare_digest(_signature(key, cluster).encode(), shown) for key in self._keys):
            raise TokenInvalid("the agent's token is not one that this deployment has issued")
        return cluster


def _signature(key: bytes, cluster: str) -> str:
    return base64.urlsafe_b64encode(hmac.digest(key, cluster.encode(), "sha256")).decode().rstrip("=")
