"""Watching a cluster: until it runs, until it ends, and its events as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from headrace import errors
from headrace._wire import calls
from headrace._wire.calls import ENDED, cluster_id
from headrace._wire.connection import Connection
from headrace._wire.resuming import resume
from headrace._wire.words import word
from headrace.v1 import cluster_pb2, cluster_service_pb2
from headrace.v1.cluster_service_pb2 import WatchClustersRequest, WatchClustersResponse

_LOG_SECONDS = 2.0
_PAUSE_SECONDS = 0.1


async def watch_cluster(connection: Connection, name: str) -> AsyncGenerator[WatchClustersResponse, None]:
    """Yield states and events of a cluster without end (WatchClusters). No event comes twice.

    It resumes where it was when a server drains or the connection breaks.

    Raises
    ------
    ClusterNotFound
        The cluster's record was deleted.
    """
    request = WatchClustersRequest(name=name, view=cluster_service_pb2.CLUSTER_VIEW_FULL, include_events=True)
    method, seen = connection.clusters.WatchClusters, set[str]()
    while True:
        try:
            async with aclosing(resume(connection, method, request, _remember, doing=f"watching {name}")) as steps:
                async for step in steps:
                    if step.HasField("removed"):
                        raise errors.ClusterNotFound(f"the record of cluster {cluster_id(name)} was deleted")
                    if step.event.name not in seen or not step.HasField("event"):
                        yield step
                    seen.add(step.event.name)
        except errors.ResumeTokenTooOld:
            request.resume_token = ""
        await asyncio.sleep(_PAUSE_SECONDS)


async def wait_until_running(
    connection: Connection,
    cluster: cluster_pb2.Cluster,
    observe: Callable[[WatchClustersResponse], None],
    timeout: float | None = None,
) -> cluster_pb2.Cluster:
    """Return the cluster once it runs.

    Parameters
    ----------
    cluster
        The cluster as last seen.
    observe
        Called with each state and each event until then.
    timeout
        Seconds to wait. Default: no limit.

    Raises
    ------
    ClusterFailed
        It failed; with the reason and the last lines of the log.
    ClusterEnded
        It was stopped, or had ended before.
    ClusterNotFound
        Its record was deleted.
    DeadlineExceeded
        It does not run in time. The cluster is left unchanged.
    """
    observe(WatchClustersResponse(cluster=cluster))
    if cluster.status.phase == cluster_pb2.PHASE_STOPPED:
        raise _has_ended(cluster)
    if cluster.status.phase not in {cluster_pb2.PHASE_RUNNING, cluster_pb2.PHASE_FAILED}:
        cluster = await _until_decided(connection, cluster, observe, timeout)
    if cluster.status.phase != cluster_pb2.PHASE_RUNNING:
        raise _did_not_start(cluster)
    return cluster


async def wait_until_ended(connection: Connection, name: str) -> cluster_pb2.Cluster:
    """Return the cluster once it has ended. Raises ClusterNotFound if its record was deleted."""
    async with aclosing(watch_cluster(connection, name)) as steps:
        async for step in steps:
            if step.cluster.status.phase in ENDED:
                return step.cluster
    raise AssertionError("a watch does not end")


async def follow_events(connection: Connection, name: str) -> AsyncGenerator[cluster_pb2.ClusterEvent, None]:
    """Yield the events so far, then each new one until the cluster has ended."""
    seen = set[str]()
    async with aclosing(watch_cluster(connection, name)) as steps:
        async for step in steps:
            if step.HasField("event"):
                seen.add(step.event.name)
                yield step.event
            if step.cluster.status.phase in ENDED:
                break
    # The state may arrive before the last events.
    for event in await calls.events(connection, name):
        if event.name not in seen:
            yield event


async def _until_decided(
    connection: Connection,
    cluster: cluster_pb2.Cluster,
    observe: Callable[[WatchClustersResponse], None],
    timeout: float | None,
) -> cluster_pb2.Cluster:
    """Return the cluster once it runs, or once it is certain that it will not."""
    last = cluster
    at_first = None if cluster.status.phase == cluster_pb2.PHASE_QUEUED else timeout
    try:
        async with asyncio.timeout(at_first) as limit, aclosing(watch_cluster(connection, cluster.name)) as steps:
            async for step in steps:
                observe(step)
                if not step.HasField("cluster"):
                    continue
                before, last = last, step.cluster
                if last.status.phase == cluster_pb2.PHASE_RUNNING or last.status.phase in ENDED:
                    break
                _reschedule(limit, before.status.phase, last.status.phase, timeout)
    except TimeoutError:
        if last.status.phase != cluster_pb2.PHASE_STOPPING:
            raise errors.DeadlineExceeded(_too_late(last, timeout or 0)) from None
    return last


def _reschedule(
    limit: asyncio.Timeout,
    before: cluster_pb2.Phase.ValueType,
    phase: cluster_pb2.Phase.ValueType,
    timeout: float | None,
) -> None:
    """Moves the end of a wait as the cluster's phase calls for."""
    now = asyncio.get_running_loop().time()
    if phase == cluster_pb2.PHASE_STOPPING:
        limit.reschedule(now + _LOG_SECONDS)  # it will end; the last lines of the log come with the end
    elif phase == cluster_pb2.PHASE_QUEUED:
        limit.reschedule(None)  # the deployment says how long it may wait for room
    elif before == cluster_pb2.PHASE_QUEUED and timeout is not None:
        limit.reschedule(now + timeout)


def _remember(request: WatchClustersRequest, step: WatchClustersResponse) -> None:
    request.resume_token = step.resume_token or request.resume_token


def _did_not_start(cluster: cluster_pb2.Cluster) -> errors.HeadraceError:
    status, name = cluster.status, cluster_id(cluster.name)
    reason = word(cluster_pb2.EndReason.DESCRIPTOR, status.reason)
    if status.phase != cluster_pb2.PHASE_FAILED and reason in {"", "USER"}:
        return errors.ClusterEnded(f"cluster {name} was stopped while it started")
    why = status.message or "no reason was given"
    return errors.ClusterFailed(f"cluster {name} failed: {why}", {"reason": reason}, log_tail=status.log_tail)


def _has_ended(cluster: cluster_pb2.Cluster) -> errors.HeadraceError:
    reason = word(cluster_pb2.EndReason.DESCRIPTOR, cluster.status.reason)
    why = f" ({reason}): {cluster.status.message}" if cluster.status.message else ""
    return errors.ClusterEnded(f"cluster {cluster_id(cluster.name)} has ended{why}", {"reason": reason})


def _too_late(cluster: cluster_pb2.Cluster, timeout: float) -> str:
    waits = f" It waits: {cluster.status.message}" if cluster.status.message else ""
    return (
        f"cluster {cluster_id(cluster.name)} does not run after {timeout:.3g} s.{waits} "
        "Wait longer with timeout= or headrace.timeouts.start"
    )
