"""Enrolment: a process shows its token and gets its certificate and settings."""

from __future__ import annotations

import asyncio
import logging
import platform
import time
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version

import grpc

from headrace._wire.status import from_rpc_error
from headrace.agent.backoff import delays
from headrace.agent.channel import ControllerChannel
from headrace.agent.identity import SCHEDULER, Identity
from headrace.errors import HeadraceError
from headrace.internal.v1 import agent_service_pb2 as pb

logger = logging.getLogger("headrace.agent")

# The controller may be restarting; a process that cannot enrol for so long is better started anew.
GIVE_UP_SECONDS = 60.0
_CALL_SECONDS = 10.0
_TEMPORARY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class NotEnrolled(Exception):
    """The controller refused this process, or could not be reached for too long."""


@cache
def versions() -> dict[str, str]:
    """Versions of what a process consists of."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("dask", "distributed", "headrace")},
    }


async def enroll(channel: ControllerChannel, identity: Identity, give_up: float = GIVE_UP_SECONDS) -> pb.EnrollResponse:
    """Enrols; repeats while the controller is away, at most for `give_up` seconds."""
    role = pb.PROCESS_ROLE_SCHEDULER if identity.role == SCHEDULER else pb.PROCESS_ROLE_WORKER
    request = pb.EnrollRequest(role=role, process=identity.process, versions=versions())
    end = time.monotonic() + give_up
    waits = delays()
    while True:
        try:
            return await channel.stub.Enroll(request, metadata=channel.metadata, timeout=_CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            await _wait_or_raise(error, identity, waits, end)


async def _wait_or_raise(error: grpc.aio.AioRpcError, identity: Identity, waits: Iterator[float], end: float) -> None:
    reason: HeadraceError = from_rpc_error(error, f"enrolling at {identity.endpoint}")
    wait = next(waits)
    if error.code() not in _TEMPORARY or time.monotonic() + wait > end:
        raise NotEnrolled(f"{identity.process} of cluster {identity.cluster} cannot enrol: {reason.message}") from error
    logger.info("waiting for the controller: %s", reason.message)
    await asyncio.sleep(wait)
