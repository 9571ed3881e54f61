"""Tells which process sent a token: one that this deployment issued, or one of the platform that runs the process."""

from __future__ import annotations

import time
from collections.abc import Callable

from headrace.errors import StoreUnavailable, TokenExpired, TokenInvalid
from headrace_chassis.identity.agent_tokens import AgentTokens
from headrace_chassis.identity.caller import AgentCaller
from headrace_controller.backends.base import BackendError
from headrace_controller.backends.process import ProcessState
from headrace_controller.backends.router import BackendRouter

_DOTS_OF_JWT = 2  # an own token has one
_MAX_JWT = 8192  # tokens of service accounts have one or two thousand characters


class AgentVerifier:
    """Verifies tokens of agents.

    Parameters
    ----------
    tokens
        Those that this deployment issues.
    backend
        Verifies those of its platform, and knows since when processes run.
    launch_seconds
        Time within which a process must enrol: after its launch, or after its start if it waited for room in between.
        Later, its token could be used by its cluster's code.
    """

    def __init__(
        self,
        tokens: AgentTokens,
        backend: BackendRouter,
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
            return await self._verify_own(token)
        if len(token) > _MAX_JWT:
            raise TokenInvalid(f"the agent's token has more than {_MAX_JWT} characters, so it is none of its platform")
        try:
            found = await self._backend.attest(token)
        except BackendError as error:
            raise StoreUnavailable(f"the agent's token cannot be verified now: {error}; try again") from error
        if found.cluster and not self._is_recent(found.launched):
            raise TokenExpired(
                f"{found.process} of cluster {found.cluster} cannot enrol with its platform's token any more: it was "
                f"launched more than {self._launch_seconds:.0f} s ago (agent_token_seconds)"
            )
        return AgentCaller(found.cluster, found.process, found.launch)

    async def _verify_own(self, token: str) -> AgentCaller:
        try:
            return self._tokens.verify(token)
        except TokenExpired:
            caller = self._tokens.owner(token)
            if caller.launch and await self._has_just_started(caller):
                return caller
            raise

    async def _has_just_started(self, caller: AgentCaller) -> bool:
        """Whether a process waited for room until a short time ago, and could not use its token before."""
        who = f"{caller.process} of cluster {caller.cluster}"
        try:
            processes = await self._backend.observe(caller.cluster)
        except BackendError as error:
            raise StoreUnavailable(f"nobody knows now since when {who} runs: {error}; try again") from error
        found = next((each for each in processes if each.key.process == caller.process), None)
        if found is None:
            return False
        if found.state is ProcessState.PENDING:
            raise StoreUnavailable(f"{who} has waited long, and is not known to run yet; try again")
        return found.state is ProcessState.RUNNING and self._is_recent(found.started)

    def _is_recent(self, time: float) -> bool:
        return time + self._launch_seconds > self._clock()
