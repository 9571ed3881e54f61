"""Gathers what is seen of a cluster, all of it from memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from headrace_controller.backends.base import BackendError
from headrace_controller.backends.contact import Contact
from headrace_controller.backends.process import SCHEDULER
from headrace_controller.model import Cluster, ClusterId, Phase
from headrace_controller.plan import Place, Seen
from headrace_controller.plan.findings import Finding
from headrace_controller.reconciling.process_table import ProcessTable
from headrace_controller.reconciling.replica_liveness import ReplicaLiveness
from headrace_controller.reconciling.route_states import RouteStates
from headrace_controller.reconciling.shards import Shards
from headrace_controller.reconciling.start_errors import StartErrors


class Observer:
    """The inputs of a plan besides the record.

    Parameters
    ----------
    findings
        What rules of culling find about a cluster.
    place
        The place of a cluster in the queue.
    observed
        Whether the backend of a cluster was observed since the start; before, nothing may be concluded.
    obstacle
        Why the backend of a cluster cannot be opened.
    contact
        Whether the platform of a cluster answers.
    """

    def __init__(
        self,
        processes: ProcessTable,
        routes: RouteStates,
        liveness: ReplicaLiveness,
        start_errors: StartErrors,
        shards: Shards,
        *,
        findings: Callable[[Cluster], tuple[Finding, ...]] = lambda _: (),
        place: Callable[[Cluster], Place | None] = lambda _: None,
        observed: Callable[[str], bool] = lambda _: True,
        obstacle: Callable[[str], BackendError | None] = lambda _: None,
        contact: Callable[[str], Contact | None] = lambda _: None,
    ) -> None:
        self._processes = processes
        self._routes = routes
        self._liveness = liveness
        self._start_errors = start_errors
        self._shards = shards
        self._findings = findings
        self._place = place
        self._observed = observed
        self._obstacle = obstacle
        self._contact = contact

    async def known(self) -> None:
        """Waits until all processes are known."""
        await self._processes.known.wait()

    def observed(self, cluster: Cluster) -> bool:
        """Whether anything may be concluded about a cluster."""
        return self._observed(cluster.id)

    def obstacle(self, cluster: ClusterId) -> BackendError | None:
        """Why the backend of a cluster cannot be opened; None if it is open."""
        return self._obstacle(cluster)

    def cannot_start(self, cluster: Cluster) -> bool:
        """Whether a cluster of which nobody has heard yet cannot start, because its backend cannot be opened.

        Its user hears why, for as long as a launch that fails in this way is tried.
        """
        error = self._obstacle(cluster.id)
        new = cluster.status.phase is Phase.STARTING and cluster.report.session == 0 and not cluster.workers
        if error is None or not new:
            return False
        self._start_errors.record(
            cluster.id, None, str(error), cause=error.cause, wait=error.wait, processes=[SCHEDULER]
        )
        return True

    def observe(self, cluster: Cluster, log_tail: Mapping[str, str]) -> Seen:
        """Returns what is seen of a cluster, with the logs that a plan asked for."""
        return Seen(
            processes=self._processes.of(cluster.id),
            route=self._routes.of(cluster),
            holder_gone_from=self._liveness.gone_from(cluster.report),
            watching_since=self._shards.watching_since(cluster.id),
            start_errors=self._start_errors.of(cluster.id),
            contact=self._contact(cluster.id),
            findings=self._findings(cluster),
            place=self._place(cluster),
            log_tail=log_tail,
        )
