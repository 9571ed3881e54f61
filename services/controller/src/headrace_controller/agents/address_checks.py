"""The addresses of a hello: they become the cluster's route, so its backend has to know them as the scheduler's own."""

from __future__ import annotations

import asyncio

from headrace.errors import InvalidRequest, StoreUnavailable, Violation
from headrace.internal.v1 import agent_service_pb2 as pb
from headrace.v1.enums import EventType
from headrace_chassis import logs
from headrace_controller import metrics
from headrace_controller.agents.agent_events import AgentEvents
from headrace_controller.backends.base import AddressRefused, Backend, BackendError
from headrace_controller.backends.process import SCHEDULER
from headrace_controller.model import Cluster

log = logs.get_logger()


class AddressChecks:
    """Refuses sessions whose agent reports what its scheduler does not listen on."""

    def __init__(self, backend: Backend, events: AgentEvents) -> None:
        self._backend = backend
        self._events = events

    async def check(self, cluster: Cluster, hello: pb.SchedulerHello) -> None:
        """Raises `InvalidRequest`, or `StoreUnavailable` while the backend cannot say."""
        reported = {"scheduler_address": hello.scheduler_address, "dashboard_address": hello.dashboard_address}
        refusals = await asyncio.gather(*(self._refusal(cluster, address) for address in reported.values()))
        violations: list[Violation] = []
        for (name, address), refusal in zip(reported.items(), refusals, strict=True):
            if refusal:
                await self._record(cluster, name, address, refusal)
                violations.append(Violation(f"hello.{name}", f"is not the scheduler's: {refusal}"))
        if violations:
            raise InvalidRequest.of(*violations)

    async def _refusal(self, cluster: Cluster, address: str) -> str:
        """Why an address is refused; empty if it is not, or if there is none."""
        if not address:
            return ""
        try:
            await self._backend.check_address(cluster.id, SCHEDULER, address)
        except BackendError as error:
            if address in (cluster.report.scheduler_address, cluster.report.dashboard_address):
                return ""  # it was checked before: a backend that is away ends no cluster
            raise StoreUnavailable(f"the addresses of cluster {cluster.id} cannot be checked: {error}") from error
        except AddressRefused as refused:
            return str(refused)
        return ""

    async def _record(self, cluster: Cluster, name: str, address: str, refusal: str) -> None:
        metrics.ADDRESSES_REFUSED.inc()
        log.warning("an agent's address was refused", cluster=cluster.id, address=address, reason=refusal)
        what = name.replace("_", " ")
        message = f"The agent reported {address!r} as the {what}. It was refused, because {refusal}."
        await self._events.add(cluster, EventType.ADDRESS_REFUSED, message)
