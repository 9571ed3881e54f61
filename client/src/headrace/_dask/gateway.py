"""`Gateway`: the client of headrace."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Awaitable, Generator, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any, Self

from distributed.utils import Logs, NoOpAwaitable
from tornado.ioloop import IOLoop

from headrace._dask import changes, logs, options
from headrace._dask.cluster import DEFAULT_GROUP, GatewayCluster
from headrace._dask.cluster_details import ClusterEvent, Worker
from headrace._dask.cluster_report import ClusterReport, ClusterStatus, to_phases
from headrace._dask.deployment import Profile, ServerInfo, User
from headrace._dask.faces import Asynchronous, TwoFaced, both_faces, both_iterators, returns_either
from headrace._dask.lifecycle import Existing
from headrace._dask.options import Options
from headrace._dask.scheduler_access import SchedulerAccess
from headrace._dask.security import GatewaySecurity
from headrace._dask.session import Session
from headrace._dask.specification import (
    Lifetime,
    WorkerGroups,
    adapt_range,
    share_seconds,
    wanted_cluster,
    worker_count,
    worker_group,
)
from headrace._target import config
from headrace._target.auth import GatewayAuth
from headrace._target.target import Target
from headrace._wire import auth_calls, calls, limits_calls, sharing, usage_calls
from headrace._wire.creating import get_or_create
from headrace.access import Share
from headrace.arguments import checked
from headrace.errors import StopFailed


class Gateway(TwoFaced[Asynchronous]):
    """A client of headrace.

    What is not given comes from Dask's configuration below ``headrace``. If no address is configured either, the
    `headrace up` of this machine is used.

    With ``asynchronous=True``, methods return coroutines of what they are documented to return. In annotations,
    `Gateway` is one used plainly and ``Gateway[Literal[True]]`` an asynchronous one.

    Each method may raise `Unauthenticated` (log in again), `Unreachable` (see `headrace doctor`), `DeadlineExceeded`
    (after ``headrace.timeouts.call``) and other subclasses of `GatewayServerError`.

    Parameters
    ----------
    address
        Address of headrace: ``"https://host:port"``.
    proxy_address
        Address through which schedulers are reached: ``"host:port"``, or a port of the same host. Default: `address`.
    public_address
        `address` as a web browser sees it. Default: `address`.
    auth
        How to log in: an object, a class or a name (see `get_auth`).
    asynchronous
        Whether to use it in coroutines, on the running event loop.
    loop
        Event loop of Tornado to use. Default: one in a background thread.
    tls_ca_file
        PEM file of the certificate authority of `address`.

    Raises
    ------
    InvalidRequest
        There is no address, or an argument or a setting is wrong. Whether headrace is at the address shows with the
        first call.
    Unauthenticated
        `auth` needs a token, and none is given.

    Examples
    --------
    >>> gateway = Gateway()  # doctest: +SKIP
    >>> with gateway.new_cluster(worker_memory="8 GiB") as cluster:  # doctest: +SKIP
    ...     cluster.adapt(minimum=0, maximum=40)
    ...     client = cluster.get_client()
    """

    @checked
    def __init__(  # noqa: PLR0917 - the order of dask-gateway's arguments
        self,
        address: str | None = None,
        proxy_address: str | int | None = None,
        public_address: str | None = None,
        auth: GatewayAuth | str | type[GatewayAuth] | None = None,
        asynchronous: Asynchronous = False,
        loop: IOLoop | None = None,
        *,
        tls_ca_file: str | None = None,
    ) -> None:
        target = Target.resolve(address, proxy_address, public_address, auth, tls_ca_file)
        self._session = Session(target, loop, asynchronous=asynchronous)
        self._asynchronous = asynchronous

    # The target

    @property
    def address(self) -> str:
        """Address of headrace."""
        return self._session.target.address

    @property
    def proxy_address(self) -> str:
        """Address through which schedulers are reached, as ``gateway://host:port``."""
        return self._session.target.proxy_address

    @property
    def public_address(self) -> str:
        """`address` as a web browser sees it."""
        return self._session.target.public_address

    @property
    def auth(self) -> GatewayAuth:
        """How to log in."""
        return self._session.target.auth

    @property
    def loop(self) -> IOLoop:
        """The event loop that calls are made on."""
        return self._session.loop

    def __repr__(self) -> str:
        return f"Gateway<{self.address}>"

    # Clusters

    @both_faces
    async def list_clusters(
        self,
        status: str | ClusterStatus | Iterable[str | ClusterStatus] | None = None,
        *,
        tags: Mapping[str, str] | None = None,
        profile: str | None = None,
        full: bool = False,
        shared: bool = False,
    ) -> list[ClusterReport]:
        """List your clusters, newest first (ListClusters).

        Parameters
        ----------
        status
            Only those that are "pending", "running", "stopping", "stopped" or "failed"; one or several.
            Default: pending and running.
        tags
            Only those with all of these tags.
        profile
            Only those of this profile.
        full
            Whether reports have options, conditions, versions and the tails of logs. `get_cluster` always does.
        shared
            Whether to list also those of others that you may see: shared with you or a group of yours, or of a group
            that you operate. Their `owner` says whose they are.

        Raises
        ------
        InvalidRequest
            There is no such status.
        """
        filter_ = calls.cluster_filter(phases=to_phases(status), tags=tags, profile=profile or "", shared=shared)
        found = await calls.list_clusters(self._session.connection, filter_, full=full)
        return [ClusterReport.from_proto(cluster, self._session.target) for cluster in found]

    @both_faces
    async def get_cluster(self, cluster_name: str) -> ClusterReport:
        """Report on a cluster, also for some time after its end (GetCluster).

        Parameters
        ----------
        cluster_name
            Its id, or the name that you gave to a living one.

        Raises
        ------
        ClusterNotFound
            There is no such cluster that you may see.
        """
        connection = self._session.connection
        cluster = await calls.find(connection, cluster_name)
        access = SchedulerAccess(
            lambda: connection,
            self._session.asyncio_loop,
            calls.cluster_id(cluster.name),
            mode=self._session.target.connect,
        )
        return ClusterReport.from_proto(cluster, self._session.target, GatewaySecurity(access))

    @both_faces
    async def submit(
        self,
        cluster_options: Options | Mapping[str, object] | None = None,
        *,
        name: str | None = None,
        profile: str | None = None,
        worker_groups: WorkerGroups | None = None,
        tags: Mapping[str, str] | None = None,
        lifetime: Lifetime | None = None,
        shares: Iterable[Share] | None = None,
        queue_timeout: Lifetime | None = None,
        owner: str | None = None,
        owner_groups: Iterable[str] | None = None,
        **kwargs: Any,
    ) -> str:
        """Create a cluster without waiting for it (CreateCluster); `connect` to it later.

        Parameters
        ----------
        owner
            User id to create the cluster for. Default: yourself. Other users need an admin.
        owner_groups
            Groups of that user, such as ["lab"], which decide about profiles, options, limits and budgets as if the
            user had created the cluster. Default: those of the newest of their clusters.
        cluster_options, name, profile, worker_groups, tags, lifetime, shares, queue_timeout, **kwargs
            As for `new_cluster`.

        Returns
        -------
        str
            Id of the cluster. If a living cluster has this `name`, its id.

        Raises
        ------
        InvalidRequest, QuotaExceeded, OptionsDiffer, PermissionDenied
            As for `new_cluster`.
        """
        wanted = wanted_cluster(
            cluster_options,
            kwargs,
            name=name,
            profile=profile,
            worker_groups=worker_groups,
            tags=tags,
            lifetime=lifetime,
            shares=shares,
            queue_timeout=queue_timeout,
            owner=owner,
            owner_groups=owner_groups,
        )
        cluster, _ = await get_or_create(self._session.connection, wanted)
        return calls.cluster_id(cluster.name)

    @checked
    def new_cluster(
        self,
        cluster_options: Options | Mapping[str, object] | None = None,
        shutdown_on_close: bool | None = None,
        *,
        name: str | None = None,
        profile: str | None = None,
        worker_groups: WorkerGroups | None = None,
        tags: Mapping[str, str] | None = None,
        lifetime: Lifetime | None = None,
        shares: Iterable[Share] | None = None,
        queue_timeout: Lifetime | None = None,
        timeout: float | str | None = None,
        **kwargs: Any,
    ) -> GatewayCluster[Asynchronous]:
        """Create a cluster and wait until it can be used (CreateCluster, WatchClusters).

        Ctrl-C while waiting stops the cluster, if this call created it.

        Parameters
        ----------
        cluster_options
            Options from `cluster_options`. Default: the setting ``headrace.cluster.options``.
        shutdown_on_close
            Whether the cluster ends with the returned object, at the latest with this process. Default: True if this
            call created the cluster, False if it found a cluster of this `name`.
        name
            Name for the cluster (the API calls it alias), 1 to 63 of a-z, 0-9 and "-". If you have a living cluster of
            that name, it is returned.
        profile
            Key of a profile, as listed by `profiles`. Default: the deployment's default profile.
        worker_groups
            Groups of workers with different shapes: from name to a number of workers, or to a mapping with ``size``,
            ``adapt`` (minimum, maximum) and the options that differ in this group. Default: one group, "default",
            without workers.
        tags
            Labels for cost reports.
        lifetime
            Time after which the cluster is stopped: seconds, text such as "8h", or a timedelta. Default: no maximum.
        shares
            Who else may use the cluster, and how.
        queue_timeout
            Time to wait for room, where what goes over a limit is queued: seconds, text such as "10 min", or a
            timedelta. After it the cluster fails. 0: do not wait, raise QuotaExceeded. Default: the setting
            ``headrace.timeouts.queue``.
        timeout
            Seconds to wait, or text such as "5m", without the wait in the queue. Default: the setting
            ``headrace.timeouts.start``.
        **kwargs
            Options by name, such as ``worker_memory="8 GiB"``. They override `cluster_options`.

        Returns
        -------
        GatewayCluster
            With ``asynchronous=True`` it starts when it is awaited or entered with ``async with``.

        Raises
        ------
        InvalidRequest
            An option is unknown or has a wrong value. Nothing was created.
        QuotaExceeded
            More than you may have. Nothing was created.
        OptionsDiffer
            You have a living cluster of this `name` with other options than those given. Nothing was created.
        AliasTaken
            Your cluster of this `name` is stopping and did not end in time. Nothing was created.
        ClusterFailed
            The cluster did not start; with the reason and the last lines of the log.
        ClusterEnded
            The cluster was stopped while it started.
        DeadlineExceeded
            The cluster did not start in time. If this call created it, it was stopped.
        """
        wanted = wanted_cluster(
            cluster_options,
            kwargs,
            name=name,
            profile=profile,
            worker_groups=worker_groups,
            tags=tags,
            lifetime=lifetime,
            shares=shares,
            queue_timeout=queue_timeout,
        )
        return GatewayCluster._on_session(self._session.clone(), wanted, shutdown_on_close, timeout)  # pyright: ignore[reportPrivateUsage] - a constructor that users do not need

    @checked
    def connect(
        self, cluster_name: str, shutdown_on_close: bool = False, timeout: float | str | None = None
    ) -> GatewayCluster[Asynchronous]:
        """Connect to a cluster that runs or is starting (GetCluster, WatchClusters).

        Parameters
        ----------
        cluster_name
            Its id, the name that you gave it, or owner and name of another user's, such as "ann/analysis".
        shutdown_on_close
            Whether the cluster ends with the returned object.
        timeout
            As for `new_cluster`.

        Returns
        -------
        GatewayCluster
            With ``asynchronous=True`` it connects when it is awaited or entered with ``async with``.

        Raises
        ------
        ClusterNotFound
            There is no such cluster that you may see.
        ClusterEnded, ClusterFailed
            The cluster has ended, or ends while it starts.
        DeadlineExceeded
            The cluster did not start in time. It is left unchanged.
        """
        return GatewayCluster._on_session(self._session.clone(), Existing(cluster_name), shutdown_on_close, timeout)  # pyright: ignore[reportPrivateUsage]

    @both_faces
    async def stop_cluster(self, cluster_name: str) -> None:
        """Stop a cluster (StopCluster). A cluster that has ended stays unchanged.

        Raises
        ------
        ClusterNotFound
            There is no such cluster that you may see.
        PermissionDenied
            You may see the cluster, but not stop it.
        """
        await calls.stop(self._session.connection, cluster_name)

    @both_faces
    async def stop_all(self) -> list[str]:
        """Stop all your living clusters (BatchStopClusters).

        Returns
        -------
        list of str
            Their ids.

        Raises
        ------
        StopFailed
            Some could not be stopped. The others are stopping.
        """
        answer = await calls.stop_matching(self._session.connection, calls.cluster_filter())
        stopped = [calls.cluster_id(name) for name in answer.stopped]
        if answer.failures:
            failures = {calls.cluster_id(failure.name): failure.message for failure in answer.failures}
            raise StopFailed(stopped, failures)
        return stopped

    @both_faces
    async def delete_cluster(self, cluster_name: str) -> None:
        """Delete the record, the events and the logs of an ended cluster (DeleteCluster).

        Raises
        ------
        ClusterNotFound
            There is no such cluster that you may see.
        ClusterNotEnded
            The cluster has not ended. Nothing was deleted.
        PermissionDenied
            You may see the cluster, but not delete it.
        """
        await calls.delete(self._session.connection, cluster_name)

    @both_faces
    async def usage(
        self,
        by: str | Iterable[str] = "day",
        *,
        since: date | str | None = None,
        until: date | str | None = None,
        of: str = "",
    ) -> list[dict[str, Any]]:
        """Report what was used and what it cost (ListUsage); what runs counts up to now.

        ``pandas.DataFrame(gateway.usage(["day", "profile"]))`` makes a table of it.

        Parameters
        ----------
        by
            What to sum by: "day", "month", "user", "group", "profile", "cluster", "tag" (each tag), "tag:KEY" (the
            values of one tag); one or several.
        since, until
            First and last day in UTC, as dates or as text such as "2026-11-26". Default: the first day of this month,
            and today.
        of
            Whose usage: "users/NAME", "groups/NAME" (for its operators), "clusters/ID", or "-" for everybody (for
            admins). Default: yours.

        Returns
        -------
        list of dict
            A sum each: what it is summed by; ``cluster_hours``, ``worker_hours``, ``core_hours``, ``memory_gib_hours``
            and ``gpu_hours`` that were promised; ``cost`` in ``currency``; and beside them what was really used,
            ``measured_core_hours`` and ``measured_memory_gib_hours``, in the ``measured_cluster_hours`` of it that were
            measured. These are None if nothing was measured.

        Raises
        ------
        PermissionDenied
            It is others' usage, and you are neither an operator of that group nor an admin.
        InvalidRequest
            A day or a dimension is wrong, or from before usage was kept.
        """
        dimensions = [by] if isinstance(by, str) else list(by)
        return await usage_calls.usage(self._session.connection, by=dimensions, since=since, until=until, of=of)

    @both_faces
    async def budgets(self, user: str = "") -> list[dict[str, Any]]:
        """Report the budgets that bind your clusters, and what is used of them (ListBudgets).

        Parameters
        ----------
        user
            Whose budgets. Default: yours.

        Returns
        -------
        list of dict
            One for each budget, those of the user first, then those of the user's groups: ``subject`` (such as
            ``"users/ann"``), ``period`` (``"day"``, ``"week"`` or ``"month"``), ``what`` is counted (``"cost"``,
            ``"core_hours"`` or ``"gpu_hours"``), ``currency`` (of costs), ``limit``, ``used``, ``left``,
            ``used_up_time`` (when it will be used up if what runs now goes on; None if not in this period),
            ``reset_time`` (when it begins again) and ``then``, what follows when it is used up. Times are in UTC.

        Raises
        ------
        PermissionDenied
            It is somebody else's, and you are not an admin.
        """
        found = await usage_calls.budgets(self._session.connection, user)
        return [
            {
                "subject": budget.subject,
                "period": budget.period,
                "what": budget.what,
                "currency": found.currency if budget.what == "cost" else "",
                "limit": budget.limit,
                "used": budget.used,
                "left": max(0.0, budget.limit - budget.used),
                "used_up_time": budget.used_up_time.ToDatetime(tzinfo=UTC) if budget.HasField("used_up_time") else None,
                "reset_time": budget.reset_time.ToDatetime(tzinfo=UTC),
                "then": budget.then,
            }
            for budget in found.budgets
        ]

    @both_faces
    async def limits(self, user: str = "") -> list[dict[str, Any]]:
        """Report the limits that bind your clusters, and what is promised (GetLimits).

        Parameters
        ----------
        user
            Whose limits. Default: yours.

        Returns
        -------
        list of dict
            One for each limit, in the order in which they are checked: ``subject`` (whose clusters it binds together,
            such as ``"users/ann"``; ``"clusters/-"`` is each cluster by itself), ``resource``, ``limit``, ``used`` and
            ``left``.

        Raises
        ------
        PermissionDenied
            It is somebody else's, and you are not an admin.
        """
        found = await limits_calls.limits(self._session.connection, user)
        return [
            {
                "subject": limit.subject,
                "resource": limit.resource,
                "limit": limit.limit,
                "used": limit.used,
                "left": max(0.0, limit.limit - limit.used),
            }
            for limit in found.limits
        ]

    @both_faces
    async def scale_cluster(self, cluster_name: str, n: int, group: str = DEFAULT_GROUP) -> None:
        """Ask for a number of workers, and end adaptive scaling of the group (ScaleCluster). Returns before they run.

        Parameters
        ----------
        cluster_name
            Id or name of the cluster.
        n
            Number of workers, 0 or more.
        group
            Worker group.

        Raises
        ------
        InvalidRequest
            `n` is no number of workers.
        QuotaExceeded
            More than you may have, and the deployment is set to refuse that. By default as many as you may have are
            started, with a `GatewayWarning`.
        ClusterNotFound, GroupNotFound
            There is no such cluster that you may see, or it has no such group.
        ClusterEnded
            The cluster is stopping or has ended.
        PermissionDenied
            You may see the cluster, but not scale it.
        """
        await changes.scale(self._session.connection, cluster_name, worker_count("n", n), group)

    @both_faces
    async def adapt_cluster(
        self,
        cluster_name: str,
        minimum: int | None = None,
        maximum: int | None = None,
        active: bool = True,
        group: str = DEFAULT_GROUP,
    ) -> None:
        """Let the number of workers in a group follow the load (AdaptCluster).

        Parameters
        ----------
        cluster_name
            Id or name of the cluster.
        minimum
            Minimum number of workers. Default: 0.
        maximum
            Maximum number of workers. Default: as many as your limits allow.
        active
            False ends it; the group keeps its current number of workers.
        group
            Worker group.

        Raises
        ------
        InvalidRequest
            `minimum` or `maximum` is no number of workers, or `maximum` is smaller than `minimum`.
        QuotaExceeded, ClusterNotFound, GroupNotFound, ClusterEnded, PermissionDenied
            As for `scale_cluster`.
        """
        bounds = adapt_range(minimum, maximum) if active else None
        await changes.adapt(self._session.connection, cluster_name, bounds, group)

    @both_faces
    async def update_cluster(
        self,
        cluster_name: str,
        *,
        tags: Mapping[str, str] | None = None,
        lifetime: Lifetime | None = None,
        shares: Iterable[Share] | None = None,
    ) -> None:
        """Change tags, lifetime or shares of a cluster (UpdateCluster). What is not given stays unchanged.

        Parameters
        ----------
        cluster_name
            Id or name of the cluster.
        tags
            Labels for cost reports, in place of the old ones.
        lifetime
            Time after its creation at which the cluster is stopped, as for `new_cluster`. ``math.inf`` means no
            maximum.
        shares
            Who else may use the cluster, in place of the old shares.

        Raises
        ------
        InvalidRequest
            A value is wrong. Nothing was changed.
        ClusterNotFound, ClusterEnded
            There is no such cluster that you may see, or it is stopping or has ended.
        PermissionDenied
            You may see the cluster, but not change it.

        Examples
        --------
        >>> share = Share("users/bob", frozenset({Right.CLUSTER_CONNECT}))  # doctest: +SKIP
        >>> gateway.update_cluster("analysis", shares=[share])  # doctest: +SKIP
        """
        connection = self._session.connection
        await changes.update(connection, cluster_name, tags=tags, lifetime=lifetime, shares=shares)

    @both_faces
    async def share_cluster(
        self,
        cluster_name: str,
        member: str,
        rights: str | Iterable[str] = "connect",
        *,
        until: datetime | None = None,
        for_: Lifetime | None = None,
    ) -> None:
        """Let somebody use a cluster, in place of what they might do with it before (UpdateCluster).

        When a share ends, what it has opened ends too: watches, followed logs, dashboards and Dask clients.

        Parameters
        ----------
        cluster_name
            Id or name of the cluster.
        member
            User id, ``"users/ann"`` or ``"groups/physics"``.
        rights
            One or several of "view", "connect", "scale" and "stop". Each of them includes "view". Whoever may connect
            can run any code in the cluster.
        until
            Time at which it ends, in local time if it has no time zone.
        for_
            Time after which it ends, such as "2 h". Default: it ends with the cluster.

        Raises
        ------
        InvalidRequest
            The member owns the cluster, or an argument is wrong. Nothing was changed.
        ClusterNotFound, ClusterEnded, PermissionDenied
            As for `update_cluster`.

        Examples
        --------
        >>> gateway.share_cluster("analysis", "ann")  # doctest: +SKIP
        >>> gateway.share_cluster("analysis", "groups/physics", "view", for_="2 h")  # doctest: +SKIP
        """
        end = sharing.end_of(until, share_seconds(for_))
        await sharing.share(self._session.connection, cluster_name, member, rights, end)

    @both_faces
    async def unshare_cluster(self, cluster_name: str, member: str) -> None:
        """Take somebody's rights on a cluster away (UpdateCluster).

        Raises
        ------
        InvalidRequest
            The cluster is not shared with them. Nothing was changed.
        ClusterNotFound, ClusterEnded, PermissionDenied
            As for `update_cluster`.
        """
        await sharing.unshare(self._session.connection, cluster_name, member)

    @both_faces
    async def add_worker_group(
        self,
        cluster_name: str,
        group: str,
        size: int = 0,
        *,
        adapt: tuple[int, int | None] | None = None,
        **kwargs: Any,
    ) -> None:
        """Add a worker group to a cluster (UpdateCluster).

        Parameters
        ----------
        cluster_name
            Id or name of the cluster.
        group
            Name of the new group: 1 to 63 of a-z, 0-9 and "-".
        size
            Number of workers.
        adapt
            (minimum, maximum) of adaptive scaling. Default: the size is fixed.
        **kwargs
            Options that differ from the cluster's, such as ``worker_memory="64 GiB"``.

        Raises
        ------
        InvalidRequest
            The cluster has a group of that name, or a value is wrong. Nothing was changed.
        QuotaExceeded
            More than you may have. Nothing was changed.
        ClusterNotFound, ClusterEnded, PermissionDenied
            As for `update_cluster`.
        """
        new = worker_group(group, {"size": size, "adapt": adapt, "options": kwargs})
        await changes.add_worker_group(self._session.connection, cluster_name, new)

    @both_faces
    async def remove_worker_group(self, cluster_name: str, group: str) -> None:
        """Remove a worker group with its workers from a cluster (UpdateCluster).

        Raises
        ------
        GroupNotFound
            The cluster has no such group.
        InvalidRequest
            It is the last group of the cluster.
        ClusterNotFound, ClusterEnded, PermissionDenied
            As for `update_cluster`.
        """
        await changes.remove_worker_group(self._session.connection, cluster_name, group)

    # Details of a cluster

    @both_faces
    async def events(self, cluster_name: str) -> list[ClusterEvent]:
        """Return the events of a cluster, oldest first, also after its end (ListClusterEvents).

        Raises
        ------
        ClusterNotFound
            There is no such cluster that you may see.
        """
        found = await calls.events(self._session.connection, cluster_name)
        return [ClusterEvent.from_proto(event) for event in found]

    @both_faces
    async def workers(self, cluster_name: str) -> list[Worker]:
        """List the workers of a cluster, also those that have not joined its scheduler (ListWorkers).

        Raises
        ------
        ClusterNotFound
            There is no such cluster that you may see.
        """
        return [Worker.from_proto(worker) for worker in await calls.workers(self._session.connection, cluster_name)]

    @both_faces
    async def logs(self, cluster_name: str, process: str | None = None, tail: int | None = None) -> Logs:
        """Read the logs of a cluster's processes, also after their end (ReadLogs).

        Parameters
        ----------
        cluster_name
            Id or name of the cluster.
        process
            "scheduler" or the id of a worker. Default: all processes.
        tail
            Number of last lines of each process to read. Default: all lines that are kept.

        Returns
        -------
        distributed.utils.Logs
            From process to text, with a view for notebooks.

        Raises
        ------
        ClusterNotFound, WorkerNotFound
            There is no such cluster that you may see, or it has no such process.
        InvalidRequest
            `tail` is less than 1.
        """
        return await logs.read(self._session.connection, cluster_name, process, tail)

    @both_iterators
    async def follow_logs(
        self, cluster_name: str, process: str | None = None, tail: int | None = None
    ) -> AsyncGenerator[tuple[str, str], None]:
        """Read logs and continue with lines that are written later, until the cluster has ended (ReadLogs).

        Parameters and errors are those of `logs`.

        Yields
        ------
        (str, str)
            Process and lines. With ``asynchronous=True`` the iterator is asynchronous.
        """
        async for piece in logs.stream(self._session.connection, cluster_name, process, tail, follow=True):
            yield piece

    # The deployment

    @both_faces
    async def profiles(self) -> list[Profile]:
        """List the profiles that you may choose, the default one first (ListProfiles)."""
        return [Profile.from_proto(profile) for profile in await calls.profiles(self._session.connection)]

    @both_faces
    async def cluster_options(self, use_local_defaults: bool = True, *, profile: str | None = None) -> Options:
        """Return the options that you may set for a new cluster (ListOptions).

        Parameters
        ----------
        use_local_defaults
            Whether to set the values of ``headrace.cluster.options``.
        profile
            Key of the profile. Default: the deployment's default profile.

        Raises
        ------
        InvalidRequest
            There is no such profile, or a configured value is wrong.
        UnknownOption
            A configured option does not exist.
        """
        found = Options(await calls.options(self._session.connection, profile or ""), profile or "")
        if use_local_defaults:
            options.configure(found, config.get_mapping("cluster.options"))
        return found

    @both_faces
    async def whoami(self) -> User:
        """Return who you are for headrace (WhoAmI)."""
        return User.from_proto(await auth_calls.whoami(self._session.connection))

    @both_faces
    async def server_info(self) -> ServerInfo:
        """Return version, ways to log in and features of the server (GetServerInfo). Needs no login."""
        return ServerInfo.from_proto(await auth_calls.server_info(self._session.connection))

    @both_faces
    async def get_versions(self) -> dict[str, dict[str, str | None]]:
        """Return the versions of this client and of the server (GetServerInfo).

        Returns
        -------
        dict
            ``{"server": {"version": ...}, "client": {"version": ...}}``. None means that the server gives no version.
        """
        from headrace import __version__

        info = await auth_calls.server_info(self._session.connection)
        return {"server": {"version": info.version or None}, "client": {"version": __version__}}

    # The end

    @returns_either
    def close(self) -> Awaitable[None] | None:
        """Close the connection. Clusters run on; `GatewayCluster` objects have connections of their own."""
        return self._end()

    def _end(self) -> Awaitable[None] | None:
        if self._session.closed or self._session.inherited:
            return NoOpAwaitable() if self._asynchronous else None
        if self.asynchronous:
            return self._session.cleanup()
        if self._session.asyncio_loop.is_running():
            self.sync(self._session.cleanup, callback_timeout=5)
        self._session.stop_loop()
        return None

    def __enter__(self) -> Self:
        if self._asynchronous:
            raise TypeError("a Gateway with asynchronous=True is used in `async with`")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if (closing := self._end()) is not None:
            await closing

    def __await__(self) -> Generator[Any, Any, Self]:
        return self.__aenter__().__await__()

    def __del__(self) -> None:
        session: Session | None = getattr(self, "_session", None)
        if session is None or session.closed or session.asynchronous or session.inherited or sys.is_finalizing():
            return
        with suppress(RuntimeError, TimeoutError):  # at the end of the process the loop may be gone
            if self.asynchronous:
                session.close_from_loop(session.cleanup())
            else:
                self._end()
