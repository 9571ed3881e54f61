"""The addresses of a hello: they become the cluster's route, so its backend has to know them as the scheduler's own."""

from __future__ import annotations

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
        for name in ("scheduler_address", "dashboard_address"):
            if address := getattr(hello, name):
                await self._check(cluster, name, address)

    async def _check(self, cluster: Cluster, name: str, address: str) -> None:
        try:
            await self._backend.check_address(cluster.id, SCHEDULER, address)
        except BackendError as error:
            raise StoreUnavailable(f"the addresses of cluster {cluster.id} cannot be checked: {error}") from error
        except AddressRefused as refused:
            metrics.ADDRESSES_REFUSED.inc()
            log.warning("an agent's address was refused", cluster=cluster.id, address=address, reason=str(refused))
            what = name.replace("_", " ")
            message = f"The agent reported {address!r} as the {what}. It was refused, because {refused}."
            await self._events.add(cluster, EventType.ADDRESS_REFUSED, message)
            raise InvalidRequest.of(Violation(f"hello.{name}", f"is not the scheduler's: {refused}")) from refused
