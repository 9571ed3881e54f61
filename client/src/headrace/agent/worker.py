"""A worker: Dask's nanny in this process, and the worker process that it supervises."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

from distributed import Nanny

from headrace.agent import signals
from headrace.agent.channel import ControllerChannel
from headrace.agent.enrollment import NotEnrolled, enroll, keep_renewed
from headrace.agent.grace import grace_seconds, hands_over, usable_seconds
from headrace.agent.identity import Identity
from headrace.agent.leaving import hand_over
from headrace.agent.nanny import make_nanny
from headrace.agent.settings import apply
from headrace.agent.tls import Certificates, RenewableSecurity, certificates_of, install_in_worker

logger = logging.getLogger("headrace.agent")

# What a nanny needs to close when its worker has handed everything over.
_CLOSE_SECONDS = 0.7


async def run_worker(identity: Identity, channel: ControllerChannel) -> int:
    """Runs the nanny until it ends; returns the exit code."""
    grace = grace_seconds()
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
        await _until_end(nanny, grace)
    finally:
        renewing.cancel()
    logger.info("worker %s ended", identity.process)
    return 0


async def _until_end(nanny: Nanny, grace: float) -> None:
    signalled = asyncio.create_task(signals.wait_for_end())
    running = asyncio.create_task(_run(nanny))
    try:
        await asyncio.wait((signalled, running), return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        else:
            await _leave(nanny, running, grace, reason=signalled.result())
    finally:
        signalled.cancel()
        running.cancel()


async def _leave(nanny: Nanny, running: asyncio.Task[None], grace: float, *, reason: str) -> None:
    """Ends in the time that is left. A worker process that does not end by then ends with this one."""
    end = time.monotonic() + usable_seconds(grace)
    if hands_over(grace):
        logger.info("%s: this worker leaves", reason)
        leaving = asyncio.create_task(hand_over(nanny, end - _CLOSE_SECONDS - time.monotonic()))
        # The scheduler may say meanwhile that the worker ends.
        await asyncio.wait((leaving, running), return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
    with contextlib.suppress(TimeoutError):
        left = min(_CLOSE_SECONDS, end - time.monotonic())
        async with asyncio.timeout(left):
            await nanny.close(timeout=left, reason=reason)


async def _run(nanny: Nanny) -> None:
    await nanny
    await nanny.finished()
