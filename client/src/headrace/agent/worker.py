"""A worker: Dask's nanny in this process, and the worker process that it supervises."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from distributed import Nanny

from headrace.agent import signals
from headrace.agent.channel import ControllerChannel
from headrace.agent.enrollment import NotEnrolled, enroll, keep_renewed
from headrace.agent.identity import Identity
from headrace.agent.nanny import make_nanny
from headrace.agent.settings import apply
from headrace.agent.tls import Certificates, RenewableSecurity, certificates_of, install_in_worker

logger = logging.getLogger("headrace.agent")

# Backends send SIGTERM, and kill one second later at the earliest.
_CLOSE_SECONDS = 0.7


async def run_worker(identity: Identity) -> int:
    """Runs the nanny until it ends; returns the exit code."""
    channel = ControllerChannel(identity)
    try:
        enrollment = await enroll(channel, identity)
        if not enrollment.scheduler_address:
            raise NotEnrolled(f"{identity.process} of cluster {identity.cluster} got no address of its scheduler")
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


async def _until_end(nanny: Nanny) -> None:
    signalled = asyncio.create_task(signals.wait_for_end())
    running = asyncio.create_task(_run(nanny))
    try:
        await asyncio.wait((signalled, running), return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        else:
            # A worker process that does not end in time ends with this one.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await nanny.close(timeout=_CLOSE_SECONDS, reason=signalled.result())
    finally:
        signalled.cancel()
        running.cancel()


async def _run(nanny: Nanny) -> None:
    await nanny
    await nanny.finished()
