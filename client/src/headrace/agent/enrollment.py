"""Enrolment: a process sends its token and receives its certificate, settings and credential.

The credential replaces the token, which is good for one enrolment; certificate and credential are renewed together.
"""

from __future__ import annotations

import asyncio
import logging
import platform
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import cache
from importlib.metadata import version
from secrets import token_hex

import grpc

from headrace._wire.status import from_rpc_error
from headrace.agent.channel import ControllerChannel
from headrace.agent.identity import SCHEDULER, Identity
from headrace.agent.tls import Certificates, certificates_of
from headrace.backoff import delays
from headrace.errors import HeadraceError, StoreUnavailable, TooManyRequests
from headrace.internal.v1 import agent_service_pb2 as pb
from headrace.stopwatch import Stopwatch

logger = logging.getLogger("headrace.agent")

# A restarting controller answers sooner; a process that reaches none for longer ends, and is launched again.
GIVE_UP_SECONDS = 60.0
_CALL_SECONDS = 10.0
TEMPORARY = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)

# Share of its lifetime after which a certificate is renewed; the rest bridges the absence of controllers.
_RENEWED_AFTER = 2 / 3
_RENEWAL_RETRY_SECONDS = 60.0


class NotEnrolled(Exception):
    """The controller refused this process, or could not be reached for too long."""


@cache
def versions() -> dict[str, str]:
    """Returns the versions to report to the controller, by name."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("dask", "distributed", "headrace")},
    }


async def enroll(channel: ControllerChannel, identity: Identity, give_up: float = GIVE_UP_SECONDS) -> pb.EnrollResponse:
    """Enrols; retries while the controller is away, for at most `give_up` seconds.

    A controller that answers, and cannot enrol anybody now because its store or its platform is away, decides by itself
    how long this process is waited for.
    """
    role = pb.PROCESS_ROLE_SCHEDULER if identity.role == SCHEDULER else pb.PROCESS_ROLE_WORKER
    # A repetition, because an answer was lost, is told from another process's try by the nonce.
    request = pb.EnrollRequest(role=role, process=identity.process, versions=versions(), nonce=token_hex(16))
    end = time.monotonic() + give_up
    tries = delays(0.05, 2.0)
    while True:
        try:
            enrollment = await channel.stub.Enroll(request, metadata=channel.metadata, timeout=_CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            if await _pause_or_raise(error, identity, tries, end):
                end = time.monotonic() + give_up
        else:
            if enrollment.credential:
                channel.authenticate(enrollment.credential)
            return enrollment


async def _pause_or_raise(error: grpc.aio.AioRpcError, identity: Identity, tries: Iterator[float], end: float) -> bool:
    """Returns whether a controller has asked to try again; raises if that is no use, or `end` has come without one."""
    reason: HeadraceError = from_rpc_error(error, f"enrolling at {identity.endpoint}")
    pause = max(next(tries), reason.retry_after if isinstance(reason, TooManyRequests) else 0.0)
    asked = isinstance(reason, StoreUnavailable)
    if error.code() not in TEMPORARY or not (asked or time.monotonic() + pause <= end):
        raise NotEnrolled(f"{identity.process} of cluster {identity.cluster} cannot enrol: {reason.message}") from error
    logger.info("waiting for the controller: %s", reason.message)
    await asyncio.sleep(pause)
    return asked


async def keep_renewed(
    identity: Identity,
    channel: ControllerChannel,
    enrollment: pb.EnrollResponse,
    install: Callable[[Certificates], Awaitable[None]],
) -> None:
    """Enrols again before the certificate expires and installs the new one; runs until cancelled."""
    while enrollment.HasField("expire_time"):
        await Stopwatch().wait_until(seconds_to_renewal(enrollment, time.time()))
        try:
            enrollment = await enroll(channel, identity)
            await install(certificates_of(enrollment))
        except (NotEnrolled, OSError) as error:
            # Existing connections keep working.
            logger.warning("the certificate could not be renewed, retrying: %s", error)
            await asyncio.sleep(_RENEWAL_RETRY_SECONDS)
        else:
            logger.info("the certificate was renewed")


def seconds_to_renewal(enrollment: pb.EnrollResponse, now: float) -> float:
    """Returns the time until the renewal; it differs between processes, as they all start together."""
    remaining = enrollment.expire_time.ToMicroseconds() / 1e6 - now
    return max(0.0, remaining * _RENEWED_AFTER * random.uniform(0.9, 1.0))  # noqa: S311 spreads load
