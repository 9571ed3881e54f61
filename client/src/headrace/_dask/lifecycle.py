"""The life of a cluster in a user's process: it is created or found, used, and closed once."""

from __future__ import annotations

import asyncio
import inspect
import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from distributed import Client
from distributed.core import Status, rpc

from headrace._dask import comm
from headrace._dask.cluster_report import to_share
from headrace._dask.culling_notices import CullingNotices
from headrace._dask.dashboard_link import DashboardLink
from headrace._dask.scheduler_access import SchedulerAccess
from headrace._dask.security import GatewaySecurity
from headrace._dask.session import Session
from headrace._dask.specification import keep_seconds
from headrace._dask.worker_feed import WorkerFeed
from headrace._target import config
from headrace._wire import calls, culling_calls
from headrace._wire.connection import Connection
from headrace._wire.creating import Wanted, get_or_create
from headrace._wire.watch import wait_until_running
from headrace._wire.words import word
from headrace.access import Share
from headrace.errors import HeadraceError, KeepRefused
from headrace.v1 import cluster_pb2
from headrace.v1.cluster_service_pb2 import WatchClustersResponse

logger = logging.getLogger("distributed.client")

STOP_SECONDS = 10.0
_FEED_DELAY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Existing:
    """A cluster to find, by id or alias."""

    name: str


