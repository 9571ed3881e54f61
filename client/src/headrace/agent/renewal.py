"""Certificates are renewed while the process runs."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable

from headrace.agent.channel import ControllerChannel
from headrace.agent.enroll import NotEnrolled, enroll
from headrace.agent.identity import Identity
from headrace.agent.tls import Certificates, certificates_of
from headrace.internal.v1 import agent_service_pb2 as pb

logger = logging.getLogger("headrace.agent")

# Renewed when so much of the lifetime is over; the rest is for controllers that are away.
_SHARE_OF_LIFETIME = 2 / 3
_RETRY_SECONDS = 60.0


async def keep_renewed(
    identity: Identity,
    channel: ControllerChannel,
    enrollment: pb.EnrollResponse,
    install: Callable[[Certificates], Awaitable[None]],
) -> None:
    """Enrols again before the certificate expires and installs the new one, for ever."""
    while enrollment.HasField("expire_time"):
        await asyncio.sleep(seconds_to_renewal(enrollment, time.time()))
        try:
            enrollment = await enroll(channel, identity)
            await install(certificates_of(enrollment))
        except (NotEnrolled, OSError) as error:
            # What runs goes on with the connections that it has.
            logger.warning("the certificate could not be renewed, trying again: %s", error)
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            logger.info("the certificate was renewed")


def seconds_to_renewal(enrollment: pb.EnrollResponse, now: float) -> float:
    """Somewhat different for each process, as they were all started together."""
    remaining = enrollment.expire_time.ToMicroseconds() / 1e6 - now
    return max(0.0, remaining * _SHARE_OF_LIFETIME * random.uniform(0.9, 1.0))  # noqa: S311 spreads load
