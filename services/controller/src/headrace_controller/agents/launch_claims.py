"""The token of a launch enrols one process, once: the one that drew the nonce with which it was first used."""

from __future__ import annotations

from headrace.errors import InvalidRequest, TokenInvalid, Violation
from headrace.v1.enums import EventType
from headrace_chassis import logs
from headrace_chassis.identity.caller import AgentCaller
from headrace_controller import metrics
from headrace_controller.agents.agent_events import AgentEvents
from headrace_controller.model import Cluster
from headrace_controller.store.enrolments import Enrolments

log = logs.get_logger()

_MAX_NONCE = 128
_MARGIN_SECONDS = 3600.0  # between the clocks of the store, of controllers, and of the machines of processes
_SESSION_BITS = 32  # of a session's number, the lower ones count the sessions of one process


class LaunchClaims:
    """Claims launches, and numbers schedulers.

    Parameters
    ----------
    token_seconds
        How long the token of a launch is good.
    """

    def __init__(self, enrolments: Enrolments, events: AgentEvents, *, token_seconds: float) -> None:
        self._enrolments = enrolments
        self._events = events
        self._seconds = token_seconds + _MARGIN_SECONDS

    async def claim(self, caller: AgentCaller, cluster: Cluster, nonce: str) -> None:
        """Raises `TokenInvalid` if another process has enrolled with this launch."""
        if not 0 < len(nonce) <= _MAX_NONCE:
            raise InvalidRequest.of(Violation("nonce", f"must have 1 to {_MAX_NONCE} characters"))
        if await self._enrolments.claim(caller.launch, nonce, seconds=self._seconds):
            return
        metrics.ENROLMENTS_REFUSED.inc()
        log.warning("a second enrolment was refused", cluster=cluster.id, process=caller.process)
        message = (
            f"Somebody tried to enrol as {caller.process} with its token, which had been used, and was refused. "
            "Code in the cluster may have found the token."
        )
        await self._events.add(cluster, EventType.ENROLMENT_REFUSED, message)
        raise TokenInvalid(f"the token of {caller.process} has been used: another process has enrolled with it")

    async def number_scheduler(self, cluster: Cluster) -> int:
        """A number that is greater than those of all schedulers of the cluster that have enrolled or reported before.

        It uses no clock. A store that was emptied counts on after the number that has been reported since.
        """
        reported = cluster.report.session >> _SESSION_BITS
        return reported + await self._enrolments.count_scheduler(cluster.id, seconds=self._seconds)
