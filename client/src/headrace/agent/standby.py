"""A process in standby: it has everything imported, belongs to nobody, and waits until it is given to a cluster.

``python -m headrace.agent --standby`` gets a whole identity but for cluster, process and generation, which are empty.
No code of a user has run in it, and none of an earlier cluster: it becomes one process, once.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import FrameType

import grpc.aio

from headrace._wire.status import from_rpc_error
from headrace.agent import forkserver, process, signals, spawn_environment, warm_up
from headrace.agent.channel import ControllerChannel
from headrace.agent.enrollment import TEMPORARY, NotEnrolled, versions
from headrace.agent.identity import SCHEDULER, WORKER, Identity, keep_token
from headrace.backoff import delays
from headrace.internal.v1 import agent_service_pb2 as pb

logger = logging.getLogger("headrace.agent")

_TERMINATED = 128 + signal.SIGTERM
_ROLES = {pb.PROCESS_ROLE_SCHEDULER: SCHEDULER, pb.PROCESS_ROLE_WORKER: WORKER}
# Arrow's allocator would start a thread, which no forked process inherits.
_FOR_FORKS = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}


def run() -> int:
    """Prepares the process of the environment, waits for its cluster, and runs it until it ends; returns the code."""
    identity = Identity.from_environment(os.environ)
    if identity.role == WORKER:
        spawn_environment.execute_with({**_FOR_FORKS, **forkserver.pre_spawn_environment()})
    read_token = keep_token(os.environ)
    signal.signal(signal.SIGTERM, _end)  # the first process of a container has no default for it
    _prepare(identity.role)

    async def assigned() -> process.Assigned | None:
        return await until_ended(wait_for_cluster(identity, read_token))

    return process.run(identity, assigned)


async def wait_for_cluster(identity: Identity, read_token: Callable[[], str]) -> process.Assigned:
    """Waits on a stream until the process is given to a cluster; returns what it is from then on.

    It goes on with the same connection: the controller at its end knows of the cluster, while others may hear of it
    later. The token is read again for each stream, since its platform renews it.
    """
    tries = delays(0.1, 5.0)
    while True:
        identity = replace(identity, token=read_token())
        channel = ControllerChannel(identity)
        try:
            async for response in channel.stub.Standby(
                pb.StandbyRequest(versions=versions()), metadata=channel.metadata
            ):
                tries = delays(0.1, 5.0)
                if response.cluster:
                    identity = _become(identity, response, read_token())
                    channel.authenticate(identity.token)
                    return identity, channel
            logger.info("the stream has ended; opening another one")
        except grpc.aio.AioRpcError as error:
            reason = from_rpc_error(error, f"waiting in standby at {identity.endpoint}")
            if error.code() not in TEMPORARY:
                raise NotEnrolled(f"this process cannot wait in standby: {reason.message}") from error
            logger.info("waiting for the controller: %s", reason.message)
        finally:
            if not identity.cluster:
                await channel.close()
        await asyncio.sleep(next(tries))


def _become(identity: Identity, response: pb.StandbyResponse, token: str) -> Identity:
    if _ROLES.get(response.role) != identity.role:
        raise NotEnrolled(f"this process is prepared as a {identity.role}, and was given another role")
    logger.info("becoming %s of cluster %s", response.process, response.cluster)
    return replace(
        identity, cluster=response.cluster, process=response.process, generation=response.generation, token=token
    )


async def until_ended(waiting: Awaitable[process.Assigned]) -> process.Assigned | None:
    """Returns None if the process is told to end first, or at the same moment: nobody says it again."""
    assignment = asyncio.ensure_future(waiting)
    signalled = asyncio.create_task(signals.wait_for_end())
    try:
        await asyncio.wait((assignment, signalled), return_when=asyncio.FIRST_COMPLETED)
        return None if signalled.done() else assignment.result()
    finally:
        for task in (assignment, signalled):
            task.cancel()
        await asyncio.gather(assignment, signalled, return_exceptions=True)


def _prepare(role: str) -> None:
    """Imports everything and rehearses; a worker's process gets a fork server, before there is any thread."""
    for _ in warm_up.preload():
        pass
    gc.collect()
    gc.freeze()
    if role == WORKER:
        forkserver.start_own()
    warm_up.standby()


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(_TERMINATED)
