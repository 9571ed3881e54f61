"""The nanny of a worker: Dask's own, which ends faster."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import dask.config
from distributed import Nanny
from distributed.comm.addressing import unparse_host_port
from distributed.core import Status
from distributed.proctitle import enable_proctitle_on_children, enable_proctitle_on_current

from headrace.agent import forkserver, worker_deaths
from headrace.agent.identity import Identity
from headrace.agent.inheritance import Inheritance
from headrace.agent.tls import RenewableSecurity
from headrace.internal.v1 import agent_service_pb2 as pb

logger = logging.getLogger("headrace.agent")

# A worker that finds no scheduler for this time ends.
_DEATH_TIMEOUT = "60s"
# What Dask's worker gives its running tasks when the scheduler closes it.
_CLOSE_SECONDS = 30.0
# A worker process that died is replaced this much later at most because its scheduler is told how.
_TELL_SECONDS = 1.0
# Dask's memory monitor logs this, then terminates the worker process.
_OVER_MEMORY = "worker-restart-memory"


class AgentNanny(Nanny):
    """Tells the scheduler how its worker process died, before another one joins under the same name.

    A worker process that closes by itself is told that no message follows. Otherwise it waits two seconds for one at
    its end.
    """

    _expedited: asyncio.Task[None] | None = None
    _over_memory = False

    def log_event(self, topic: Any, msg: Any) -> None:
        self._over_memory = self._over_memory or topic == _OVER_MEMORY
        super().log_event(topic, msg)

    async def _on_worker_exit(self, exitcode: int) -> None:
        await self._tell_death(exitcode)
        await super()._on_worker_exit(exitcode)

    async def _tell_death(self, exit_code: int) -> None:
        memory_limit = self.memory_manager.memory_limit or 0 if self._over_memory else 0
        self._over_memory = False
        will_restart = self.status is Status.running
        if not will_restart or self.worker_address is None or not (exit_code or memory_limit):
            return
        death = worker_deaths.to_event(self.worker_address, exit_code, memory_limit)
        try:
            async with asyncio.timeout(_TELL_SECONDS):
                await self.scheduler.log_event(topic=worker_deaths.TOPIC, msg=death)
        except OSError:  # comms that break and time-outs, too
            logger.info("the scheduler was not told how the worker process died")

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
    # Others of this machine reach a worker's HTTP server, so it has no pages. Its metrics: `worker_metrics`.
    dask.config.set({"distributed.worker.http.routes": []})
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
        host=unparse_host_port(enrollment.listen_host) or None,
        worker_port=0,
        port=0,
        death_timeout=dask.config.get("distributed.worker.death-timeout", default=None) or _DEATH_TIMEOUT,
        config={"headrace": {"inheritance": Inheritance()}} if warm else None,
        dashboard=False,
        dashboard_address="127.0.0.1:0",
        **lifetime,
    )
