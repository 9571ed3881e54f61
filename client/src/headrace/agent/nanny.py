"""The nanny of a worker: Dask's own, which ends faster."""

from __future__ import annotations

import asyncio
from typing import Any

import dask.config
from distributed import Nanny
from distributed.proctitle import enable_proctitle_on_children, enable_proctitle_on_current

from headrace.agent import forkserver
from headrace.agent.identity import Identity
from headrace.agent.inheritance import Inheritance
from headrace.agent.tls import RenewableSecurity
from headrace.internal.v1 import agent_service_pb2 as pb

# A worker that finds no scheduler for this time ends.
_DEATH_TIMEOUT = "60s"
# What Dask's worker gives its running tasks when the scheduler closes it.
_CLOSE_SECONDS = 30.0


class AgentNanny(Nanny):
    """Tells a worker process that closes by itself that no message follows.

    Otherwise the process waits two seconds for one at its end.
    """

    _expedited: asyncio.Task[None] | None = None

    def close_gracefully(self, reason: str = "nanny-close-gracefully") -> None:
        super().close_gracefully(reason=reason)
        if self._expedited is None and self.process is not None:
            self._expedited = asyncio.create_task(self.process.kill(timeout=_CLOSE_SECONDS, reason=reason))


def make_nanny(identity: Identity, enrollment: pb.EnrollResponse, security: RenewableSecurity) -> AgentNanny:
    """Creates what `dask worker` creates, with settings from the enrolment."""
    enable_proctitle_on_current()
    enable_proctitle_on_children()
    warm = forkserver.usable()
    if warm:
        dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})
    memory_limit: Any = enrollment.worker_memory_bytes
    lifetime: dict[str, Any] = {}
    if enrollment.worker_lifetime_seconds:
        lifetime["lifetime"] = enrollment.worker_lifetime_seconds
    return AgentNanny(
        enrollment.scheduler_address,
        name=identity.process,
        nthreads=enrollment.worker_threads or None,
        memory_limit=memory_limit,
        resources=dict(enrollment.worker_resources) or None,
        security=security,
        protocol="tls",
        host=enrollment.listen_host or None,
        worker_port=0,
        port=0,
        death_timeout=dask.config.get("distributed.worker.death-timeout", default=None) or _DEATH_TIMEOUT,
        config={"headrace": {"inheritance": Inheritance()}} if warm else None,
        # No route leads to a worker's pages; metrics and health are served without them.
        dashboard=False,
        dashboard_address="127.0.0.1:0",
        **lifetime,
    )
