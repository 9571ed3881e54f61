"""A worker: Dask's nanny in this process, and the worker process that it looks after."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from typing import Any

import dask.config
from distributed import Nanny
from distributed.proctitle import enable_proctitle_on_children, enable_proctitle_on_current

from headrace.agent import forkserver, signals
from headrace.agent.channel import ControllerChannel
from headrace.agent.enroll import NotEnrolled, enroll
from headrace.agent.identity import Identity
from headrace.agent.preload import PROCESS_GROUP
from headrace.agent.renewal import keep_renewed
from headrace.agent.settings import apply
from headrace.agent.tls import Certificates, RenewableSecurity, certificates_of
from headrace.agent.worker_certificates import install_in_worker
from headrace.internal.v1 import agent_service_pb2 as pb

logger = logging.getLogger("headrace.agent")

# A worker that finds no scheduler for so long ends.
_DEATH_TIMEOUT = "60s"
# Whoever ends a worker by a signal waits a second before it kills.
_CLOSE_SECONDS = 0.7

PRELOAD = "headrace.agent.preload"


async def run_worker(identity: Identity) -> int:
    """Runs the nanny until it ends; returns the exit code."""
    channel = ControllerChannel(identity)
    try:
        enrollment = await enroll(channel, identity)
        if not enrollment.scheduler_address:
            raise NotEnrolled(f"{identity.process} of cluster {identity.cluster} was told no scheduler address")
        apply(enrollment)
        security = RenewableSecurity(certificates_of(enrollment))
        nanny = make_nanny(identity, enrollment, security)

        async def install(certificates: Certificates) -> None:
            security.renew(certificates)
            await install_in_worker(nanny, certificates)

        renewing = asyncio.create_task(keep_renewed(identity, channel, enrollment, install))
        try:
            await _until_end(nanny)
        finally:
            renewing.cancel()
        logger.info("worker %s ended", identity.process)
        return 0
    finally:
        await channel.close()


def make_nanny(identity: Identity, enrollment: pb.EnrollResponse, security: RenewableSecurity) -> Nanny:
    """What `dask worker` makes, with settings from enrolment."""
    enable_proctitle_on_current()
    enable_proctitle_on_children()
    start = warm_start() if forkserver.usable() else {}
    memory_limit: Any = enrollment.worker_memory_bytes
    lifetime = enrollment.worker_lifetime_seconds
    return Nanny(
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
        # Pages of single workers would be reached by nobody; metrics and health are served without them.
        dashboard=False,
        dashboard_address="127.0.0.1:0",
        **({"lifetime": lifetime} if lifetime else {}),
        **start,
    )


def warm_start() -> dict[str, Any]:
    """What makes worker processes start from the fork server, as arguments of `Nanny`.

    Such a process has the environment and the process group of the fork server at first; it takes over the nanny's.
    """
    dask.config.set({"distributed.worker.multiprocessing-method": "forkserver", PROCESS_GROUP: os.getpgrp()})
    preload, argv = preloads_after(
        PRELOAD, dask.config.get("distributed.worker.preload"), dask.config.get("distributed.worker.preload-argv")
    )
    return {"env": dict(os.environ), "preload": preload, "preload_argv": argv}


def preloads_after(
    first: str, preload: str | Sequence[str], argv: Sequence[str] | Sequence[Sequence[str]]
) -> tuple[list[str], list[Sequence[str]]]:
    """Puts a preload before others, which come in any of the forms that Dask takes."""
    names = [preload] if isinstance(preload, str) else list(preload)
    strings = [word for word in argv if isinstance(word, str)]
    arguments = [strings] * len(names) if strings or not argv else [a for a in argv if not isinstance(a, str)]
    return [first, *names], [[], *arguments]


async def _until_end(nanny: Nanny) -> None:
    signalled = asyncio.create_task(signals.wait_for_end())
    running = asyncio.create_task(_run(nanny))
    try:
        await asyncio.wait((signalled, running), return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        else:
            await nanny.close(timeout=_CLOSE_SECONDS, reason=signalled.result())
    finally:
        signalled.cancel()
        running.cancel()


async def _run(nanny: Nanny) -> None:
    await nanny
    await nanny.finished()