class Lifecycle:
    """Starts, follows and closes a cluster. All coroutines run on the session's loop.

    Parameters
    ----------
    session
        Loop and connection, closed together with this.
    origin
        The cluster to create (or to find by its alias), or the cluster to find.
    shutdown_on_close
        Whether `close` stops the cluster. None: only if `start` created it.
    timeout
        Seconds for the start. None: ``headrace.timeouts.start``.
    report
        Called with sentences about what the start waits for.

    Attributes
    ----------
    status
        created, starting, running, closing or closed.
    name
        Id of the cluster, or "?" while it is unknown.
    created
        Whether this created the cluster, as opposed to having found it.
    scaling
        "Adaptive" or "Manual", by worker group.
    resource_version, shares
        Version and shares of the cluster as last seen.
    usage
        What it had used and what it was promised, as last seen.
    waiting
        How many of its workers waited for room, as last seen.
    ended
        "stopped" or "failed" once the cluster was seen to have ended, else "".
    clients
        Dask clients to be closed first.
    notices
        Tell the user before the cluster is given back.
    """

    def __init__(
        self,
        session: Session,
        origin: Wanted | Existing,
        *,
        shutdown_on_close: bool | None,
        timeout: float | str | None,
        report: Callable[[str], None],
    ) -> None:
        self.status = Status.created
        self.name = "?"
        self.created = False
        self.shutdown_on_close = shutdown_on_close
        self.scheduler_address = ""
        self.scaling: dict[str, str] = {}
        self.resource_version = ""
        self.shares: tuple[Share, ...] = ()
        self.usage = cluster_pb2.ClusterUsage()
        self.waiting = 0
        self.ended = ""
        self.scheduler: rpc | None = None
        self.feed: WorkerFeed | None = None
        self.dashboard: DashboardLink | None = None
        self.clients: weakref.WeakSet[Client] = weakref.WeakSet()
        self.notices = CullingNotices(seen=self._note_seen)
        self._session = session
        self._origin = origin
        self._report = report
        self._timeout = config.get_seconds("timeouts.start") if timeout is None else config.seconds(timeout, "timeout")
        self._access = SchedulerAccess(
            lambda: session.connection,
            session.asyncio_loop,
            given_up=self._end_clients,
            mode=session.target.connect,
        )
        self.security = GatewaySecurity(self._access)
        self._ending = set[asyncio.Task[None]]()
        self._starting: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def away_seconds(self) -> float | None:
        """Seconds since the way to the scheduler is interrupted, None if it is not."""
        return self._access.absences.seconds

    @property
    def scheduler_info(self) -> dict[str, Any]:
        """What the scheduler reports about itself and its workers."""
        return self.feed.info if self.feed is not None else {"workers": {}}

    async def start(self) -> None:
        """Start, and wait until the cluster can be used; further callers wait for the first.

        If it fails or is cancelled, this is closed, and a cluster that it created is stopped.
        """
        if self._starting is not None:
            await asyncio.shield(self._starting)
            return
        self._starting = asyncio.ensure_future(self._start_once())
        try:
            await self._starting
        except BaseException:
            await self.close()
            raise

    async def close(self, shutdown: bool | None = None) -> None:
        """Close, once; a caller that stops waiting does not stop it.

        Parameters
        ----------
        shutdown
            Whether to stop the cluster. Default: `shutdown_on_close`.
        """
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close_once(shutdown))
        await asyncio.shield(self._closing)

    def note(self, cluster: cluster_pb2.Cluster) -> cluster_pb2.Cluster:
        """Remember the cluster as last seen, so that later reads are at least as new."""
        self.resource_version = cluster.resource_version
        self.shares = tuple(map(to_share, cluster.shares))
        self.usage = cluster.status.usage
        self.waiting = calls.waiting_workers(cluster)
        self.scaling = {
            group.name: "Adaptive" if group.HasField("adapt") else "Manual" for group in cluster.spec.worker_groups
        }
        return cluster

    def _note_seen(self, cluster: cluster_pb2.Cluster) -> None:
        if cluster.status.phase in calls.ENDED:
            self.ended = word(cluster_pb2.Phase.DESCRIPTOR, cluster.status.phase).lower()
        usage = cluster.status.usage
        if usage.as_of.ToMilliseconds() >= self.usage.as_of.ToMilliseconds():
            self.usage = usage
            self.waiting = calls.waiting_workers(cluster)

    async def keep(self, hours: float) -> datetime:
        """Put culling of the cluster off; return the time until which it is."""
        kept = self.note(await culling_calls.keep(self._session.connection, self.name, keep_seconds(hours)))
        return kept.spec.keep_until_time.ToDatetime(tzinfo=UTC)

    async def keep_up_to(self, hours: float) -> datetime:
        """Put culling of the cluster off for this long, or for as long as the policy allows."""
        try:
            return await self.keep(hours)
        except KeepRefused as refused:
            # What is allowed may end at a fixed time, which has come nearer until the server is asked again.
            seconds = int(refused.details.get("seconds", 0)) - 1
            if seconds <= 0:
                raise
            return await self.keep(seconds / 3600)

    async def _start_once(self) -> None:
        self.status = Status.starting
        connection = self._session.connection
        cluster = await self._get(connection)
        self.name = self._access.cluster = calls.cluster_id(cluster.name)
        cluster = await self._wait_until_usable(connection, cluster)
        self._use(connection, cluster)
        if self._session.asynchronous and self.dashboard is not None:
            await self.dashboard.refresh()  # a property cannot wait for it
        assert self.feed is not None
        if self.created:
            # A new cluster has no workers: to follow them must not delay its first client, nor other clusters.
            self.feed.start_later(_FEED_DELAY_SECONDS)
        else:
            await self.feed.start()

    async def _get(self, connection: Connection) -> cluster_pb2.Cluster:
        if isinstance(self._origin, Existing):
            return await calls.find(connection, self._origin.name)
        cluster, self.created = await get_or_create(connection, self._origin, self._timeout)
        if self.shutdown_on_close is None:
            self.shutdown_on_close = self.created
        return cluster

    async def _wait_until_usable(self, connection: Connection, cluster: cluster_pb2.Cluster) -> cluster_pb2.Cluster:
        # Without a direct way there is no address to wait for: fetch the certificate while the scheduler starts.
        early = asyncio.ensure_future(self._access.ready()) if self._access.mode == "proxied" else None
        try:
            cluster = await wait_until_running(connection, cluster, self._observe, self._timeout)
            if early is not None:
                await early
        finally:
            if early is not None:
                early.cancel()
        return cluster

    def _end_clients(self, reason: HeadraceError) -> None:
        """Close the Dask clients, as there is nothing to connect to: alone they would try for half a minute."""
        for client in list(self.clients):
            if client.status == "connecting":
                self._access.absences.give_up(str(reason))
                task = asyncio.ensure_future(_close(client))
                self._ending.add(task)
                task.add_done_callback(self._ending.discard)

    def _observe(self, step: WatchClustersResponse) -> None:
        if step.HasField("cluster"):
            self._report(step.cluster.status.message)
        elif step.event.severity > cluster_pb2.SEVERITY_INFO:
            # Informational events repeat what the message of the status says.
            self._report(step.event.message)

    def _use(self, connection: Connection, cluster: cluster_pb2.Cluster) -> None:
        comm.register()
        self.scheduler_address = f"{connection.target.proxy_address}/{self.name}"
        self.scheduler = rpc(self.scheduler_address, connection_args=self.security.get_connection_args("client"))
        self.feed = WorkerFeed(self.scheduler, self._access.ready)
        self.dashboard = DashboardLink(connection, self.name, cluster.status.dashboard_path)
        self.notices.start_later(connection, cluster.name)
        self.note(cluster)
        self.status = Status.running

    async def _close_once(self, shutdown: bool | None) -> None:
        self.status = Status.closing
        await self._end_start()
        for client in list(self.clients):
            await _close(client)
        if self.feed is not None:
            await self.feed.close()
        await self.notices.close()
        if self._must_stop(shutdown):
            await self._stop()
        self.status = Status.closed
        await self._session.cleanup()

    async def _end_start(self) -> None:
        starting = self._starting
        if starting is None or starting is asyncio.current_task():
            return
        if not starting.cancelling():
            starting.cancel()
        await asyncio.wait([starting])

    def _must_stop(self, shutdown: bool | None) -> bool:
        if self.name == "?":
            return False
        if shutdown is not None:
            return shutdown
        # A start that fails must not stop a cluster that it only found.
        return bool(self.shutdown_on_close) and (self.created or self.feed is not None)

    async def _stop(self) -> None:
        try:
            await calls.stop(self._session.connection, self.name, STOP_SECONDS)
        except HeadraceError as error:
            logger.warning(
                "cluster %s could not be stopped and may still run: %s; stop it with `headrace clusters stop %s`",
                self.name,
                error,
                self.name,
            )


async def _close(client: Client) -> None:
    closing: object = client.close()
    if inspect.isawaitable(closing):
        await closing
