"""Tells which process sent a token: one that this deployment issued, or one of the platform that runs the process."""

from __future__ import annotations

import time
from collections.abc import Callable

from headrace.errors import StoreUnavailable, TokenExpired, TokenInvalid
from headrace_chassis.identity.agent_tokens import AgentTokens
from headrace_chassis.identity.caller import AgentCaller
from headrace_controller.backends.base import Attests, BackendError

_DOTS_OF_JWT = 2  # an own token has one
_MAX_JWT = 8192  # tokens of service accounts have one or two thousand characters


class AgentVerifier:
    """Verifies tokens of agents.

    Parameters
    ----------
    tokens
        Those that this deployment issues.
    backend
        Verifies those of its platform.
    launch_seconds
        Time after its launch within which a process must enrol. A token of its platform may be renewed as long as the
        process lives, and later it could be used by its cluster's code.
    """

    def __init__(
        self,
        tokens: AgentTokens,
        backend: Attests,
        *,
        launch_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._tokens = tokens
        self._backend = backend
        self._launch_seconds = launch_seconds
        self._clock = clock

    async def verify(self, token: str) -> AgentCaller:
        """Return the process whose token it is."""
        if token.count(".") != _DOTS_OF_JWT:
            return self._tokens.verify(token)
        if len(token) > _MAX_JWT:
            raise TokenInvalid(f"the agent's token has more than {_MAX_JWT} characters, so it is none of its platform")
        try:
            found = await self._backend.attest(token)
        except BackendError as error:
            raise StoreUnavailable(f"the agent's token cannot be verified now: {error}; try again") from error
        if found.cluster and found.launched + self._launch_seconds <= self._clock():
            raise TokenExpired(
                f"{found.process} of cluster {found.cluster} cannot enrol with its platform's token any more: it was "
                f"launched more than {self._launch_seconds:.0f} s ago (agent_token_seconds)"
            )
        return AgentCaller(found.cluster, found.process, found.launch)
