"""Following a cluster while it starts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from headrace import errors
from headrace._dask.report import end_reason
from headrace._wire.connection import Connection
from headrace.v1 import cluster_pb2, cluster_service_pb2

_RUNNING = cluster_pb2.PHASE_RUNNING
_ENDED = {cluster_pb2.PHASE_STOPPED, cluster_pb2.PHASE_FAILED}
_LOG_SECONDS = 2.0


async def wait_until_running(
    connection: Connection, cluster: cluster_pb2.Cluster, say: Callable[[str], None], timeout: float
) -> cluster_pb2.Cluster:
    """Returns the cluster when it runs; tells meanwhile what happens to it.

    Raises
    ------
    ClusterFailed
        It will not run; with the reason and the log's tail.
    DeadlineExceeded
        It does not run in time. It is left as it is.
    """
    say(cluster.status.message)
    if cluster.status.phase == cluster_pb2.PHASE_STOPPED:
        raise _has_ended(cluster)
    if cluster.status.phase not in {_RUNNING, cluster_pb2.PHASE_FAILED}:
        cluster = await _follow(connection, cluster, say, timeout)
    if cluster.status.phase != _RUNNING:
        raise _end_of(cluster)
    return cluster


async def _follow(
    connection: Connection, cluster: cluster_pb2.Cluster, say: Callable[[str], None], timeout: float
) -> cluster_pb2.Cluster:
    """Returns the cluster when it runs, or when it is certain that it will not."""
    last = cluster
    try:
        async with asyncio.timeout(timeout) as limit, aclosing(_changes(connection, cluster, say)) as changes:
            async for last in changes:
                if last.status.phase == _RUNNING or last.status.phase in _ENDED:
                    break
                if last.status.phase == cluster_pb2.PHASE_STOPPING:
                    # Its end is certain; the tail of the log that says why comes with the very end.
                    limit.reschedule(asyncio.get_running_loop().time() + _LOG_SECONDS)
    except TimeoutError:
        if last.status.phase != cluster_pb2.PHASE_STOPPING:
            raise errors.DeadlineExceeded(_too_late(last, timeout)) from None
    return last


async def _changes(
    connection: Connection, cluster: cluster_pb2.Cluster, say: Callable[[str], None]
) -> AsyncGenerator[cluster_pb2.Cluster, None]:
    async with aclosing(_steps(connection, cluster.name)) as steps:
        async for step in steps:
            match step.WhichOneof("step"):
                case "event":
                    # What goes as it should, the message of the status tells as well: what the cluster waits for.
                    if step.event.severity > cluster_pb2.SEVERITY_INFO:
                        say(step.event.message)
                case "cluster":
                    say(step.cluster.status.message)
                    yield step.cluster
                case "removed":
                    raise errors.ClusterNotFound(f"{cluster.name} was removed while it started")
                case _:
                    pass


async def _steps(connection: Connection, name: str) -> AsyncGenerator[cluster_service_pb2.WatchClustersResponse, None]:
    """Watches without end: goes on elsewhere, from the same point, when a server drains or breaks off."""
    request = cluster_service_pb2.WatchClustersRequest(name=name, include_events=True)
    doing = f"watching {name}"
    while True:
        try:
            async with aclosing(connection.stream(connection.clusters.WatchClusters, request, doing=doing)) as steps:
                async for step in steps:
                    request.resume_token = step.resume_token or request.resume_token
                    yield step
        except errors.ResumeTokenTooOld:
            request.resume_token = ""
        except (errors.StoreUnavailable, errors.Draining, errors.Unreachable):
            pass
        await asyncio.sleep(0.2)


def _end_of(cluster: cluster_pb2.Cluster) -> errors.HeadraceError:
    status = cluster.status
    reason = end_reason(status.reason)
    name = cluster.name.partition("/")[2]
    if status.phase != cluster_pb2.PHASE_FAILED and reason in {"", "USER"}:
        return errors.ClusterEnded(f"cluster {name} was stopped while it started")
    why = status.message or "no reason was given"
    return errors.ClusterFailed(f"cluster {name} failed: {why}", {"reason": reason}, log_tail=status.log_tail)


def _has_ended(cluster: cluster_pb2.Cluster) -> errors.HeadraceError:
    reason = end_reason(cluster.status.reason)
    why = f" ({reason}): {cluster.status.message}" if cluster.status.message else ""
    return errors.ClusterEnded(f"cluster {cluster.name.partition('/')[2]} has ended{why}", {"reason": reason})


def _too_late(cluster: cluster_pb2.Cluster, timeout: float) -> str:
    waits = f" It waits: {cluster.status.message}" if cluster.status.message else ""
    return (
        f"cluster {cluster.name.partition('/')[2]} does not run after {timeout:.3g} s.{waits} "
        "Give more time with timeout= or headrace.timeouts.start"
    )
